/** `sterna provision` and a real Mosquitto: what a device can do there, and what it cannot. */
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import { privateClientId } from '../../../agent/contracts/index.js';
import { loadConfig } from '../../../agent/main.js';
import { MqttLink } from '../../../agent/mqtt/link.js';
import { SharedCollector } from '../../../deploy/collector/shared-collector.js';
import { SqliteFleetStore } from '../../../deploy/collector/sqlite-fleet-store.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { mosquittoListener } from '../../../deploy/repository/access.js';
import { freePort, mosquittoBroker, mosquittoMissing } from '../../agent/support/brokers.js';
import { opensslMissing } from '../../agent/support/certificates.js';
import { quietLog, until } from '../../agent/support/tools.js';
import { SignedFleet } from '../../agent/trust/fleet.js';
import { captureCli } from '../cli/capture.js';

const skip = mosquittoMissing || opensslMissing;

async function provisioned(fleet: SignedFleet, device: string, url: string, ...more: string[]): Promise<string> {
  const { code, out } = await captureCli(['provision', device, '--fleet', 'test', '--broker', url, '--repository', fleet.folder, '--json', ...more]);
  expect(code, out).toBe(0);
  return (JSON.parse(out) as { folder: string }).folder;
}

function identity(folder: string, name = 'device'): IClientOptions {
  const own = { cert: readFileSync(join(folder, `${name}.pem`)), key: readFileSync(join(folder, `${name}.key`)), ca: readFileSync(join(folder, 'ca.pem')) };
  return { ...own, protocolVersion: 5, reconnectPeriod: 0 };
}

async function client(url: string, folder: string, name = 'device', session: IClientOptions = {}): Promise<MqttClient> {
  const connected = await connectAsync(url, { ...identity(folder, name), ...session });
  onTestFinished(() => connected.endAsync(true));
  return connected;
}

/** A Mosquitto as `mosquittoListener` describes it. @returns the folder of the authority */
async function guarded(fleet: SignedFleet, url: string): Promise<string> {
  const access = join(fleet.folder, 'access');
  const authority = join(access, 'authority');
  const port = Number(new URL(url).port);
  const [, ...lines] = mosquittoListener({ port, ca: join(authority, 'ca.pem'), cert: join(authority, 'broker.pem'), key: join(authority, 'broker.key'), acl: join(access, 'mosquitto.acl') }).split('\n');
  await mosquittoBroker(['user root', ...lines], port);
  return authority;
}

