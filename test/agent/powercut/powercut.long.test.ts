import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../runtime/support/random.js';
import { packageBytes } from '../support/fake-runtime.js';
import { temporaryFolder } from '../support/tools.js';
import { item, SignedFleet } from '../trust/fleet.js';
import { bundleDevice, deviceScript as script } from '../support/bundle.js';

interface Outcome {
  atStart: string | null;
  running: string | null;
  phase: string;
  code: string | null;
  previous: string | null;
  first: number | null;
  files: number;
  /** Of the second pipeline. */
  beside: { atStart: string | null; running: string | null; phase: string | null };
}

beforeAll(bundleDevice, 60_000);

/** Runs the device. @returns what it says, or null when it was killed */
function run(folder: string, generation: number, offer: string, fault = '', beside = '', signed = ''): Promise<Outcome | null> {
  return runWith({ STERNA_TEST_SIGNED: signed }, folder, generation, offer, { fault, beside });
}

/** @param lines receives everything that the device says */
function runWith(env: Record<string, string>, folder: string, generation: number, offer: string, { fault = '', beside = '', lines = [] }: { fault?: string; beside?: string; lines?: Record<string, unknown>[] } = {}): Promise<Outcome | null> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [script, folder, String(generation), offer, '', beside], { env: { ...process.env, ...env, STERNA_FAULT: fault }, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (piece: Buffer) => { out += piece.toString(); });
    child.stderr.on('data', (piece: Buffer) => { err += piece.toString(); });
    child.once('close', (code, signal) => {
      lines.push(...out.split('\n').filter((line) => line.endsWith('}')).map((line) => JSON.parse(line) as Record<string, unknown>));
      if (signal === 'SIGKILL') done(null);
      else if (code === 0) done(JSON.parse(out.trim().split('\n').at(-1) ?? '') as Outcome);
      else fail(new Error(`the device ended with ${code}: ${err}`));
    });
  });
}

/** A folder of a device that runs version 1, and what it may be offered. */
function prepare(fresh = false): string {
  const folder = temporaryFolder();
  if (!fresh) cpSync(installed, folder, { recursive: true });
  writeFileSync(join(folder, 'one'), packageBytes({ name: 'faces', version: '1.0.0', padding: 3000 }));
  writeFileSync(join(folder, 'two'), packageBytes({ name: 'faces', version: '2.0.0', padding: 20_000 }));
  writeFileSync(join(folder, 'crashes'), packageBytes({ name: 'faces', version: '6.6.7', padding: 3000, crashes: true }));
  return folder;
}

/** As `packageBytes`, with contents that chunks can be told apart by, and so many bytes of its own. */
function largePackage(version: string, own: number): Buffer {
  const noise = (bytes: number, seed: number): Buffer => {
    const next = random(seed);
    return Buffer.from(Array.from({ length: bytes }, () => Math.floor(next() * 256)));
  };
  return Buffer.concat([packageBytes({ name: 'faces', version, padding: 1 }), noise(300_000, 1), noise(own, 2), noise(200_000, 3)]);
}

const chunks = { STERNA_TEST_CHUNKS: '1' };
let installedLarge = '';
beforeAll(async () => {
  installedLarge = mkdtempSync(join(tmpdir(), 'sterna-powercut-'));
  writeFileSync(join(installedLarge, 'one'), largePackage('1.0.0', 0));
  expect(await runWith(chunks, installedLarge, 1, 'one')).toMatchObject({ running: '1.0.0' });
}, 60_000);
afterAll(() => rmSync(installedLarge, { recursive: true, force: true }));

let installed = '';
beforeAll(async () => {
  installed = mkdtempSync(join(tmpdir(), 'sterna-powercut-'));
  writeFileSync(join(installed, 'one'), packageBytes({ name: 'faces', version: '1.0.0', padding: 3000 }));
  writeFileSync(join(installed, 'older'), packageBytes({ name: 'objects', version: '3.0.0', padding: 900 }));
  expect(await run(installed, 1, 'one', '', 'older')).toMatchObject({ running: '1.0.0', phase: 'committed', beside: { running: '3.0.0', phase: 'committed' } });
}, 60_000);
afterAll(() => rmSync(installed, { recursive: true, force: true }));

const phases = ['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow', 'committed'];
const faults = [
  ...phases.flatMap((phase) => [`journal.before.${phase}`, `journal.after.${phase}`]),
  'download.written:1', 'download.written:20', 'download.progress:1', 'download.progress:3', 'store.before.rename',
];

