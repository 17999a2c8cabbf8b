/** Reports that a broker invents, changes or strips: whoever reads reports knows them by the signature of the device. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import {
  canonicalJson, decodePayload, deviceTopic, encodePayload, isSignedBy, reportedSchema, reportKeyId, signReport, type DeviceAddress, type Reported,
} from '../../../agent/contracts/index.js';
import { Collector } from '../../../deploy/collector/collector.js';
import { healthOf } from '../../../deploy/collector/health.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { KnownDevices } from '../../../deploy/publish/devices.js';
import { Publisher } from '../../../deploy/publish/publisher.js';
import { ReportGuard } from '../../../deploy/repository/report-guard.js';
import { AccessFolderKeys } from '../../../deploy/repository/report-keys.js';
import { temporaryFolder, until } from '../support/tools.js';
import { reported } from '../../deploy/fixtures.js';
import { fakeItem, TrustBench } from './bench.js';
import { ADDRESS, HARDWARE, SignedFleet } from './fleet.js';

const TOPIC = { kind: 'reported' } as const;
const pem = (key: KeyObject): string => key.export({ type: key.type === 'private' ? 'pkcs8' : 'spki', format: 'pem' }).toString();
const ecPair = (): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const bytesOf = (report: unknown): Buffer => Buffer.from(JSON.stringify(report));
const coded = (code: string): Error => expect.objectContaining({ code }) as Error;

/** A registry with one device, and the file of its private key. */
function registry({ fleet, device }: DeviceAddress = ADDRESS, pair = ecPair()): { folder: string; keyFile: string; privateKey: KeyObject; publicKey: KeyObject } {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'authority'));
  writeFileSync(join(folder, 'authority', `${fleet}.${device}.pem`), pem(pair.publicKey));
  const keyFile = join(folder, 'device.key');
  writeFileSync(keyFile, pem(pair.privateKey), { mode: 0o600 });
  return { folder, keyFile, ...pair };
}

const signedBy = (privateKey: KeyObject, publicKey: KeyObject, report: Reported, address: DeviceAddress = ADDRESS): Reported => signReport(address, report, { privateKey, keyId: reportKeyId(publicKey) });
/** A device that signs with the key in the file. */
function signing(keyFile: string): Promise<TrustBench> {
  const fleet = new SignedFleet();
  return TrustBench.start({ fleet, config: { trust: { hardware_id: HARDWARE, image_root: `${fleet.folder}/image/1.root.json`, director_root: `${fleet.folder}/director/1.root.json`, report_key: keyFile } } });
}
/** As the collector of the bench receives it: `FleetSide` puts fields of the only pipeline beside those of the device. */
const plain = (report: Reported): Reported => reportedSchema.parse(report);

