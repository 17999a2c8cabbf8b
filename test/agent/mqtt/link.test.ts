import fc from 'fast-check';
import { createServer, type AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { connectAsync } from 'mqtt';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { nextBackoff } from '../../../agent/ground/backoff.js';
import { classifyFailure } from '../../../agent/mqtt/classify.js';
import { InFlight } from '../../../agent/mqtt/in-flight.js';
import { MqttLink, type LinkOptions } from '../../../agent/mqtt/link.js';
import type { CodedError } from '../../../agent/errors.js';
import { createLog, type Log } from '../../../agent/platform/log.js';
import { aedesBroker, freePort, mosquittoBroker, mosquittoMissing } from '../support/brokers.js';
import { certificates, opensslMissing } from '../support/certificates.js';
import { quietLog, until } from '../support/tools.js';

describe('the back-off', () => {
  it('stays between the base and the cap, and grows at most threefold', () => {
    fc.assert(fc.property(fc.double({ min: 0, max: 300_000, noNaN: true }), fc.double({ min: 0, max: 0.999, noNaN: true }), (previous, random) => {
      const next = nextBackoff(previous, random);
      expect(next).toBeGreaterThanOrEqual(1000);
      expect(next).toBeLessThanOrEqual(Math.max(1000, Math.min(300_000, previous * 3)));
    }));
  });

  it('spreads a fleet', () => {
    const spread = new Set(Array.from({ length: 100 }, (_, i) => Math.round(nextBackoff(20_000, i / 100) / 1000)));
    expect(spread.size).toBeGreaterThan(40);
  });
});

describe('failures to connect', () => {
  const error = (code: number | string): Error => Object.assign(new Error('refused'), { code });
  it.each([
    [{ error: error(0x84), reached: true, protocol: 5 as const }, 'E_BROKER_PROTOCOL', true],
    [{ error: error(1), reached: true, protocol: 5 as const }, 'E_BROKER_PROTOCOL', true],
    [{ error: error(0x87), reached: true, protocol: 5 as const }, 'E_BROKER_REFUSED', false],
    [{ error: error(4), reached: true, protocol: 4 as const }, 'E_BROKER_REFUSED', false],
    [{ error: error('ECONNREFUSED'), reached: false, protocol: 5 as const }, 'E_BROKER_AWAY', false],
    [{ error: null, reached: true, protocol: 5 as const }, 'E_BROKER_AWAY', true],
    [{ error: null, reached: true, protocol: 4 as const }, 'E_BROKER_AWAY', false],
  ])('%j', (facts, code, otherProtocol) => {
    expect(classifyFailure(facts)).toMatchObject({ code, otherProtocol });
  });
});

describe('messages on the way', () => {
  it('QoS 0 is proved by any later acknowledgement, and by a ping that left later', async () => {
    const inFlight = new InFlight();
    const early = inFlight.add(0);
    const acknowledged = inFlight.add(1);
    const late = inFlight.add(0);
    inFlight.acknowledge(acknowledged.order);
    await Promise.all([early.promise, acknowledged.promise]);
    expect(inFlight.size).toBe(1);
    inFlight.mark();
    const later = inFlight.add(0);
    inFlight.confirmMark();
    await late.promise;
    expect(inFlight.size).toBe(1);
    inFlight.failAll(new Error('gone'));
    await expect(later.promise).rejects.toThrow('gone');
  });
});

interface Bench {
  link: MqttLink;
  births: number[];
  connected: number[];
  failures: CodedError[];
  messages: { topic: string; text: string }[];
}

function bench(url: string, over: Partial<LinkOptions['broker']> = {}, { log = quietLog, ...options }: { log?: Log; random?: () => number } = {}): Bench {
  const births: number[] = [];
  const connected: number[] = [];
  const failures: CodedError[] = [];
  const messages: { topic: string; text: string }[] = [];
  const link = new MqttLink({
    broker: { url, protocol: 'auto', keepalive_s: 5, ...over }, clientId: 'device', statusTopic: 'status', subscriptions: ['down/#'], backoff: { baseMs: 10, capMs: 50 }, ...options,
  }, {
    nextBirth: () => { births.push(births.length + 1); return births.length; },
    status: (state, birthSeq) => Buffer.from(`${state} ${birthSeq}`),
    onConnected: (protocol) => connected.push(protocol),
    onDisconnected: () => undefined,
    onFailed: (error) => failures.push(error),
    onMessage: (topic, payload) => messages.push({ topic, text: payload.toString() }),
  }, log);
  onTestFinished(() => link.stop());
  return { link, births, connected, failures, messages };
}

describe('the link', () => {
  it('falls back to 3.1.1 at once where MQTT 5 is not spoken', async () => {
    const broker = await aedesBroker();
    const { link, connected, failures } = bench(broker.url);
    link.start();
    await until('connected', () => link.connected);
    expect(connected).toEqual([4]);
    expect(failures).toEqual([]);
  });

  it('falls back to 3.1.1 at once where a broker hangs up on MQTT 5, as RabbitMQ does before 3.13', async () => {
    const versions: number[] = [];
    const server = createServer((socket) => socket.once('data', (packet) => {
      versions.push(packet[8] ?? 0); // after the fixed header, the length and "MQTT"
      socket.destroy();
    }));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => { server.close(); });
    const { link } = bench(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`);
    link.start();
    await until('two attempts', () => versions.length >= 2);
    expect(versions.slice(0, 2)).toEqual([5, 4]);
  });

  it('does not fall back when it may not', async () => {
    const broker = await aedesBroker();
    const { link, failures } = bench(broker.url, { protocol: '5' });
    link.start();
    await until('failures', () => failures.length > 1);
    expect(link.connected).toBe(false);
  });

  it.skipIf(mosquittoMissing)(mosquittoMissing ? 'speaks MQTT 5 (skipped: mosquitto is not installed)' : 'speaks MQTT 5, and 3.1.1 on request', async () => {
    const broker = await mosquittoBroker();
    const five = bench(broker.url);
    five.link.start();
    await until('connected', () => five.link.connected);
    await five.link.stop();
    const three = bench(broker.url, { protocol: '3.1.1' });
    three.link.start();
    await until('connected', () => three.link.connected);
    expect([...five.connected, ...three.connected]).toEqual([5, 4]);
  });

  it('has its will, its birth and its goodbye retained, each with the number of the connection', async () => {
    const broker = await aedesBroker();
    const observer = await connectAsync(broker.url);
    onTestFinished(() => observer.endAsync(true));
    const seen: string[] = [];
    observer.on('message', (_topic, payload) => seen.push(payload.toString()));
    await observer.subscribeAsync('status');
    const { link } = bench(broker.url, { protocol: '3.1.1' });
    link.start();
    await until('born', () => seen.includes('online 1'));
    broker.dropAll();
    await until('born again', () => link.connected && link.reconnects === 1);
    await link.stop();
    await link.stop();
    const late = await connectAsync(broker.url);
    onTestFinished(() => late.endAsync(true));
    const retained: string[] = [];
    late.on('message', (_topic, payload) => retained.push(payload.toString()));
    await late.subscribeAsync('status');
    await until('goodbye', () => retained.length > 0);
    expect(retained[0]).toMatch(/^stopped [23]$/);
  });

  it('comes back when the broker does, again and again', async () => {
    const port = await freePort();
    const { link, failures, births } = bench(`mqtt://127.0.0.1:${port}`);
    link.start();
    await until('away', () => failures.length >= 2);
    expect(failures[0]?.code).toBe('E_BROKER_AWAY');
    const first = await aedesBroker(port);
    await until('connected', () => link.connected);
    await first.stop();
    await until('lost', () => !link.connected);
    await aedesBroker(port);
    await until('connected again', () => link.connected);
    expect(births).toEqual([...births].sort((a, b) => a - b));
    await expect(link.publish('x', Buffer.from('y'), { qos: 1 })).resolves.toBeUndefined();
  });

  it('begins its back-off again after a connection that was of use, so that a link which breaks every 20 s is used in between', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const broker = await aedesBroker();
    const waits: number[] = [];
    const log = createLog('warn', (line) => waits.push(Number(/"retry_ms":(\d+)/.exec(line)?.[1])));
    const { link } = bench(broker.url, { protocol: '3.1.1' }, { log, random: () => 1 });
    link.start();
    for (let cut = 1; cut <= 4; cut++) {
      await until('connected', () => link.connected);
      vi.advanceTimersByTime(cut === 4 ? 20_000 : 100);
      broker.dropAll();
      await until('lost', () => waits.length === cut);
    }
    expect(waits).toEqual([10, 30, 50, 10]);
  });

  it('survives a server that speaks no MQTT', async () => {
    const server = createServer((socket) => { socket.on('error', () => undefined); socket.resume(); socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'); });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => new Promise<void>((resolve) => { server.close(() => resolve()); }));
    const { link, failures } = bench(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`);
    link.start();
    await until('failures', () => failures.length >= 2);
    expect(failures.every((f) => f.code.startsWith('E_BROKER_'))).toBe(true);
  });

  it('fails messages that were on the way when the connection ends, and refuses new ones', async () => {
    const broker = await aedesBroker();
    const { link } = bench(broker.url, { protocol: '3.1.1' });
    link.start();
    await until('connected', () => link.connected);
    const pending = Array.from({ length: 5 }, () => link.publish('x', Buffer.alloc(10), { qos: 0 }));
    broker.dropAll();
    for (const result of await Promise.allSettled(pending)) expect(result.status).toBe('rejected');
    await link.stop();
    await expect(link.publish('x', Buffer.alloc(1), { qos: 1 })).rejects.toMatchObject({ code: 'E_BROKER_AWAY' });
  });

  it('lives with a certificate that cannot be read', async () => {
    const { link, failures } = bench('mqtts://127.0.0.1:1', { tls: { ca: '/nowhere/ca.pem' } });
    link.start();
    await until('failures', () => failures.length >= 2);
    expect(link.state).not.toBe('stopped');
  });

  it.skipIf(mosquittoMissing || opensslMissing)(mosquittoMissing || opensslMissing ? 'TLS (skipped: mosquitto or openssl is not installed)' : 'speaks TLS with a certificate of its own, and refuses a stranger as broker', async () => {
    const { ca, of } = certificates({ broker: 'IP:127.0.0.1', device: 'DNS:device' });
    const [own, device] = [of('broker'), of('device')];
    const broker = await mosquittoBroker([`cafile ${ca}`, `certfile ${own.cert}`, `keyfile ${own.key}`, 'require_certificate true', 'use_identity_as_username true', 'allow_anonymous false', 'user root']);
    const url = broker.url.replace('mqtt:', 'mqtts:');
    const trusted = bench(url, { tls: { ca, ...device } });
    trusted.link.start();
    await until('connected', () => trusted.link.connected);
    const stranger = bench(url, { tls: device });
    stranger.link.start();
    await until('refused', () => stranger.failures.length >= 2);
    expect(stranger.link.connected).toBe(false);
    expect(readFileSync(ca, 'utf8')).toContain('CERTIFICATE');
  });
});
