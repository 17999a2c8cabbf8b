/**
 * Every attack on updates, mounted by a broker that an attacker controls. Each is refused with a code of its own, and the serving package does not notice.
 * The ids are those of agent/trust/RULES.md.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeBlock, deviceTopic, encodeBlock, type Signed } from '../../../agent/contracts/index.js';
import { readKey } from '../../../deploy/repository/keys.js';
import { random } from '../../runtime/support/random.js';
import { packageBytes } from '../support/fake-runtime.js';
import { until } from '../support/tools.js';
import { PATIENT_OTA } from '../support/update-rules.js';
import { fakeItem, TrustBench } from './bench.js';
import { ADDRESS, DAY_MS, directed, forge, listed, SignedFleet, wanted, type Item, type SignedDesired } from './fleet.js';

const two = fakeItem('2.0.0', 2);

/** The same message with other image metadata. */
function withImage(desired: SignedDesired, over: Partial<NonNullable<Signed['image']>>): SignedDesired {
  const { image } = desired.signed;
  if (image === null) throw new Error('expected image metadata');
  return { ...desired, signed: { ...desired.signed, image: { ...image, ...over } } };
}

interface TargetsPart { targets: Record<string, { length: number; hashes: { sha256: string }; custom: { hardware_ids: string[]; release_counter: number } }> }

/** An honest message for `item`, which is in the repository. */
function honest(bench: TrustBench, item: Item): SignedDesired {
  bench.offer(item);
  bench.fleet.add(item);
  return bench.fleet.desired(bench.next(), item);
}

