import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { decodePointer } from '../../../agent/ota/stored-state.js';
import { PackageStore } from '../../../agent/ota/store.js';
import { armFault } from '../../../agent/platform/fault.js';
import { random } from '../../runtime/support/random.js';
import { chunksOf } from '../support/publisher.js';
import { packageBytes, type FakePackage } from '../support/fake-runtime.js';
import { desiredPackage, temporaryFolder, until } from '../support/tools.js';
import { Bench } from '../support/update-bench.js';

const codes = { ENOSPC: 'E_DISK_FULL', EROFS: 'E_STATE_READ_ONLY', EIO: 'E_STATE' } as const;
type SystemCode = keyof typeof codes;

const fakes = ['1.0.0', '2.0.0', '3.0.0'].map((version): FakePackage => ({ name: 'faces', version, padding: 5000 }));
/** All packages have these bytes, which become chunks that can be told apart. */
const next = random(7);
const noise = Buffer.from(Array.from({ length: 80_000 }, () => Math.floor(next() * 256)));
const packages = fakes.map((fake) => Buffer.concat([packageBytes(fake), noise]));

afterEach(() => void armFault(''));

/** A device that runs version 1, and whose camera works. */
async function device(chunks: boolean): Promise<{ bench: Bench; desire: (generation: number) => void }> {
  const bench = new Bench(temporaryFolder(), packages, { desiredIntervalMs: 1 });
  await bench.manager.start();
  const desire = (generation: number): void => {
    const [fake, bytes] = [fakes[generation - 1], packages[generation - 1]];
    if (fake === undefined || bytes === undefined) throw new Error('no such package');
    bench.manager.desire({ generation, package: { ...desiredPackage(fake, bytes, 1024), ...(chunks ? chunksOf(bytes) : {}) }, settings: {} });
  };
  desire(1);
  await bench.settle(1);
  await bench.manager.settled();
  expect(bench.slot.running?.slot.version).toBe('1.0.0');
  bench.announcements.length = 0;
  return { bench, desire };
}

/** Every file that has the name of a complete package is one. */
function expectWholePackages(folder: string): void {
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.sterna'))) {
    expect(`${createHash('sha256').update(readFileSync(join(folder, name))).digest('hex')}.sterna`).toBe(name);
  }
}

const phases = ['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow', 'committed'];
/** Passed by every update. */
const common = [
  ...phases.flatMap((phase) => [`journal.before.${phase}`, `journal.after.${phase}`]),
  'store.folder', 'store.space', 'store.partial', 'download.write:1', 'download.written:1', 'download.sync', 'store.before.rename', 'store.after.rename', 'pointer.write', 'store.collect', 'journal.forget',
];
const cases: { point: string; chunks: boolean; code: SystemCode }[] = [
  ...common.map((point) => ({ point, chunks: false, code: 'ENOSPC' as const })),
  ...['download.written:9', 'download.progress.before', 'download.progress:1', 'download.progress:2'].map((point) => ({ point, chunks: false, code: 'ENOSPC' as const })),
  ...['store.list', 'download.listed', 'download.seeded', 'download.write:1', 'download.written:1', 'download.sync'].map((point) => ({ point, chunks: true, code: 'ENOSPC' as const })),
  ...['journal.before.downloading', 'download.write:1', 'download.sync', 'store.before.rename', 'pointer.write', 'store.collect'].flatMap((point) =>
    (['EROFS', 'EIO'] as const).map((code) => ({ point, chunks: true, code }))),
];

describe('a disk that takes nothing', () => {
  it.each(cases)('$code at $point (chunks: $chunks): OTA-118 a code says so, nothing is half-installed, and the next update succeeds without a restart', async ({ point, chunks, code }) => {
    const { bench, desire } = await device(chunks);
    const fault = armFault(`${point}${point.includes(':') ? '' : ':1'}:${code}`);
    desire(2);
    await until('the point is reached', () => fault?.reached === true);
    await until('a code says so', () => bench.lasting.has(codes[code]) || bench.manager.state.error?.code === codes[code]);
    const { phase, error } = bench.manager.state;
    expect(bench.faults).not.toContain('E_INTERNAL');
    if (phase === 'rejected') expect(error?.code).toBe(codes[code]);
    await bench.manager.settled();
    const serving = bench.slot.running;
    expect(serving?.slot.version).toBe(bench.manager.state.active?.version);
    await expect(serving?.model.pipeline.process({ sequence: 1, capturedMs: 0, width: 2, height: 2, data: new Uint8Array(12) })).resolves.toBeDefined();
    expectWholePackages(join(bench.folder, 'packages'));

    armFault('');
    desire(3);
    await bench.settle(3);
    await bench.manager.settled();
    expect(bench.manager.state).toMatchObject({ phase: 'committed', active: { version: '3.0.0' } });
    expect(bench.slot.running?.slot.version).toBe('3.0.0');
    await until('the fault is over', () => bench.lasting.size === 0);
    expect(bench.runtime.open).toBe(1);
    const { active, previous } = bench.manager.state;
    await until('only what the slots need is kept', () => readdirSync(join(bench.folder, 'packages')).sort().join() === [active, previous].map((slot) => `${slot?.digest}.sterna`).sort().join());
    expect(decodePointer(readFileSync(join(bench.folder, 'slots.json'), 'utf8'))).toMatchObject({ kind: 'sound', value: { active: { version: '3.0.0' } } });
  });
});