describe(skip ? 'access to a broker (skipped: mosquitto or openssl is not installed)' : 'access to a broker', () => {
  it.skipIf(skip)('OTA-070: a device reads and writes its own topics only, and cannot publish as the operator', async () => {
    const fleet = new SignedFleet();
    const url = `mqtts://127.0.0.1:${await freePort()}`;
    const [door, gate] = [await provisioned(fleet, 'door', url), await provisioned(fleet, 'gate', url)];
    const authority = await guarded(fleet, url);
    const operator = await client(url, authority, 'operator');
    const [one, other] = [await client(url, door), await client(url, gate)];
    const seen: string[] = [];
    for (const [name, party] of [['operator', operator], ['door', one], ['gate', other]] as const) party.on('message', (topic) => seen.push(`${name} ${topic.replace('sterna/v2/test/', '')}`));
    await operator.subscribeAsync('sterna/v2/#', { qos: 1 });
    await one.subscribeAsync('sterna/v2/test/door/desired/+', { qos: 1 });
    for (const topic of ['sterna/v2/test/door/desired/+', 'sterna/v2/#', '#', 'sterna/v2/test/+/cmd/+']) await other.subscribeAsync(topic, { qos: 1 }).catch(() => undefined);
    await other.publishAsync('sterna/v2/test/door/reported', 'forged', { qos: 1 }).catch(() => undefined);
    await other.publishAsync('sterna/v2/test/door/desired/main', 'forged', { qos: 1 }).catch(() => undefined);
    await other.publishAsync('sterna/v2/test/gate/desired/main', 'forged', { qos: 1 }).catch(() => undefined);
    await one.publishAsync('sterna/v2/test/door/reported', 'own', { qos: 1 });
    await operator.publishAsync('sterna/v2/test/door/desired/main', 'genuine', { qos: 1 });
    await operator.publishAsync('sterna/v2/test/door/cmd/bench', 'genuine', { qos: 1 });
    await until('the last message', () => seen.includes('operator door/cmd/bench') && seen.includes('door door/desired/main'));
    expect(seen.sort()).toEqual(['door door/desired/main', 'operator door/cmd/bench', 'operator door/desired/main', 'operator door/reported']);
  }, 60_000);

  it.skipIf(skip)('OTA-124: a device that takes over the session of a collector gets nothing that was meant for it', async () => {
    const fleet = new SignedFleet();
    const url = `mqtts://127.0.0.1:${await freePort()}`;
    const [door, gate] = [await provisioned(fleet, 'door', url), await provisioned(fleet, 'gate', url)];
    const authority = await guarded(fleet, url);
    const kept: IClientOptions = { clientId: 'sterna-collect-ours-a', clean: false, properties: { sessionExpiryInterval: 600 } };
    const collector = await client(url, authority, 'operator', kept);
    await collector.subscribeAsync(['sterna/v2/+/+/event/+', '$share/ours/sterna/v2/+/+/reported'], { qos: 1 });
    await collector.endAsync();
    const one = await client(url, door);
    const stored = ['event/finding', 'reported'].map((topic) => `sterna/v2/test/door/${topic}`);
    for (const topic of stored) await one.publishAsync(topic, 'before', { qos: 1 }); // the broker keeps them for the collector
    const seen: string[] = [];
    const thief = connect(url, { ...identity(gate), ...kept });
    onTestFinished(() => thief.endAsync(true));
    thief.on('message', (topic) => seen.push(topic));
    expect(await new Promise<boolean>((resolve) => thief.once('connect', ({ sessionPresent }) => resolve(sessionPresent)))).toBe(true); // it has the session, and with it the subscriptions
    for (const topic of stored) await one.publishAsync(topic, 'after', { qos: 1 });
    await thief.subscribeAsync('sterna/v2/test/gate/cmd/+', { qos: 1 });
    const operator = await client(url, authority, 'operator');
    await operator.publishAsync('sterna/v2/test/gate/cmd/bench', 'genuine', { qos: 1 });
    await until('its own message', () => seen.includes('sterna/v2/test/gate/cmd/bench'));
    expect(seen).toEqual(['sterna/v2/test/gate/cmd/bench']);
  }, 60_000);

  it.skipIf(skip)('OTA-128: a device that knows how client ids of devices and collectors begin ends no connection, and takes over no session', async () => {
    const fleet = new SignedFleet();
    const url = `mqtts://127.0.0.1:${await freePort()}`;
    const [door, gate] = [await provisioned(fleet, 'door', url), await provisioned(fleet, 'gate', url)];
    const authority = await guarded(fleet, url);
    const store = new SqliteFleetStore(new CollectorStore(':memory:'));
    const collecting = (): SharedCollector => new SharedCollector({
      url, group: 'ours', name: 'a', inventory: false, caFile: join(authority, 'ca.pem'), certFile: join(authority, 'operator.pem'), keyFile: join(authority, 'operator.key'),
    }, store);
    const { broker } = loadConfig({ path: join(door, 'sterna.yaml'), env: {} });
    let births = 0;
    const ended: unknown[] = [];
    const device = new MqttLink({ broker: { ...broker, url }, clientId: 'sterna-test-door', statusTopic: 'sterna/v2/test/door/status', subscriptions: ['sterna/v2/test/door/cmd/+'] }, {
      nextBirth: () => ++births, status: () => Buffer.alloc(0), onConnected: () => undefined, onDisconnected: (error) => ended.push(error), onFailed: (error) => ended.push(error), onMessage: () => undefined,
    }, quietLog);
    onTestFinished(() => device.stop());
    device.start();
    await until('the device is connected', () => device.connected);
    const first = collecting();
    await first.start();
    await first.stop(); // its session stays, and with it what comes for it
    await device.publish('sterna/v2/test/door/reported', Buffer.from('kept'), { qos: 1, retain: false });

    const keyOfGate = readFileSync(join(gate, 'device.key'));
    for (const id of ['sterna-collect-ours-a', 'sterna-test-door', 'sterna-test-gate'].flatMap((name) => [name, privateClientId(name, { url, key: keyOfGate })])) {
      const thief = connect(url, { ...identity(gate), clientId: id, clean: false });
      onTestFinished(() => thief.endAsync(true));
      expect(await new Promise<boolean>((resolve) => thief.once('connect', ({ sessionPresent }) => resolve(sessionPresent))), id).toBe(false);
    }
    const second = collecting();
    onTestFinished(() => second.stop());
    await second.start();
    await until('what was kept for the collector', () => second.stats.messages > 0);
    expect(second.stats.messages).toBe(1);
    expect({ births, ended, connected: device.connected }).toEqual({ births: 1, ended: [], connected: true });
  }, 60_000);

  it.skipIf(skip)('OTA-071: a client without a certificate of the authority is not let in', async () => {
    const fleet = new SignedFleet();
    const url = `mqtts://127.0.0.1:${await freePort()}`;
    await provisioned(fleet, 'door', url);
    const foreign = new SignedFleet();
    const stranger = await provisioned(foreign, 'door', url);
    const authority = await guarded(fleet, url);
    const ca = readFileSync(join(authority, 'ca.pem'));
    await expect(connectAsync(url, { ca, reconnectPeriod: 0, connectTimeout: 5000 }, false)).rejects.toThrow();
    await expect(connectAsync(url, { ca, reconnectPeriod: 0, connectTimeout: 5000, cert: readFileSync(join(stranger, 'device.pem')), key: readFileSync(join(stranger, 'device.key')) }, false)).rejects.toThrow();
  }, 60_000);
});