describe('arbitrary software', () => {
  it('OTA-001: a message without signatures changes nothing', async () => {
    const bench = await TrustBench.start();
    bench.offer(two);
    await bench.refuses('E_TRUST_UNSIGNED', { schema_version: 2, generation: bench.next(), package: wanted(two), settings: {} });
    await bench.refuses('E_TRUST_UNSIGNED', { schema_version: 2, generation: bench.next(), package: null, settings: { match_threshold: -1 } });
  });

  it('OTA-002: metadata that is signed by other keys is refused', async () => {
    const bench = await TrustBench.start();
    bench.offer(two);
    const attacker = new SignedFleet();
    attacker.add(two);
    await bench.refuses('E_TRUST_SIGNATURE', attacker.desired(bench.next(), two));
  });

  it('OTA-003: a stolen director key cannot install what the image repository has not signed', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    const evil = fakeItem('6.6.6', 9);
    bench.offer(evil);
    const attacker = new SignedFleet();
    attacker.add(evil);
    const [message, chain] = [attacker.desired(genuine.generation, evil), genuine.signed];
    const stolen = directed(bench.fleet, { ...message, signed: { image: chain.image, director: message.signed.director } }, () => undefined);
    await bench.refuses('E_TRUST_ARBITRARY', stolen);
  });

  it.each([
    ['length', (target: TargetsPart['targets'][string]) => { target.length += 1; }],
    ['hashes', (target: TargetsPart['targets'][string]) => { target.hashes.sha256 = 'ab'.repeat(32); }],
    ['hardware', (target: TargetsPart['targets'][string]) => { target.custom.hardware_ids.push('arm64'); }],
    ['release counter', (target: TargetsPart['targets'][string]) => { target.custom.release_counter = 99; }],
  ])('OTA-004: director and image repository must agree on the %s', async (_field, change) => {
    const bench = await TrustBench.start();
    const forged = directed(bench.fleet, honest(bench, two), (targets) => { for (const target of Object.values((targets as unknown as TargetsPart).targets)) change(target); });
    await bench.refuses('E_TRUST_DISAGREE', forged);
  });

  it('OTA-005: a package for other hardware is refused', async () => {
    const bench = await TrustBench.start();
    bench.offer(two);
    bench.fleet.add(two, { hardwareIds: ['arm64', 'other-board'] });
    await bench.refuses('E_TRUST_HARDWARE', bench.fleet.desired(bench.next(), two));
  });

  it('OTA-006: signatures for another device, pipeline or fleet are refused', async () => {
    const bench = await TrustBench.start();
    honest(bench, two);
    for (const over of [{ device: 'other' }, { pipeline: 'back' }, { fleet: 'elsewhere' }]) await bench.refuses('E_TRUST_ADDRESS', bench.fleet.desired(bench.next(), two, over));
    bench.fleet.repository.delegate('yard', { keys: [bench.fleet.key('yard-1')], threshold: 1 });
    const yard = fakeItem('3.0.0', 3);
    bench.fleet.add(yard, { fleet: 'yard' });
    const foreign = bench.fleet.desired(bench.next(), yard, { fleet: 'yard' });
    const readdressed = directed(bench.fleet, foreign, (targets) => { targets['statement'] = String(targets['statement']).replace('"fleet":"yard"', '"fleet":"test"'); });
    await bench.refuses('E_TRUST_ADDRESS', readdressed);
  });

  it('OTA-007: what was signed cannot be changed on its way, not even a threshold', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    await bench.refuses('E_TRUST_ADDRESS', { ...genuine, settings: { match_threshold: -1 } });
    await bench.refuses('E_TRUST_ADDRESS', { ...bench.fleet.desired(bench.next(), two), package: { ...wanted(two), block_bytes: 512 } });
    await bench.refuses('E_TRUST_ADDRESS', { ...bench.fleet.desired(bench.next(), two), package: null });
    await bench.refuses('E_TRUST_ADDRESS', { ...bench.fleet.desired(bench.next(), two), generation: bench.next() });
  });

  it('OTA-008: keys below the threshold sign nothing', async () => {
    const fleet = new SignedFleet({ rootKeys: 3, rootThreshold: 2 });
    fleet.repository.rotate('image', 'targets', { add: [fleet.key('targets-2')], remove: [], threshold: 2 });
    const bench = await TrustBench.start({ fleet });
    const genuine = honest(bench, two);
    const { image } = genuine.signed;
    const targets = forge(fleet, image?.targets ?? '', () => undefined, ['targets-1']);
    const snapshot = forge(fleet, image?.snapshot ?? '', (signed) => { signed['meta'] = { 'targets.json': listed(targets) }; }, ['snapshot-1']);
    const timestamp = forge(fleet, image?.timestamp ?? '', (signed) => { signed['meta'] = { 'snapshot.json': listed(snapshot) }; }, ['timestamp-1']);
    await bench.refuses('E_TRUST_SIGNATURE', withImage(genuine, { targets, snapshot, timestamp }));
    const root = forge(fleet, fleet.root('image'), (signed) => { signed['version'] = Number(signed['version']) + 1; }, ['root-1']);
    await bench.refuses('E_TRUST_SIGNATURE', withImage(bench.fleet.desired(bench.next(), two), { roots: [...image?.roots ?? [], root] }));
    await bench.install(two);
  });
});