describe('when the power fails', () => {
  it.each(faults)('at %s, the device comes back on a verified package and finishes the deployment', async (fault) => {
    const folder = prepare();
    expect(await run(folder, 2, 'two', fault), `${fault} was not reached`).toBeNull();
    const back = await run(folder, 2, 'two');
    expect(back?.atStart).toBe(fault === 'journal.after.committed' ? '2.0.0' : '1.0.0');
    expect(back).toMatchObject({ running: '2.0.0', phase: 'committed', previous: '1.0.0', files: 2 });
  });

  it.each(faults)('at %s of two pipelines that install at the same time, both come back on a verified package and finish', async (fault) => {
    const folder = prepare();
    writeFileSync(join(folder, 'other'), packageBytes({ name: 'objects', version: '4.0.0', padding: 18_000 }));
    expect(await run(folder, 2, 'two', fault, 'other'), `${fault} was not reached`).toBeNull();
    const back = await run(folder, 2, 'two', '', 'other');
    expect(['1.0.0', '2.0.0']).toContain(back?.atStart);
    expect(['3.0.0', '4.0.0']).toContain(back?.beside.atStart);
    expect(back).toMatchObject({ running: '2.0.0', phase: 'committed', previous: '1.0.0', files: 2, beside: { running: '4.0.0', phase: 'committed' } });
  });

  it.each([
    'journal.after.downloading', 'download.listed', 'download.seeded:9', 'download.written:25', 'download.written:33', 'journal.before.verifying', 'store.before.rename',
  ])('OTA-112: at %s of a download by chunks, no chunk is fetched twice, and progress never goes backwards', async (fault) => {
    const folder = temporaryFolder();
    cpSync(installedLarge, folder, { recursive: true });
    const two = largePackage('2.0.0', 160_000);
    writeFileSync(join(folder, 'two'), two);
    const before: Record<string, unknown>[] = [];
    const after: Record<string, unknown>[] = [];
    expect(await runWith(chunks, folder, 2, 'two', { fault, lines: before }), `${fault} was not reached`).toBeNull();
    const back = await runWith(chunks, folder, 2, 'two', { lines: after });
    expect(back).toMatchObject({ running: '2.0.0', phase: 'committed', previous: '1.0.0', files: 2 });
    const numbers = (lines: readonly Record<string, unknown>[], key: string): number[] => lines.flatMap((line) => (typeof line[key] === 'number' ? [line[key]] : []));
    expect(numbers([...before, ...after], 'list')).toHaveLength(1);
    const [first, then] = [numbers(before, 'sent'), numbers(after, 'sent')];
    const onTheWay = first.slice(-4); // of a window; what the kill found on its way was not here
    expect(then.filter((index) => first.includes(index) && !onTheWay.includes(index))).toEqual([]);
    expect(first.length + then.length).toBeLessThan(two.length / 16_384);
    const bytes = numbers([...before, ...after], 'bytes');
    expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
  });

  it('progress never goes backwards', async () => {
    const folder = prepare();
    expect(await run(folder, 2, 'two', 'download.progress:2')).toBeNull();
    const back = await run(folder, 2, 'two');
    expect(back?.first).toBe(32);
  });

  it('in the first deployment of all, the device starts without a package and takes the next try', async () => {
    const folder = prepare(true);
    expect(await run(folder, 1, 'one', 'journal.after.warming')).toBeNull();
    expect(await run(folder, 1, 'one')).toMatchObject({ atStart: 'none', running: '1.0.0' });
  });

  it('a package of which the test crashes is given up, and the device runs on', async () => {
    const folder = prepare();
    expect(await run(folder, 2, 'crashes')).toMatchObject({ atStart: '1.0.0', running: '1.0.0', phase: 'rejected', code: 'E_OTA_GATE_CRASH' });
    expect(existsSync(join(folder, 'state.db'))).toBe(true);
  });
});

describe('when the power fails while a signed message is taken', () => {
  /** A device that runs version 1 of a signed fleet, and a signed message with version 2. */
  async function signedDevice(): Promise<{ folder: string; fleet: SignedFleet }> {
    const folder = prepare(true);
    const fleet = new SignedFleet({ nowMs: Date.now() });
    for (const name of ['image', 'director'] as const) writeFileSync(join(folder, `${name}-root.json`), fleet.root(name));
    for (const [i, [offer, version]] of ([['one', '1.0.0'], ['two', '2.0.0']] as const).entries()) {
      const added = { ...item('faces', version, i + 1), bytes: readFileSync(join(folder, offer)) };
      fleet.add(added);
      writeFileSync(join(folder, `${offer}.json`), JSON.stringify(fleet.desired(i + 1, added)));
    }
    expect(await run(folder, 1, 'one', '', '', 'one.json')).toMatchObject({ running: '1.0.0', phase: 'committed' });
    return { folder, fleet };
  }

  it.each(['trust.before', 'trust.after'])('OTA-064: at %s, what was verified is there as a whole or not at all, and the deployment finishes', async (fault) => {
    const { folder } = await signedDevice();
    expect(await run(folder, 2, 'two', fault, '', 'two.json'), `${fault} was not reached`).toBeNull();
    const back = await run(folder, 2, 'two', '', '', 'two.json');
    expect(back).toMatchObject({ running: '2.0.0', phase: 'committed', previous: '1.0.0' });
    // The older message is none that could be replayed now.
    await expect(run(folder, 1, 'one', '', '', 'one.json')).rejects.toThrow('E_TRUST_R');
  });
});