describe('a forged report', () => {
  it('OTA-121: is refused by the publisher and the collector, whatever was invented, changed, stripped or sent again', async () => {
    const keys = registry();
    const bench = await signing(keys.keyFile);
    const guard = (): ReportGuard => new ReportGuard({ keys: new AccessFolderKeys(keys.folder) });
    const store = new CollectorStore(':memory:');
    const collector = new Collector({ url: bench.broker.url, fleet: ADDRESS.fleet, guard: guard() }, store);
    const publisher = new Publisher({ url: bench.broker.url, fleet: ADDRESS.fleet, guard: guard() });
    onTestFinished(async () => { await collector.stop(); await publisher.stop(); store.close(); });
    await collector.start();
    await publisher.start();
    await until('the signed report is believed', () => publisher.reported(ADDRESS.device)?.slots.active?.version === '1.0.0' && store.device(ADDRESS)?.reported?.signature !== undefined);

    const genuine = plain(store.device(ADDRESS)?.reported ?? reported());
    const pipeline = genuine.pipelines[0];
    if (pipeline === undefined) throw new Error('no pipeline');
    const wanted = { name: 'faces', version: '2.0.0', digest: 'cd'.repeat(32), size_bytes: 5 };
    const healthy: Reported = {
      ...genuine, order: { birth_seq: Number.MAX_SAFE_INTEGER, seq: 1 },
      pipelines: [{ ...pipeline, generation_seen: 99, generation_applied: 99, ota: { ...pipeline.ota, state: 'committed', package: wanted }, slots: { active: { ...wanted, since_ms: 1 }, previous: null } }],
    };
    const { signature: _, ...stripped } = healthy;
    const stranger = ecPair();
    const attacks: [string, unknown][] = [
      ['E_REPORT_UNSIGNED', stripped],
      ['E_REPORT_FORGED', healthy], // the signature of another report
      ['E_REPORT_FORGED', signedBy(stranger.privateKey, stranger.publicKey, healthy)],
      ['E_REPORT_FORGED', signedBy(stranger.privateKey, keys.publicKey, healthy)], // names the key of the device
      ['E_REPORT_FORGED', signedBy(keys.privateKey, keys.publicKey, healthy, { ...ADDRESS, device: 'gate' })], // of another device with this key
      ['E_REPORT_FORGED', { ...genuine, order: { ...genuine.order, seq: 1_000_000 } }],
      ['E_REPORT_FORGED', { ...genuine, unknown_to_this_version: true }],
    ];
    let refused = 0;
    for (const [code, report] of attacks) {
      const before = publisher.stats.reportsRefused;
      await bench.side.client.publishAsync(deviceTopic(ADDRESS, TOPIC), bytesOf(report), { qos: 1 });
      await until(`attack ${refused} is refused by both`, () => publisher.stats.reportsRefused > before && collector.stats.reportsRefused > refused);
      refused = collector.stats.reportsRefused;
      expect(collector.guard.refused(ADDRESS)?.code).toBe(code);
      expect(publisher.reported(ADDRESS.device)?.slots.active?.version).toBe('1.0.0');
      expect(store.device(ADDRESS)?.reported?.pipelines[0]?.generation_applied).toBe(pipeline.generation_applied);
    }
    expect({ malformed: collector.stats.malformed, refused: collector.stats.reportsRefused }).toEqual({ malformed: 0, refused: attacks.length });
    // What a roll-out waits for does not come from the broker.
    await expect(publisher.outcome(ADDRESS.device, wanted.digest, 99, { timeoutMs: 200 })).rejects.toThrow(coded('E_DEVICE_TIMEOUT'));
    const record = store.device(ADDRESS);
    if (record === null) throw new Error('no record');
    expect(healthOf(record, true, collector.guard.refused(ADDRESS))).toMatchObject({ level: 'bad', alarms: expect.arrayContaining([expect.objectContaining({ title: 'forged report', code: 'E_REPORT_FORGED' })]) as unknown });

    // The next genuine one is believed, and then the earlier one is old, although its signature is right.
    await bench.install(fakeItem('3.0.0', 3));
    await until('the next report is believed', () => publisher.reported(ADDRESS.device)?.slots.active?.version === '3.0.0');
    await bench.side.client.publishAsync(deviceTopic(ADDRESS, TOPIC), bytesOf(genuine), { qos: 1 });
    await until('the replayed one is refused', () => collector.guard.refused(ADDRESS)?.code === 'E_REPORT_REPLAYED');
    expect(publisher.reported(ADDRESS.device)?.slots.active?.version).toBe('3.0.0');
  });

  it('OTA-121: opens what waits for it where nobody verifies reports, so that the attack above is a real one', async () => {
    const bench = await TrustBench.start();
    const publisher = new Publisher({ url: bench.broker.url, fleet: ADDRESS.fleet });
    onTestFinished(() => publisher.stop());
    await publisher.start();
    const wanted = { name: 'faces', version: '2.0.0', digest: 'cd'.repeat(32), size_bytes: 5 };
    const outcome = publisher.outcome(ADDRESS.device, wanted.digest, 99, { timeoutMs: 20_000 });
    const forged = reported({ generation_seen: 99, generation_applied: 99, probation: false, ota: { state: 'committed', package: wanted, blocks_done: 1, blocks_total: 1, error: null }, slots: { active: { ...wanted, since_ms: 1 }, previous: null } });
    await bench.side.client.publishAsync(deviceTopic(ADDRESS, TOPIC), bytesOf({ ...forged, order: { birth_seq: Number.MAX_SAFE_INTEGER, seq: 1 } }), { qos: 1 });
    expect(await outcome).toMatchObject({ state: 'committed' });
  });

  it('OTA-121: that was believed before there were keys gives way to the first signed one, whatever number it has', () => {
    const { folder, privateKey, publicKey } = registry();
    const fleet = new KnownDevices(ADDRESS.fleet, new ReportGuard({ keys: new AccessFolderKeys(folder) }));
    const unchecked = new KnownDevices(ADDRESS.fleet);
    const poisoned = signedBy(privateKey, publicKey, reported()).signature;
    // A reader without keys keeps no signature, so that a report it has stored is not taken for a verified one later.
    const known = unchecked.note('door', TOPIC, bytesOf({ ...reported(), signature: poisoned, order: { birth_seq: 2 ** 50, seq: 1 } }));
    expect(known?.reported?.signature).toBeUndefined();
    const store = new CollectorStore(':memory:');
    onTestFinished(() => store.close());
    const door = { ...ADDRESS, device: 'door' };
    store.note(door, 'reported', known?.reported ?? reported(), 1);
    const collector = new Collector({ url: 'mqtt://127.0.0.1:1', guard: new ReportGuard({ keys: new AccessFolderKeys(folder) }) }, store);
    const honest = signedBy(privateKey, publicKey, { ...reported(), order: { birth_seq: 3, seq: 1 } }, door);
    collector.receive(deviceTopic(door, TOPIC), bytesOf(honest), 2);
    expect(collector.stats.reportsRefused).toBe(0);
    expect(store.device(door)?.reported?.order).toEqual({ birth_seq: 3, seq: 1 });
    expect(fleet.note('door', TOPIC, bytesOf(honest))?.reported?.signature).toBeDefined();
  });

  it('OTA-121: an unsigned one is believed only where the operator allows it, and a wrong signature not even there', () => {
    const { folder } = registry();
    const stranger = ecPair();
    const keys = new AccessFolderKeys(folder);
    const allowing = new ReportGuard({ keys, acceptUnsigned: true });
    expect(() => new ReportGuard({ keys }).read(ADDRESS, bytesOf(reported()))).toThrow(coded('E_REPORT_UNSIGNED'));
    expect(allowing.read(ADDRESS, bytesOf(reported())).signature).toBeUndefined();
    const foreign = bytesOf(signedBy(stranger.privateKey, stranger.publicKey, reported()));
    expect(() => allowing.read(ADDRESS, foreign)).toThrow(coded('E_REPORT_FORGED'));
    // Of a device that the folder does not know.
    const unknown = { ...ADDRESS, device: 'gate' };
    expect(allowing.read(unknown, foreign).signature).toBeUndefined();
    expect(() => new ReportGuard({ keys }).read(unknown, foreign)).toThrow(coded('E_REPORT_FORGED'));
    expect(allowing.refused(ADDRESS)).toMatchObject({ code: 'E_REPORT_FORGED', count: 1 });
    expect(allowing.count).toBe(1);
  });
});