describe('a disk that takes nothing, before and beside updates', () => {
  const [one] = packages;
  if (one === undefined) throw new Error('no package');

  it('when the device starts: the folder of packages is made when there is room', async () => {
    const fault = armFault('store.folder:1:ENOSPC');
    const bench = new Bench(temporaryFolder(), packages, { desiredIntervalMs: 1 });
    await bench.manager.start();
    expect(fault?.reached).toBe(true);
    armFault('');
    bench.manager.desire({ generation: 1, package: desiredPackage(fakes[0] ?? { name: '', version: '' }, one) });
    await bench.settle(1);
    expect(bench.manager.state.phase).toBe('committed');
  });

  it.each([['ENOSPC', 'E_DISK_FULL'], ['EROFS', 'E_STATE_READ_ONLY']] as const)('%s while the package of the configuration is copied: %s, nothing is left, and it can be installed later', async (code, expected) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'one.sterna'), one);
    const bench = new Bench(folder, []);
    await bench.manager.start();
    armFault(`store.import:1:${code}`);
    await expect(bench.manager.install(join(folder, 'one.sterna'))).rejects.toMatchObject({ code: expected });
    expect(readdirSync(join(folder, 'packages'))).toEqual([]);
    armFault('');
    await bench.manager.install(join(folder, 'one.sterna'));
    await until('it runs', () => bench.slot.running?.slot.version === '1.0.0');
  });

  it('a factory package that cannot be read is a fault, and updates go on', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'factory.sterna'), one);
    armFault('store.factory:1:EIO');
    const bench = new Bench(folder, packages, { factory: join(folder, 'factory.sterna') });
    await bench.manager.start();
    expect(bench.faults).toEqual(['E_OTA_FACTORY']);
    bench.manager.desire({ generation: 1, package: desiredPackage(fakes[0] ?? { name: '', version: '' }, one) });
    await bench.settle(1);
    expect(bench.manager.state.phase).toBe('committed');
  });

  it('a package that does not fit drives out the partial files of others, and keeps its own', async () => {
    const folder = temporaryFolder();
    const store = new PackageStore(folder);
    const [own, other] = ['a', 'b'].map((digit) => digit.repeat(64));
    for (const digest of [own, other]) for (const end of ['part', 'chunks']) writeFileSync(join(folder, `${digest}.${end}`), 'x');
    writeFileSync(join(folder, `${other}.sterna`), 'x');
    await expect(store.requireSpace(own ?? '', 2 ** 52)).rejects.toMatchObject({ code: 'E_DISK_FULL' });
    expect(readdirSync(folder).sort()).toEqual([`${own}.chunks`, `${own}.part`, `${other}.sterna`]);
  });

  it('a record of blocks whose file is gone does not vouch for the next file', async () => {
    const { bench, desire } = await device(false);
    armFault('download.progress:1:ENOSPC'); // What is on the disk was noted, and then the download ended.
    desire(2);
    await until('it ends', () => bench.manager.state.phase === 'rejected');
    const digest = desiredPackage(fakes[1] ?? { name: '', version: '' }, packages[1] ?? Buffer.alloc(0)).digest;
    await bench.manager.settled();
    rmSync(join(bench.folder, 'packages', `${digest}.part`));
    armFault('download.write:1:ENOSPC'); // The next one ends when its file exists and is empty.
    desire(2);
    await until('it ends again', () => bench.manager.state.tries === 1 && bench.manager.state.phase === 'rejected');
    armFault('');
    desire(2);
    await until('it is whole', () => bench.manager.state.tries === 2 && bench.manager.state.phase !== 'downloading' && bench.manager.state.phase !== 'checking');
    await bench.settle(2);
    expect(bench.manager.state).toMatchObject({ phase: 'committed', error: null });
  });
});