describe('rollback', () => {
  it('OTA-010: an older timestamp is refused', async () => {
    const bench = await TrustBench.start();
    const old = bench.fleet.desired(90, fakeItem('1.0.0', 1)).signed;
    await bench.install(two);
    const genuine = honest(bench, fakeItem('3.0.0', 3));
    await bench.refuses('E_TRUST_ROLLBACK', { ...genuine, signed: { ...genuine.signed, image: old.image } });
  });

  it('OTA-011: an older snapshot is refused, even under a new timestamp', async () => {
    const bench = await TrustBench.start();
    const old = bench.fleet.desired(90, fakeItem('1.0.0', 1)).signed.image;
    await bench.install(two);
    const genuine = honest(bench, fakeItem('3.0.0', 3));
    const timestamp = forge(bench.fleet, genuine.signed.image?.timestamp ?? '', (signed) => { signed['meta'] = { 'snapshot.json': listed(old?.snapshot ?? '') }; }, ['timestamp-1']);
    await bench.refuses('E_TRUST_ROLLBACK', withImage(genuine, { timestamp, snapshot: old?.snapshot ?? '', targets: old?.targets ?? '' }));
  });

  it('OTA-012: older targets are refused, even under a new snapshot; so is a list from which a role has vanished', async () => {
    const bench = await TrustBench.start();
    const old = bench.fleet.desired(90, fakeItem('1.0.0', 1)).signed.image;
    await bench.install(two);
    const chain = (desired: SignedDesired, meta: object, targets: string): SignedDesired => {
      const snapshot = forge(bench.fleet, desired.signed.image?.snapshot ?? '', (signed) => { signed['meta'] = meta; }, ['snapshot-1']);
      const timestamp = forge(bench.fleet, desired.signed.image?.timestamp ?? '', (signed) => { signed['meta'] = { 'snapshot.json': listed(snapshot) }; }, ['timestamp-1']);
      return withImage(desired, { timestamp, snapshot, targets });
    };
    await bench.refuses('E_TRUST_ROLLBACK', chain(honest(bench, fakeItem('3.0.0', 3)), { 'targets.json': listed(old?.targets ?? '') }, old?.targets ?? ''));
    await bench.refuses('E_TRUST_ROLLBACK', chain(honest(bench, fakeItem('4.0.0', 4)), {}, ''));
  });

  it('OTA-013: an older statement of the director is refused', async () => {
    const bench = await TrustBench.start();
    const old = honest(bench, two);
    await bench.install(fakeItem('3.0.0', 3));
    await bench.refuses('E_TRUST_ROLLBACK', old);
  });

  it('OTA-014: an older root cannot bring back its keys', async () => {
    const fleet = new SignedFleet();
    const bench = await TrustBench.start({ fleet });
    const stolen = readKey(join(fleet.folder, 'keys', 'timestamp-1.json'));
    fleet.repository.rotate('image', 'timestamp', { add: [fleet.key('timestamp-2')], remove: [stolen.id] });
    await bench.install(two);
    const genuine = honest(bench, fakeItem('3.0.0', 3));
    const timestamp = forge(fleet, genuine.signed.image?.timestamp ?? '', (signed) => { signed['version'] = 900; }, ['timestamp-1']);
    await bench.refuses('E_TRUST_SIGNATURE', withImage(genuine, { roots: [readFileSync(join(fleet.folder, 'image', '1.root.json'), 'utf8')], timestamp }));
  });

  it('OTA-015: a smaller release counter than that of a package that ran is refused, whatever its version says', async () => {
    const bench = await TrustBench.start({ config: { ota: { ...PATIENT_OTA, probation_ms: 1 } } });
    await bench.install(two);
    const attacker = new SignedFleet(); // an honest repository refuses to add it, so the keys do it by hand
    expect(() => bench.fleet.add(fakeItem('9.0.0', 1))).toThrow('devices would refuse to go back');
    expect(attacker.folder).not.toBe(bench.fleet.folder);
    await bench.refuses('E_TRUST_RELEASE', bench.fleet.desired(bench.next(), fakeItem('1.0.0', 1)));
    await bench.install(fakeItem('1.5.0', 3));
  });

  it('OTA-016: a package that failed its probation does not keep its predecessor from being installed again', async () => {
    const bench = await TrustBench.start();
    await bench.install(two);
    const rollback = { ...ADDRESS_OF(bench), command: 'rollback', id: 'back-1', pipeline: null, args: {}, issued_ms: bench.nowMs, expires_ms: bench.nowMs + 60_000 };
    expect(await bench.command(rollback, bench.fleet.director.command(rollback))).toMatchObject({ ok: true });
    await bench.side.untilReported('1.0.0 is back', (r) => r.slots.active?.version === '1.0.0');
    const generation = bench.next();
    await bench.side.desire(bench.fleet.desired(generation, fakeItem('1.0.0', 1)));
    await bench.side.untilReported('it is confirmed', (r) => r.generation_applied === generation && r.refused === null);
  });
});

