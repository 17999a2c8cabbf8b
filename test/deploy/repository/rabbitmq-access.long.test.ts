/** The definitions that `sterna provision` writes, in a real RabbitMQ: what a device can do there, and what it cannot. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deviceClientName, deviceSubscriptions, deviceTopic, privateClientId } from '../../../agent/contracts/index.js';
import { loadConfig } from '../../../agent/main.js';
import { MqttLink } from '../../../agent/mqtt/link.js';
import { SharedCollector } from '../../../deploy/collector/shared-collector.js';
import { SqliteFleetStore } from '../../../deploy/collector/sqlite-fleet-store.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { connectLink } from '../../../deploy/mqtt/link.js';
import { rabbitmqDefinitions } from '../../../deploy/repository/access.js';
import { freePort } from '../../agent/support/brokers.js';
import { opensslMissing } from '../../agent/support/certificates.js';
import { rabbitmqBroker, rabbitmqMissing } from '../../agent/support/rabbitmq.js';
import { quietLog, until } from '../../agent/support/tools.js';
import { SignedFleet } from '../../agent/trust/fleet.js';
import { captureCli } from '../cli/capture.js';
import { telemetry } from '../fixtures.js';

const skip = rabbitmqMissing || opensslMissing;

async function provisioned(fleet: SignedFleet, device: string, url: string): Promise<string> {
  const { code, out } = await captureCli(['provision', device, '--fleet', 'test', '--broker', url, '--repository', fleet.folder, '--json']);
  expect(code, out).toBe(0);
  return (JSON.parse(out) as { folder: string }).folder;
}

/** The connection of a daemon, from its own configuration. */
function daemonLink(folder: string, url: string, onMessage: (topic: string) => void): MqttLink {
  const address = { fleet: 'test', device: 'door' };
  const { broker } = loadConfig({ path: join(folder, 'sterna.yaml'), env: {} });
  let births = 0;
  const link = new MqttLink({ broker: { ...broker, url }, clientId: deviceClientName(address), statusTopic: deviceTopic(address, { kind: 'status' }), subscriptions: deviceSubscriptions(address) }, {
    nextBirth: () => ++births, status: (state) => Buffer.from(state), onConnected: () => undefined, onDisconnected: () => undefined, onFailed: () => undefined, onMessage,
  }, quietLog);
  onTestFinished(() => link.stop());
  link.start();
  return link;
}

/** As a daemon connects: MQTT 3.1.1, and the client id that follows from its key. */
function deviceOptions(folder: string, device: string): IClientOptions {
  const key = readFileSync(join(folder, 'device.key'));
  return { cert: readFileSync(join(folder, 'device.pem')), key, ca: readFileSync(join(folder, 'ca.pem')), protocolVersion: 4, reconnectPeriod: 0, clientId: privateClientId(deviceClientName({ fleet: 'test', device }), { url: '', key }) };
}

async function connected(url: string, options: IClientOptions): Promise<MqttClient> {
  const client = await connectAsync(url, options);
  client.on('error', () => undefined);
  onTestFinished(() => client.endAsync(true));
  return client;
}