describe('sterna provision', () => {
  it.skipIf(opensslMissing)('makes a folder that the daemon runs with, and never overwrites a key', async () => {
    const fleet = new SignedFleet();
    const folder = await provisioned(fleet, 'door', 'mqtts://broker.example.org:8883');
    expect(loadConfig({ path: join(folder, 'sterna.yaml'), env: {} })).toMatchObject({
      device_id: 'door', fleet: 'test', broker: { url: 'mqtts://broker.example.org:8883', tls: { cert: join(folder, 'device.pem') } }, trust: { image_root: join(folder, 'image-root.json'), unsigned: false },
    });
    expect(statSync(join(folder, 'device.key')).mode & 0o077).toBe(0);
    expect(readFileSync(join(folder, 'image-root.json'), 'utf8')).toBe(fleet.root('image'));
    writeFileSync(join(folder, 'device.key'), 'kept');
    const again = await captureCli(['provision', 'door', '--fleet', 'test', '--broker', 'mqtts://broker.example.org:8883', '--repository', fleet.folder, '--json']);
    expect({ code: again.code, error: JSON.parse(again.out) as unknown }).toMatchObject({ code: 1, error: { error: { code: 'E_PROVISION' } } });
    expect(readFileSync(join(folder, 'device.key'), 'utf8')).toBe('kept');
  });

  it.skipIf(opensslMissing)('writes a request for an authority of your own', async () => {
    const folder = await provisioned(new SignedFleet(), 'door', 'mqtts://broker.example.org:8883', '--request');
    expect(readFileSync(join(folder, 'device.csr'), 'utf8')).toContain('BEGIN CERTIFICATE REQUEST');
  });

  it('refuses an address that certificates are of no use for, and a fleet that is no name, before it makes a key', async () => {
    const fleet = new SignedFleet();
    const refused = async (fleetName: string, broker: string): Promise<unknown> => {
      const { code, out } = await captureCli(['provision', 'door', '--fleet', fleetName, '--broker', broker, '--repository', fleet.folder, '--json']);
      expect(code).not.toBe(0);
      return (JSON.parse(out) as { error: { code: string; message: string } }).error;
    };
    for (const broker of ['broker', 'mqtts://', 'mqtt://broker.example.org', 'https://broker.example.org']) {
      expect(await refused('test', broker)).toMatchObject({ code: 'E_USAGE', message: expect.stringContaining(`received "${broker}"`) as string });
    }
    expect(await refused('test', 'mqtt://name:secret@broker')).toMatchObject({ message: expect.not.stringContaining('secret') as string });
    expect(existsSync(join(fleet.folder, 'access'))).toBe(false);
    expect(await refused('../test', 'mqtts://broker.example.org')).toMatchObject({ code: expect.stringMatching(/^E_/) as string, message: expect.stringContaining('fleet') as string });
    expect(existsSync(join(fleet.folder, 'access', 'devices'))).toBe(false);
  });

  it.skipIf(opensslMissing)('names the address of a broker in IPv6 as a certificate does', async () => {
    const fleet = new SignedFleet();
    const authority = join(await provisioned(fleet, 'door', 'mqtts://[::1]:8883'), '..', '..', '..', 'authority');
    expect(new X509Certificate(readFileSync(join(authority, 'broker.pem'))).subjectAltName).toBe('IP Address:0:0:0:0:0:0:0:1');
  });

  it.skipIf(opensslMissing)('writes no access list that would lock out the other devices, when it cannot read which there are', async () => {
    const fleet = new SignedFleet();
    await provisioned(fleet, 'door', 'mqtts://broker.example.org:8883');
    const access = join(fleet.folder, 'access');
    const before = readFileSync(join(access, 'mosquitto.acl'), 'utf8');
    for (const damaged of ['[{', '[{"fleet": 1}]']) {
      writeFileSync(join(access, 'devices.json'), damaged);
      const { code, out } = await captureCli(['provision', 'gate', '--fleet', 'test', '--broker', 'mqtts://broker.example.org:8883', '--repository', fleet.folder, '--json']);
      expect({ code, error: JSON.parse(out) as unknown }).toMatchObject({ code: 1, error: { error: { code: 'E_PROVISION', message: expect.stringContaining('devices.json is damaged') as string } } });
      expect(readFileSync(join(access, 'mosquitto.acl'), 'utf8')).toBe(before);
      expect(existsSync(join(access, 'authority', 'test.gate.key'))).toBe(false); // so that it can be tried again
    }
  });
});
