/** The state machine of adaptation, with a process that does what it is told, and its files on a disk that fails. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { ThresholdAdapter, type AdapterLimits } from '../../../agent/adapt/adapter.js';
import { OverlayFiles } from '../../../agent/adapt/overlay-files.js';
import type { AdaptCandidate, AdaptOutcome, AdaptReport } from '../../../agent/ground/adapt.js';
import type { ProcessedFrame } from '../../../agent/ground/frames.js';
import type { Slot } from '../../../agent/ground/package.js';
import { CandidateError } from '../../../agent/ground/runtime.js';
import { armFault } from '../../../agent/platform/fault.js';
import { restsFor, storedDigest } from '../../../agent/pipelines/adaptation.js';
import { initialOtaState, type OtaState } from '../../../agent/ota/state.js';
import { LentPictures } from '../../support/lent-pictures.js';
import { until } from '../support/tools.js';

const digest = 'a'.repeat(64);
const other = 'b'.repeat(64);
const slotOf = (of: string): Slot => ({ name: 'door', version: '1.0.0', digest: of, size_bytes: 1, since_ms: 0 });
const overlay = Buffer.from('{"overlay":1}');

/** An adapter on a clock that the test moves, with a process that the test answers for. */
class Bench {
  readonly files: OverlayFiles;
  readonly adapter: ThresholdAdapter;
  readonly states: AdaptReport['state'][] = [];
  readonly asked: string[] = [];
  readonly outcomes: AdaptOutcome[] = [];
  nowMs = 0;
  reloads = 0;
  closed = 0;
  resting: string | null = null;
  steps = 2;
  tuned: { reason: string | null; gain: number | null } = { reason: null, gain: 0.7 };
  verdict: { reason: string | null; overlay: Uint8Array | null } = { reason: null, overlay };
  fails: string | null = null;
  cpuMs = 10;

  constructor(folder: string, enabled = true, limits: Partial<AdapterLimits> = {}) {
    this.files = new OverlayFiles(folder);
    this.adapter = new ThresholdAdapter(enabled, {
      files: this.files, open: (of) => this.#opened(of), reload: () => { this.reloads += 1; }, rests: () => this.resting, clock: { monotonicMs: () => this.nowMs },
      limits: { cpuShare: 0.05, frames: 3, judged: 2, everyMs: 1000, ...limits }, onChange: () => this.states.push(this.adapter.report.state), onOutcome: (outcome) => this.outcomes.push(outcome), lookMs: 1,
    });
    onTestFinished(() => this.adapter.stop());
  }

  #opened(of: string): Promise<AdaptCandidate> {
    const cost = (what: string): Promise<{ cpuMs: number }> => {
      this.asked.push(what);
      return what === this.fails ? Promise.reject(new CandidateError('E_MODEL_OP', 'no')) : Promise.resolve({ cpuMs: this.cpuMs });
    };
    this.asked.push(`open ${of.slice(0, 1)}`);
    let left = this.steps;
    return Promise.resolve({
      openedCpuMs: 100, gather: () => cost('gather'), judge: () => cost('judge'), close: () => { this.closed += 1; },
      step: async () => ({ ...await cost('step'), tuned: --left > 0 ? null : this.tuned }),
      verdict: async () => ({ ...await cost('verdict'), ...this.verdict }),
    });
  }

  frame(of = digest, exit = 'full', data: Uint8Array = new Uint8Array(3)): void {
    this.adapter.offer({ frame: { width: 1, height: 1, data, sequence: 0, capturedMs: 0 }, result: { exit }, running: { slot: slotOf(of) } } as unknown as ProcessedFrame);
  }

  /** Lets time pass and frames come until it is in one of the states. */
  async reach(...states: AdaptReport['state'][]): Promise<AdaptReport> {
    await until('the adapter', () => {
      this.nowMs += 500;
      this.frame();
      return states.includes(this.adapter.report.state);
    });
    return this.adapter.report;
  }
}