describe('a device that signs its reports', () => {
  it('OTA-122: goes on without its key, says so, and signs again when the key is there at the next report', async () => {
    const { keyFile, publicKey, privateKey } = registry();
    writeFileSync(keyFile, 'no key');
    const bench = await signing(keyFile);
    await until('the fault is reported', () => bench.side.reported.at(-1)?.faults.some(({ code }) => code === 'E_REPORT_KEY') === true);
    expect(bench.side.reported.at(-1)?.signature).toBeUndefined();
    await bench.install(fakeItem('2.0.0', 2));
    const count = bench.side.reported.length;
    await new Promise((resolve) => { setTimeout(resolve, 600); });
    expect(bench.side.reported.length - count).toBeLessThan(3); // the fault does not cause reports that raise it again
    writeFileSync(keyFile, pem(privateKey));
    await bench.install(fakeItem('3.0.0', 3));
    await until('the fault is over', () => bench.side.reported.at(-1)?.faults.length === 0);
    expect(bench.side.reported.at(-1)?.signature?.key).toBe(reportKeyId(publicKey));
  });

  it('refuses keys that do not sign safely, with a reason', async () => {
    const { keyFile } = registry();
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
    writeFileSync(keyFile, pem(small.privateKey));
    const bench = await signing(keyFile);
    await until('the fault is reported', () => bench.side.reported.at(-1)?.faults.some(({ code, message }) => code === 'E_REPORT_KEY' && message.includes('2048 bits')) === true);
  });
});