describe(skip ? 'access to RabbitMQ (skipped: rabbitmq-server or openssl is not installed)' : 'access to RabbitMQ', () => {
  it.skipIf(skip)('OTA-129: on RabbitMQ a device reads and writes its own topics only, and cannot publish as the operator', async () => {
    const fleet = new SignedFleet();
    const url = `mqtts://127.0.0.1:${await freePort()}`;
    const [door, gate] = [await provisioned(fleet, 'door', url), await provisioned(fleet, 'door-2', url)];
    const authority = join(fleet.folder, 'access', 'authority');
    await rabbitmqBroker(Number(new URL(url).port), {
      ca: join(authority, 'ca.pem'), cert: join(authority, 'broker.pem'), key: join(authority, 'broker.key'), definitions: join(fleet.folder, 'access', 'rabbitmq-definitions.json'),
    });
    const operator = await connectLink({ url, clientId: 'operator', caFile: join(authority, 'ca.pem'), certFile: join(authority, 'operator.pem'), keyFile: join(authority, 'operator.key') });
    onTestFinished(() => operator.endAsync(true));
    const seen: string[] = [];
    const listen = (name: string, client: MqttClient): void => { client.on('message', (topic) => seen.push(`${name} ${topic.replace('sterna/v2/test/', '')}`)); };
    listen('operator', operator);
    await operator.subscribeAsync('sterna/v2/#', { qos: 1 });
    const one = daemonLink(door, url, (topic) => seen.push(`door ${topic.replace('sterna/v2/test/', '')}`));
    await until('the daemon is connected, by MQTT 3.1.1', () => one.connected && one.protocol === 4);

    // Each attempt with a connection of its own, because RabbitMQ ends one that asks for too much.
    const attempt = async (work: (client: MqttClient) => Promise<unknown>): Promise<void> => {
      const thief = await connected(url, deviceOptions(gate, 'door-2'));
      listen('door-2', thief);
      await Promise.race([work(thief).catch(() => undefined), sleep(1000)]);
    };
    for (const topic of ['sterna/v2/test/door/desired/+', 'sterna/v2/#', '#', 'sterna/v2/test/+/cmd/+', 'sterna/v2/test/door/#']) {
      await attempt(async (client) => {
        await client.subscribeAsync(topic, { qos: 1 });
        await operator.publishAsync('sterna/v2/test/door/cmd/secret', 'for the door', { qos: 1 });
      });
    }
    for (const topic of ['door/reported', 'door/desired/main', 'door-2/desired/main', 'door-2/cmd/bench', 'door-3/reported']) {
      await attempt((client) => client.publishAsync(`sterna/v2/test/${topic}`, 'forged', { qos: 1 }));
    }
    const other = await connected(url, deviceOptions(gate, 'door-2'));
    listen('door-2', other);
    await other.subscribeAsync('sterna/v2/test/door-2/cmd/+', { qos: 1 });
    await other.publishAsync('sterna/v2/test/door-2/event/finding', 'own', { qos: 1 });
    await one.publish('sterna/v2/test/door/reported', Buffer.from('own'), { qos: 1, retain: true });
    await operator.publishAsync('sterna/v2/test/door/desired/main', 'genuine', { qos: 1 });
    await operator.publishAsync('sterna/v2/test/door-2/cmd/bench', 'genuine', { qos: 1 });
    await until('the last messages', () => ['operator door-2/cmd/bench', 'door door/desired/main', 'door-2 door-2/cmd/bench', 'operator door/reported', 'operator door-2/event/finding'].every((line) => seen.includes(line)));
    expect(seen.filter((line) => !/cmd\/secret|status/.test(line)).sort()).toEqual([
      'door door/desired/main', 'door-2 door-2/cmd/bench', 'operator door-2/cmd/bench', 'operator door-2/event/finding', 'operator door/desired/main', 'operator door/reported',
    ]);
    expect(seen.filter((line) => line.startsWith('door-2 '))).toEqual(['door-2 door-2/cmd/bench']);

    // The queue of another client id is not its own, even where the name fits.
    const foreign = { ...deviceOptions(gate, 'door-2'), clientId: privateClientId(deviceClientName({ fleet: 'test', device: 'door' }), { url: '', key: readFileSync(join(gate, 'device.key')) }) };
    const thief = await connected(url, foreign);
    listen('foreign', thief);
    await Promise.race([thief.subscribeAsync('sterna/v2/test/door-2/cmd/+', { qos: 1 }).catch(() => undefined), sleep(1000)]);
    await operator.publishAsync('sterna/v2/test/door-2/cmd/late', 'genuine', { qos: 1 });
    await until('its own', () => seen.includes('door-2 door-2/cmd/late'));
    expect(seen.filter((line) => line.startsWith('foreign '))).toEqual([]);

    // A collector, by MQTT 3.1.1 and without a group: what its store did not take comes again.
    const link = { url, caFile: join(authority, 'ca.pem'), certFile: join(authority, 'operator.pem'), keyFile: join(authority, 'operator.key') };
    const collected = (store: CollectorStore): SharedCollector => new SharedCollector({ ...link, group: null, name: 'one', batching: { maxDelayMs: 5 } }, new SqliteFleetStore(store));
    const [failing, working] = [new CollectorStore(':memory:'), new CollectorStore(':memory:')];
    const [early, late] = [collected(failing), collected(working)];
    failing.close();
    await early.start();
    await other.publishAsync('sterna/v2/test/door-2/telemetry', Buffer.from(JSON.stringify(telemetry(1, Date.now()))), { qos: 1 });
    await until('received', () => early.waiting > 0);
    await early.stop();
    await late.start();
    onTestFinished(() => late.stop());
    await until('stored', () => working.totals().windows === 1);
  }, 150_000);

  it('says for each user which queues and topics are its own', () => {
    const { users, permissions, topic_permissions: topics } = JSON.parse(rabbitmqDefinitions([{ fleet: 'test', device: 'do-r' }, { fleet: 'test', device: 'do.r' }, { fleet: 'te.t', device: 'door' }], ['operator'])) as {
      users: { name: string; password_hash: string }[]; permissions: { user: string; configure: string; write: string; read: string }[]; topic_permissions: { user: string; write: string; read: string }[];
    };
    expect(users.map(({ name, password_hash: hash }) => [name, hash])).toEqual([['operator', ''], ['test/do-r', '']]);
    const allowed = (pattern: string | undefined, text: string): boolean => new RegExp(pattern ?? '^$').test(text);
    const queue = 'mqtt-subscription-sterna-test-do-r-0123456789abcdefqos1';
    const own = permissions[1];
    for (const kind of ['configure', 'write', 'read'] as const) expect(allowed(own?.[kind], queue)).toBe(true);
    for (const other of [queue.replace('do-r', 'door'), queue.replace('abcdef', 'abcdeg'), `${queue}x`, 'amq.direct', 'secrets']) expect(allowed(own?.write, other), other).toBe(false);
    expect(allowed(topics[1]?.write, 'sterna.v2.test.do-r.event.finding')).toBe(true);
    for (const key of ['sterna.v2.test.do.r.event.finding', 'sterna.v2.test.door.event.finding', 'sterna.v2.test.do-r.event.a.b', 'sterna.v2.test.do-r.desired.main', 'xsterna.v2.test.do-r.status', '#']) expect(allowed(topics[1]?.write, key), key).toBe(false);
    expect(allowed(topics[1]?.read, 'sterna.v2.test.do-r.desired.*')).toBe(true);
    for (const key of ['#', 'sterna.#', 'sterna.v2.*.*.desired.*', 'sterna.v2.test.do-r.#']) expect(allowed(topics[1]?.read, key), key).toBe(false);
    expect([allowed(topics[0]?.read, 'sterna.v2.#'), allowed(topics[0]?.read, '#')]).toEqual([true, false]);
  });

  it('refuses names that could end a pattern', () => {
    for (const name of ['a|b', '.*', 'a b', '']) expect(() => rabbitmqDefinitions([{ fleet: 'test', device: name }], []), name).toThrow();
  });
});