const ADDRESS_OF = (bench: TrustBench): { fleet: string; device: string } => bench.side.address;

describe('freeze and time', () => {
  it('OTA-020: metadata that has expired stops new installs, in each role, and never the running package', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    for (const days of [31, 91, 366, 731]) { // timestamp, director, targets and snapshot, root
      bench.nowMs = bench.fleet.nowMs + days * DAY_MS;
      await bench.refuses('E_TRUST_FREEZE', bench.fleet.desired(bench.next(), two));
    }
    for (const role of ['timestamp', 'snapshot', 'targets'] as const) {
      bench.nowMs = bench.fleet.nowMs;
      const expired = (text: string, also: (signed: Record<string, unknown>) => void = () => undefined): string => forge(bench.fleet, text, (signed) => { also(signed); signed['expires'] = '2030-01-14T00:00:00Z'; }, [`${role}-1`]);
      const image = genuine.signed.image;
      const targets = role === 'targets' ? expired(image?.targets ?? '') : image?.targets ?? '';
      const list = (signed: Record<string, unknown>): void => { signed['meta'] = { 'targets.json': listed(targets) }; };
      const snapshot = role === 'snapshot' ? expired(image?.snapshot ?? '', list) : forge(bench.fleet, image?.snapshot ?? '', list, ['snapshot-1']);
      const top = (signed: Record<string, unknown>): void => { signed['meta'] = { 'snapshot.json': listed(snapshot) }; };
      const timestamp = role === 'timestamp' ? expired(image?.timestamp ?? '', top) : forge(bench.fleet, image?.timestamp ?? '', top, ['timestamp-1']);
      await bench.refuses('E_TRUST_FREEZE', withImage({ ...bench.fleet.desired(bench.next(), two) }, { targets, snapshot, timestamp }));
    }
  });

  it('OTA-021: a clock at its maximum does no lasting harm', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    bench.nowMs = 8.64e15;
    await bench.refuses('E_TRUST_CLOCK', genuine);
    bench.nowMs = bench.fleet.nowMs;
    await bench.install(two);
  });

  it('OTA-022: a clock at 1970 stops no update, and brings nothing back that has expired', async () => {
    const bench = await TrustBench.start();
    const expiring = honest(bench, two);
    bench.fleet.nowMs += 40 * DAY_MS;
    bench.fleet.repository.refresh();
    bench.nowMs = 0;
    await bench.install(fakeItem('3.0.0', 3));
    // What was signed 40 days later is the time now, whatever the clock says.
    const image = expiring.signed.image;
    const fresh = bench.fleet.desired(bench.next(), fakeItem('3.0.0', 3));
    const versions = forge(bench.fleet, image?.timestamp ?? '', (signed) => {
      signed['version'] = 900;
      signed['meta'] = { 'snapshot.json': listed(fresh.signed.image?.snapshot ?? '') };
    }, ['timestamp-1']);
    await bench.refuses('E_TRUST_FREEZE', withImage(fresh, { timestamp: versions }));
  });

  it('OTA-023: an installation that was begun is finished after a restart, although its metadata has expired meanwhile', async () => {
    const bench = await TrustBench.start();
    bench.side.budget = 5;
    const genuine = honest(bench, two);
    await bench.side.desire(genuine);
    await until('the download has begun', () => bench.side.budget === 0);
    await bench.agent.stop();
    bench.nowMs += 400 * DAY_MS;
    bench.side.budget = Infinity;
    await bench.boot();
    await bench.side.untilReported('2.0.0 runs', (r) => r.slots.active?.version === '2.0.0' && r.generation_applied === genuine.generation);
    expect(bench.side.reported.at(-1)?.refused).toBeNull();
    await bench.refuses('E_TRUST_FREEZE', bench.fleet.desired(bench.next(), two));
  });
});