describe('a roll-back on a disk that takes nothing', () => {
  const broken = { code: 'E_OTA_PROBATION_ERRORS', message: '21 of the last 100 frames failed' };
  const names = (folder: string): string[] => readdirSync(join(folder, 'packages')).sort();
  const digestOf = (generation: number): string => createHash('sha256').update(packages[generation - 1] ?? '').digest('hex');
  const files = (...generations: number[]): string[] => generations.map((generation) => `${digestOf(generation)}.sterna`).sort();

  /** A device whose version 2 breaks its probation while no roll-back can be written. */
  async function rolledBackInMemory(): Promise<Awaited<ReturnType<typeof device>>> {
    const made = await device(false);
    const { bench, desire } = made;
    desire(2);
    await bench.settle(2);
    await bench.manager.settled();
    expect(bench.slot.running?.slot.version).toBe('2.0.0');
    const fault = armFault('journal.before.rolled_back:1:ENOSPC');
    bench.manager.activeFailing(digestOf(2), broken);
    await until('the package before runs', () => bench.slot.running?.slot.version === '1.0.0');
    expect(fault?.reached).toBe(true);
    return made;
  }

  const stored = ({ journal }: Bench): unknown => { const found = journal.load(); return found.kind === 'sound' ? found.value.state : found; };

  it('OTA-120: happens at once, and is written when there is room; until then nothing is deleted that a restart would need', async () => {
    const { bench } = await rolledBackInMemory();
    expect(bench.manager.state).toMatchObject({ phase: 'rolled_back', active: { version: '1.0.0' }, previous: null });
    expect(bench.lasting).toContain('E_DISK_FULL');
    expect(stored(bench)).toMatchObject({ phase: 'committed', active: { version: '2.0.0' }, previous: { version: '1.0.0' } });
    await bench.manager.settled();
    expect(names(bench.folder)).toEqual(files(1, 2));
    expect(decodePointer(readFileSync(join(bench.folder, 'slots.json'), 'utf8'))).toMatchObject({ value: { active: { version: '2.0.0' } } });
    armFault('');
    await until('the fault is over', () => bench.lasting.size === 0);
    expect(stored(bench)).toMatchObject({ phase: 'rolled_back', active: { version: '1.0.0' }, previous: null });
    await until('what failed is deleted', () => names(bench.folder).join() === files(1).join());
    expect(decodePointer(readFileSync(join(bench.folder, 'slots.json'), 'utf8'))).toMatchObject({ value: { active: { version: '1.0.0' }, previous: null } });
    expect(bench.runtime.open).toBe(1);
    expect(bench.announcements.filter(({ action }) => action === 'rolled_back')).toHaveLength(1);
  });

  it.each(['killed', 'crash'] as const)('OTA-120: after a restart before it was written (%s) a verified package runs, and gives way again', async (ended) => {
    const { bench } = await rolledBackInMemory();
    await bench.manager.settled();
    const folder = temporaryFolder();
    cpSync(bench.folder, folder, { recursive: true });
    const next = new Bench(folder, packages, {}, { ended });
    await next.manager.start();
    expect(next.slot.running?.slot.version).toBe('2.0.0');
    expect(next.runtime.open).toBe(1);
    expectWholePackages(join(folder, 'packages'));
    next.manager.activeFailing(digestOf(2), broken);
    await until('the package before runs again', () => next.slot.running?.slot.version === '1.0.0');
    armFault('');
    await until('the fault is over', () => next.lasting.size === 0);
    expect(stored(next)).toMatchObject({ phase: 'rolled_back', active: { version: '1.0.0' } });
  });

  it('OTA-120: an update that comes meanwhile is taken with it, and finds the package that runs', async () => {
    const { bench, desire } = await rolledBackInMemory();
    desire(3);
    await bench.settle(3);
    await bench.manager.settled();
    expect(stored(bench)).toMatchObject({ phase: 'committed', active: { version: '3.0.0' }, previous: { version: '1.0.0' } });
    expect(bench.lasting.size).toBe(0);
    await until('what failed is deleted', () => names(bench.folder).join() === files(1, 3).join());
  });

  it('OTA-120: a package that cannot be opened at a start gives way, too', async () => {
    const { bench } = await rolledBackInMemory();
    await bench.manager.settled();
    const folder = temporaryFolder();
    cpSync(bench.folder, folder, { recursive: true });
    writeFileSync(join(folder, 'packages', `${digestOf(2)}.sterna`), 'lost by the flash');
    const next = new Bench(folder, packages, {}, { ended: 'killed' });
    await next.manager.start();
    await until('the package before runs', () => next.slot.running?.slot.version === '1.0.0');
    expect(stored(next)).toMatchObject({ active: { version: '2.0.0' } });
    armFault('');
    await until('the fault is over', () => next.lasting.size === 0);
    expect(stored(next)).toMatchObject({ active: { version: '1.0.0' } });
  });
});
