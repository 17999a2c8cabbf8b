import { connect, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { MAX_MESSAGE_BYTES } from '../../agent/contracts/index.js';
import { EmbeddedBroker } from '../../deploy/broker/broker.js';
import { connectLink } from '../../deploy/mqtt/link.js';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function broker(): Promise<EmbeddedBroker> {
  const started = new EmbeddedBroker();
  await started.start();
  stops.push(() => started.stop());
  return started;
}

async function client(url: string, clientId: string): Promise<MqttClient> {
  const link = await connectLink({ url, clientId, connectTimeoutMs: 5000 });
  stops.push(() => link.endAsync(true));
  return link;
}

function nextMessage(link: MqttClient): Promise<{ topic: string; payload: string }> {
  return new Promise((resolve) => link.once('message', (topic, payload) => resolve({ topic, payload: payload.toString() })));
}

describe('the embedded broker', () => {
  it('listens on a free loopback port, keeps retained messages, and forgets them when it stops', async () => {
    const running = await broker();
    expect(running.port).toBeGreaterThan(0);
    const a = await client(running.url, 'a');
    await a.publishAsync('x/y', 'kept', { qos: 1, retain: true });
    const b = await client(running.url, 'b');
    const message = nextMessage(b);
    await b.subscribeAsync('x/+', { qos: 1 });
    expect(await message).toEqual({ topic: 'x/y', payload: 'kept' });
  });

  it('can be started and stopped twice, and again', async () => {
    const it = new EmbeddedBroker();
    await it.start();
    const { port } = it;
    await it.start();
    expect(it.port).toBe(port);
    await it.stop();
    await it.stop();
    expect(it.port).toBe(0);
    await it.start();
    expect(it.port).toBeGreaterThan(0);
    await it.stop();
  });

  it('names the port that is taken', async () => {
    const first = await broker();
    const second = new EmbeddedBroker({ port: first.port });
    await expect(second.start()).rejects.toMatchObject({ code: 'E_BROKER_LISTEN', details: { port: first.port } });
    await second.stop();
  });

  it('closes a client that sends more than the protocol allows, and serves the others', async () => {
    const running = await broker();
    const hostile = connect(running.url, { protocolVersion: 4, reconnectPeriod: 0, clientId: 'hostile' });
    stops.push(() => hostile.endAsync(true));
    hostile.on('error', () => undefined);
    await new Promise((resolve) => hostile.once('connect', resolve));
    const closed = new Promise<void>((resolve) => hostile.once('close', () => resolve()));
    hostile.publish('x', Buffer.alloc(MAX_MESSAGE_BYTES + 1), { qos: 1 }, () => undefined);
    await closed;
    const honest = await client(running.url, 'honest');
    const message = nextMessage(honest);
    await honest.subscribeAsync('y', { qos: 1 });
    await honest.publishAsync('y', 'still here', { qos: 1 });
    expect((await message).payload).toBe('still here');
  });

  it('stops at once with clients connected', async () => {
    const running = await broker();
    const link = await client(running.url, 'c');
    const closed = new Promise<void>((resolve) => link.once('close', () => resolve()));
    await running.stop();
    await closed;
    expect(running.connections).toBe(0);
  });
});

describe('connecting to a broker', () => {
  it('falls back to MQTT 3.1.1 where the broker does not know MQTT 5', async () => {
    const running = await broker();
    const link = await client(running.url, 'fallback');
    expect(link.options.protocolVersion).toBe(4);
  });

  it('says which broker is away, without its password', async () => {
    const running = await broker();
    const url = running.url.replace('//', '//me:secret@');
    await running.stop();
    const failure = connectLink({ url, clientId: 'x', connectTimeoutMs: 400 });
    await expect(failure).rejects.toMatchObject({ code: 'E_BROKER_CONNECT' });
    await expect(failure).rejects.not.toThrow(/secret/);
  });
});