describe('pieces that do not fit', () => {
  it('OTA-030: files of different moments are refused', async () => {
    const bench = await TrustBench.start();
    const old = bench.fleet.desired(90, fakeItem('1.0.0', 1)).signed.image;
    for (const over of [{ targets: old?.targets ?? '' }, { snapshot: old?.snapshot ?? '' }, { snapshot: old?.snapshot ?? '', targets: old?.targets ?? '' }]) {
      bench.offer(two);
      bench.fleet.add(two);
      await bench.refuses('E_TRUST_MIX', withImage(bench.fleet.desired(bench.next(), two), over));
    }
  });

  it('OTA-031: a part of the metadata is not enough', async () => {
    const fleet = new SignedFleet();
    fleet.repository.delegate('test', { keys: [fleet.key('own-1')], threshold: 1 });
    const bench = await TrustBench.start({ fleet });
    bench.offer(two);
    fleet.add(two, { fleet: 'test' });
    await bench.refuses('E_TRUST_PARTIAL', withImage(fleet.desired(bench.next(), two), { delegated: {} }));
    const whole = fleet.desired(bench.next(), two);
    await bench.refuses('E_TRUST_PARTIAL', { ...whole, signed: { ...whole.signed, image: null } });
    for (const name of ['root-2', 'root-3']) fleet.repository.rotate('image', 'root', { add: [fleet.key(name)], remove: [] });
    const roots = fleet.repository.rootsAfter('image', 2);
    await bench.refuses('E_TRUST_PARTIAL', withImage(fleet.desired(bench.next(), two), { roots }));
    const generation = bench.next();
    await bench.side.desire(fleet.desired(generation, two));
    await bench.side.untilReported('2.0.0 runs', (r) => r.generation_applied === generation);
  });

  it('OTA-032: metadata without an end is not read, and neither is a package', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    const longer = (text: string, bytes: number): string => `${text}${' '.repeat(bytes)}`;
    await bench.refuses('E_TRUST_SIZE', withImage(genuine, { timestamp: longer(genuine.signed.image?.timestamp ?? '', 20_000) }));
    const counted = (): number => Number((bench.agent.status()['counters'] as Record<string, number>)['messages_refused_total'] ?? 0);
    const before = counted();
    await bench.side.client.publishAsync('sterna/v2/test/door/desired/main', JSON.stringify(withImage(genuine, { targets: longer('', 110_000) })), { qos: 1, retain: true });
    await until('it is refused', () => counted() > before);
    expect(bench.side.reported.at(-1)?.slots.active?.version).toBe('1.0.0');
    // More bytes than the signed length: the block is not taken, and the package is refused.
    bench.side.packages = new Map([[wanted(two).digest, Buffer.from(two.bytes)]]);
    bench.side.tamper = (_request, answers) => answers.map(({ index, message }) => {
      const block = decodeBlock(message);
      return { index, message: encodeBlock({ ...block, payload: Buffer.concat([block.payload, Buffer.alloc(2000)]) }) };
    });
    await bench.side.desire(bench.fleet.desired(bench.next(), two, { blockBytes: 4096 }));
    await bench.side.untilReported('the package is refused', (r) => r.ota.state === 'rejected' && r.ota.error?.code === 'E_OTA_SIZE');
    expect(bench.side.reported.at(-1)?.slots.active?.version).toBe('1.0.0');
  });

  it('OTA-033: other bytes than those that were signed are not installed', async () => {
    const bench = await TrustBench.start();
    const generation = bench.next();
    bench.fleet.add(two);
    bench.side.packages = new Map([[wanted(two).digest, Buffer.from(two.bytes).fill(7, 500)]]);
    await bench.side.desire(bench.fleet.desired(generation, two));
    await bench.side.untilReported('the package is refused', (r) => r.ota.state === 'rejected' && r.ota.error?.code === 'E_OTA_HASH');
    expect(bench.side.reported.at(-1)?.slots.active?.version).toBe('1.0.0');
  });
});