describe('the signature of a report', () => {
  it('is of what arrives, so an older reader verifies newer reports, and an older reader without signatures takes them', () => {
    const pair = ecPair();
    const newer = { ...reported(), added_later: { z: [1.5, { b: 1, a: '\u20ac' }], a: null }, order: { birth_seq: 1, seq: 1 } };
    const payload = bytesOf(signedBy(pair.privateKey, pair.publicKey, newer));
    expect(decodePayload(reportedSchema, payload)).not.toHaveProperty('added_later');
    expect(isSignedBy([pair.publicKey], ADDRESS, payload)).toBe(true);
    // Whatever order the keys have on the way.
    const reversed = Object.fromEntries(Object.entries(JSON.parse(payload.toString()) as object).reverse());
    expect(isSignedBy([pair.publicKey], ADDRESS, bytesOf(reversed))).toBe(true);
    const { signature: _, ...before } = reportedSchema.shape;
    expect(z.object(before).safeParse(JSON.parse(payload.toString())).success).toBe(true);
  });

  it.each([['P-256', ecPair], ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' })], ['Ed25519', () => generateKeyPairSync('ed25519')], ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 })]] as const)('can be made with %s, of a report as large as they come', (_name, make) => {
    const { publicKey, privateKey } = make();
    const faults = Array.from({ length: 32 }, (_, i) => ({ component: 'ota', pipeline: null, code: `E_${i}`, message: 'é'.repeat(500) }));
    const payload = encodePayload(reportedSchema, signedBy(privateKey, publicKey, reported({ faults })));
    expect(isSignedBy([ecPair().publicKey, publicKey], ADDRESS, payload)).toBe(true);
    expect(isSignedBy([ecPair().publicKey], ADDRESS, payload)).toBe(false);
    expect(isSignedBy([publicKey], { ...ADDRESS, fleet: 'other' }, payload)).toBe(false);
  });

  it('is made over canonical JSON', () => {
    // The example of RFC 8785, section 3.2.2, and what follows from its 3.2.3.
    const example = { numbers: [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001], string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\\"\/', literals: [null, true, false] };
    expect(canonicalJson(example)).toBe('{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}');
    expect(canonicalJson({ '\ufb33': 1, '\ud83d\ude00': 2, 10: 3, 2: 4, a: undefined })).toBe('{"10":3,"2":4,"😀":2,"\ufb33":1}');
    expect(canonicalJson(JSON.parse('{"__proto__":{"b":1,"a":2}}'))).toBe('{"__proto__":{"a":2,"b":1}}');
    const deep = Buffer.from(`{"signature":{"key":"${'a'.repeat(64)}","value":"AA=="},"x":${'['.repeat(5000)}${']'.repeat(5000)}}`);
    expect(() => isSignedBy([], ADDRESS, deep)).toThrow(coded('E_PAYLOAD'));
  });
});