describe('adaptation on a device', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-overlays-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
  });

  it('gathers, tunes, judges, writes the overlay and opens the package again', async () => {
    const bench = new Bench(folder);
    bench.adapter.switched(slotOf(digest));
    const report = await bench.reach('adapted');
    expect(bench.states).toEqual(['gathering', 'tuning', 'judging', 'adapted']);
    expect(bench.asked).toEqual(['open a', 'gather', 'gather', 'gather', 'step', 'step', 'judge', 'judge', 'verdict']);
    expect(report).toMatchObject({ reason: null, frames: 5, gain: 0.7, cpu_ms: 180 });
    expect(await readdir(folder)).toEqual([`${digest}.${report.overlay ?? ''}.overlay`]);
    expect([bench.reloads, bench.closed]).toEqual([1, 1]);
    const { name, version, size_bytes } = slotOf(digest);
    expect(bench.outcomes).toEqual([{ action: 'accepted', package: { name, version, digest, size_bytes }, overlay: report.overlay, reason: null, gain: 0.7, frames: 5, cpu_ms: 180 }]);
    bench.adapter.switched(slotOf(digest)); // The package that was opened again.
    expect(bench.adapter.report.state).toBe('adapted');
    expect(await bench.adapter.open(digest, (bytes) => Promise.resolve(Buffer.from(bytes ?? []).toString()))).toBe(overlay.toString());
  });

  it('keeps the pictures that it takes, and no others', async () => {
    const bench = new Bench(folder);
    const pictures = new LentPictures(3);
    bench.adapter.switched(slotOf(digest));
    await until('it asks for a frame', () => {
      bench.nowMs += 500;
      const data = pictures.take();
      bench.frame(digest, 'full', data);
      return pictures.isKept(data);
    });
    const next = pictures.take();
    bench.frame(digest, 'full', next); // One is enough for now.
    expect(pictures.isKept(next)).toBe(false);
  });

  it('is off by default: no process, no frame, and what was adapted before is not used', async () => {
    const bench = new Bench(folder, false);
    await bench.files.write(digest, overlay);
    bench.adapter.switched(slotOf(digest));
    bench.frame();
    expect(await bench.adapter.open(digest, (bytes) => Promise.resolve(bytes))).toBeUndefined();
    expect([bench.asked, bench.adapter.report.state, await readdir(folder)]).toEqual([[], 'off', []]);
    expect(bench.outcomes).toMatchObject([{ action: 'reverted', overlay: expect.stringMatching(/^[0-9a-f]{64}$/) as string, reason: 'adaptation is switched off', gain: null }]);
  });

  it('keeps to its share of a core: after 10 ms of processor time it asks for nothing for 200 ms', async () => {
    const bench = new Bench(folder, true, { everyMs: 1 });
    bench.adapter.switched(slotOf(digest));
    await until('the adapter', () => bench.adapter.report.state === 'gathering');
    const takenAt: number[] = [];
    while (bench.asked.filter((what) => what === 'gather').length < 3) {
      const before = bench.asked.length;
      bench.frame();
      await new Promise((resolve) => { setTimeout(resolve, 2); });
      if (bench.asked.length > before) takenAt.push(bench.nowMs);
      bench.nowMs += 20;
      expect(bench.nowMs).toBeLessThan(10_000);
    }
    expect(takenAt).toEqual([2000, 2200, 2400]);
  });

  it('rests while a rule says so, takes neither frames nor steps, and goes on', async () => {
    const bench = new Bench(folder);
    bench.resting = 'an update is under way';
    bench.adapter.switched(slotOf(digest));
    for (let i = 0; i < 20; i++) {
      bench.nowMs += 1000;
      bench.frame();
      await new Promise((resolve) => { setTimeout(resolve, 2); });
    }
    expect(bench.asked).toEqual([]);
    expect(bench.adapter.report).toMatchObject({ state: 'waiting', reason: 'rests: an update is under way' });
    bench.resting = null;
    await bench.reach('adapted');
  });

  it('leaves the package as it is when nothing is gained, or findings do not agree, and says why', async () => {
    for (const spoil of [(bench: Bench) => { bench.tuned = { reason: 'no gain', gain: null }; }, (bench: Bench) => { bench.verdict = { reason: 'no gain', overlay: null }; }]) {
      const bench = new Bench(folder);
      spoil(bench);
      bench.adapter.switched(slotOf(digest));
      expect(await bench.reach('unchanged')).toMatchObject({ reason: 'no gain', overlay: null, gain: null });
      expect([bench.reloads, bench.closed, await readdir(folder)]).toEqual([0, 1, []]);
      expect(bench.outcomes).toMatchObject([{ action: 'refused', overlay: null, reason: 'no gain', gain: null }]);
    }
  });

  it('fails alone: the process that ends, and a disk that is full, change nothing', async () => {
    for (const fails of ['gather', 'step', 'judge', 'verdict']) {
      const bench = new Bench(folder);
      bench.fails = fails;
      bench.adapter.switched(slotOf(digest));
      expect(await bench.reach('failed')).toMatchObject({ reason: 'E_MODEL_OP: no', overlay: null });
      expect([bench.reloads, bench.closed]).toEqual([0, 1]);
      expect(bench.outcomes).toMatchObject([{ action: 'failed', reason: 'E_MODEL_OP: no', gain: null }]);
    }
    onTestFinished(() => void armFault(''));
    armFault('overlay.write:1:ENOSPC');
    const bench = new Bench(folder);
    bench.adapter.switched(slotOf(digest));
    expect((await bench.reach('failed')).reason).toMatch(/^ENOSPC/);
    expect([bench.reloads, await readdir(folder)]).toEqual([0, []]);
  });

  it('begins anew with another package, and ends with none', async () => {
    const bench = new Bench(folder);
    bench.adapter.switched(slotOf(digest));
    await bench.reach('gathering');
    bench.adapter.switched(slotOf(other));
    await until('the adapter', () => {
      bench.nowMs += 500;
      bench.frame(other);
      return bench.adapter.report.state === 'adapted';
    });
    expect(bench.asked.filter((what) => what.startsWith('open'))).toEqual(['open a', 'open b']);
    expect(bench.closed).toBeGreaterThanOrEqual(2);
    bench.adapter.switched(null);
    expect(bench.adapter.report.state).toBe('waiting');
  });

  it('switched off in the middle ends the process; switched off afterwards, the package is as it was', async () => {
    const bench = new Bench(folder);
    bench.adapter.switched(slotOf(digest));
    await bench.reach('tuning', 'judging');
    bench.adapter.setEnabled(false);
    expect(bench.adapter.report.state).toBe('off');
    await until('the adapter', () => bench.closed > 0);
    expect([bench.reloads, await readdir(folder), bench.outcomes]).toEqual([0, [], []]);
    bench.adapter.setEnabled(true);
    const { overlay: was } = await bench.reach('adapted');
    bench.adapter.setEnabled(false);
    await until('the adapter', () => bench.reloads === 2);
    expect(bench.outcomes.map(({ action, overlay: of, frames }) => [action, of, frames])).toEqual([['accepted', was, 5], ['reverted', was, 5]]);
    expect(await readdir(folder)).toEqual([]);
    expect(await bench.adapter.open(digest, (bytes) => Promise.resolve(bytes))).toBeUndefined();
  });

  it('opens a package without an overlay that does not fit, and deletes that', async () => {
    const bench = new Bench(folder);
    await bench.files.write(digest, overlay);
    const opened = await bench.adapter.open(digest, (bytes) => (bytes === undefined ? Promise.resolve('package') : Promise.reject(new Error('E_ADAPT'))));
    expect([opened, await readdir(folder)]).toEqual(['package', []]);
    await expect(bench.adapter.open(digest, () => Promise.reject(new Error('damaged')))).rejects.toThrow('damaged');
    bench.adapter.switched(slotOf(digest));
    await bench.reach('adapted');
    await bench.adapter.open(digest, (bytes) => (bytes === undefined ? Promise.resolve() : Promise.reject(new Error('E_ADAPT'))));
    expect(bench.adapter.report).toMatchObject({ state: 'failed', overlay: null, reason: expect.stringContaining('E_ADAPT') as string });
    // The first one was deleted before its package ran, and is told when that runs.
    expect(bench.outcomes.map(({ action, overlay: of }) => [action, of !== null])).toEqual([['reverted', true], ['accepted', true], ['reverted', true]]);
  });

  it('switched off and on again at once, begins after the overlay is gone', async () => {
    const bench = new Bench(folder);
    bench.adapter.switched(slotOf(digest));
    await bench.reach('adapted');
    bench.adapter.setEnabled(false);
    bench.adapter.setEnabled(true);
    expect(await bench.reach('gathering')).toMatchObject({ overlay: null, frames: 0 });
    await bench.reach('adapted');
    expect(bench.outcomes.map(({ action }) => action)).toEqual(['accepted', 'reverted', 'accepted']);
  });

  it('switched off on a disk that deletes nothing, opens the package without the overlay all the same', async () => {
    const bench = new Bench(folder);
    bench.adapter.switched(slotOf(digest));
    const { overlay: was } = await bench.reach('adapted');
    bench.files.remove = () => Promise.reject(new Error('EROFS'));
    bench.adapter.setEnabled(false);
    await until('the adapter', () => bench.reloads === 2);
    expect(bench.outcomes.at(-1)).toMatchObject({ action: 'reverted', overlay: was });
    expect(await bench.adapter.open(digest, (bytes) => Promise.resolve(bytes))).toBeUndefined();
  });

  it('never uses a file that is not what its name says, nor one of two', async () => {
    const files = new OverlayFiles(folder);
    const hash = await files.write(digest, overlay);
    await writeFile(join(folder, `${digest}.${hash}.overlay`), 'other');
    expect([await files.read(digest), await readdir(folder)]).toEqual([null, []]);
    await files.write(digest, overlay);
    await writeFile(join(folder, `${digest}.${'0'.repeat(64)}.overlay`), 'other');
    expect([await files.read(digest), await readdir(folder)]).toEqual([null, []]);
    await files.write(digest, overlay);
    const second = await files.write(digest, Buffer.from('{}'));
    expect((await files.read(digest))?.hash).toBe(second);
    expect(await readFile(join(folder, `${digest}.${second}.overlay`), 'utf8')).toBe('{}');
  });

  it('rests for updates, probations and the governor, and knows the packages of the store', () => {
    const effort = { gate: 1, pace: 1, variant: null };
    const state = initialOtaState;
    expect(restsFor(state, effort)).toBeNull();
    expect(restsFor(state, { gate: 1.2, pace: 1, variant: null })).toContain('governor');
    expect(restsFor(state, { gate: 1, pace: 0.5, variant: null })).toContain('governor');
    expect(restsFor({ ...state, phase: 'downloading' } as unknown as OtaState, effort)).toContain('update');
    expect(storedDigest(`/var/lib/sterna/packages/${digest}.sterna`)).toBe(digest);
    expect(storedDigest('/usr/share/sterna/factory.sterna')).toBeNull();
  });
});