/** Too large to travel in one message, so that it has a list of chunks. */
function largeItem(version: string, counter: number): Item {
  const next = random(counter);
  return { name: 'faces', version, counter, bytes: Buffer.concat([packageBytes({ name: 'faces', version, padding: 1 }), Buffer.from(Array.from({ length: 150_000 }, () => Math.floor(next() * 256)))]) };
}

describe('transfer', () => {
  it('OTA-111: the broker cannot put another list of chunks in the place of the signed one, nor take it away', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, largeItem('2.0.0', 2));
    expect(genuine.package?.chunks).toBeDefined();
    const { chunks: _, ...whole } = genuine.package ?? wanted(two);
    await bench.refuses('E_TRUST_ADDRESS', { ...genuine, package: whole });
    await bench.refuses('E_TRUST_ADDRESS', { ...genuine, package: { ...whole, chunks: { digest: 'ab'.repeat(32), size_bytes: 100 } } });
  });

  it('OTA-111: director and image repository must agree on the list of chunks', async () => {
    const bench = await TrustBench.start();
    const forged = directed(bench.fleet, honest(bench, largeItem('2.0.0', 2)), (targets) => {
      for (const { custom } of Object.values((targets as unknown as { targets: Record<string, { custom: { chunks: { digest: string } } }> }).targets)) custom.chunks.digest = 'ab'.repeat(32);
    });
    await bench.refuses('E_TRUST_DISAGREE', forged);
  });

  it('OTA-110: a broker that changes a chunk each time ends this try, not the generation; the serving package does not notice', async () => {
    const bench = await TrustBench.start();
    const item = largeItem('2.0.0', 2);
    const genuine = honest(bench, item);
    bench.side.tamper = (request, answer) => answer.map(({ index, message }) => ({ index, message: request.chunks !== undefined && index === 3 ? encodeBlock({ index, last: false, payload: Buffer.alloc(5000, 6) }) : message }));
    await bench.side.desire(genuine);
    await bench.side.untilReported('the chunk is refused', (r) => r.ota.state === 'rejected' && r.ota.error?.code === 'E_OTA_CHUNK' && r.slots.active?.version === '1.0.0');
    bench.side.tamper = (_, answer) => answer;
    await bench.side.desire(genuine); // as a broker repeats it at every connection
    await bench.side.untilReported('the same generation is installed', (r) => r.slots.active?.version === '2.0.0');
  });

  it('OTA-113: a broker that sends just enough to look alive is found out', async () => {
    const bench = await TrustBench.start({ config: { ota: { stall_ms: 2000, min_bytes_per_s: 100_000_000, min_rate_ms: 600 } } });
    const genuine = honest(bench, largeItem('2.0.0', 2));
    bench.side.tamper = (request, answer) => {
      if (request.chunks === undefined) return answer;
      const [piece] = answer;
      const topic = deviceTopic(ADDRESS, { kind: 'ota_block', digest8: request.digest.slice(0, 8), index: piece?.index ?? 0 });
      setTimeout(() => void bench.side.client.publish(topic, piece?.message ?? Buffer.alloc(0), { qos: 1 }), 250);
      return [];
    };
    await bench.side.desire(genuine);
    await bench.side.untilReported('slow retrieval is reported', (r) => r.ota.state === 'rejected' && r.ota.error?.code === 'E_OTA_SLOW' && r.slots.active?.version === '1.0.0');
  });
});

describe('after an attack', () => {
  it('OTA-040: one bad generation does not end updates, even when a stolen director key signed it', async () => {
    const bench = await TrustBench.start();
    honest(bench, two);
    await bench.refuses('E_OTA_GENERATION', bench.fleet.desired(Number.MAX_SAFE_INTEGER, two));
    await bench.install(two);
  });

  it('OTA-041: nothing is remembered of a message unless all of it was verified', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    const timestamp = forge(bench.fleet, genuine.signed.image?.timestamp ?? '', (signed) => { signed['version'] = 5000; }, ['timestamp-1']);
    await bench.refuses('E_TRUST_MIX', withImage(genuine, { timestamp, targets: '{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2031-01-01T00:00:00Z","targets":{}},"signatures":[]}' }));
    await bench.install(two); // its timestamp has a smaller version than 5000
  });

  it('OTA-042: new keys end a fast-forward attack', async () => {
    const bench = await TrustBench.start();
    const genuine = honest(bench, two);
    const timestamp = forge(bench.fleet, genuine.signed.image?.timestamp ?? '', (signed) => { signed['version'] = Number.MAX_SAFE_INTEGER; }, ['timestamp-1']);
    await bench.side.desire(withImage(genuine, { timestamp }));
    await bench.side.untilReported('2.0.0 runs', (r) => r.slots.active?.version === '2.0.0');
    const three = fakeItem('3.0.0', 3);
    await bench.refuses('E_TRUST_ROLLBACK', honest(bench, three));
    const stolen = readKey(join(bench.fleet.folder, 'keys', 'timestamp-1.json'));
    bench.fleet.repository.rotate('image', 'timestamp', { add: [bench.fleet.key('timestamp-2')], remove: [stolen.id] });
    await bench.install(three);
  });

  it('OTA-043: new root keys are followed over several versions, in a device that was away', async () => {
    const bench = await TrustBench.start({ serves: null });
    for (const name of ['root-2', 'root-3']) {
      const old = readKey(join(bench.fleet.folder, 'keys', name === 'root-2' ? 'root-1.json' : 'root-2.json'));
      for (const repository of ['image', 'director'] as const) bench.fleet.repository.rotate(repository, 'root', { add: [repository === 'image' ? bench.fleet.key(name) : readKey(join(bench.fleet.folder, 'keys', `${name}.json`))], remove: [old.id] });
    }
    await bench.install(two);
    expect(bench.side.reported.at(-1)?.trust).toEqual({ mode: 'signed', image_root: 3, director_root: 3 });
    await bench.agent.stop();
    await bench.boot();
    expect(bench.side.reported.at(-1)?.trust).toEqual({ mode: 'signed', image_root: 3, director_root: 3 });
  });

  it('OTA-044: without pinned roots nothing is installed, and the device says so', async () => {
    const bench = await TrustBench.start({ serves: null, config: { trust: { hardware_id: 'x64' } } });
    expect(bench.side.reported.at(-1)).toMatchObject({ trust: { mode: 'unprovisioned' }, faults: [{ code: 'E_TRUST_ROOT' }] });
    await bench.refuses('E_TRUST_ROOT', honest(bench, two));
  });

  it('OTA-125: with the director root in the place of the image root nothing is installed, not even by whoever has the key of the director', async () => {
    const fleet = new SignedFleet();
    const root = `${fleet.folder}/director/1.root.json`;
    const bench = await TrustBench.start({ fleet, serves: null, config: { trust: { hardware_id: 'x64', image_root: root, director_root: root } } });
    expect(bench.side.reported.at(-1)).toMatchObject({ trust: { mode: 'unprovisioned' }, faults: [{ code: 'E_TRUST_ROOT', message: expect.stringContaining('it is the root of the director') as string }] });
    await bench.refuses('E_TRUST_ROOT', honest(bench, two));
  });

  it('OTA-045: the unsigned mode is off by default, and loud', async () => {
    const bench = await TrustBench.start({ serves: null, config: { trust: { unsigned: true } } });
    expect(bench.side.reported.at(-1)).toMatchObject({ trust: { mode: 'unsigned' }, faults: [{ code: 'E_TRUST_OFF' }] });
    const health = await (await fetch(`${bench.agent.apiUrl ?? ''}/health`)).json();
    expect(health).toMatchObject({ ok: true, warnings: [expect.stringContaining('trust.unsigned is set') as string] });
  });
});
