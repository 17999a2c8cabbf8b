import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isSound, type AudioChunk } from '../../../runtime/frame.js';
import type { Finding } from '../../../runtime/pipeline/types.js';
import type { ProcessedFrame, Running } from '../../../agent/ground/frames.js';
import type { ShadowReport } from '../../../agent/ground/package.js';
import type { ShadowCandidate, ShadowSample, Vocabulary } from '../../../agent/ground/shadow.js';
import { AgentError } from '../../../agent/errors.js';
import { CandidateError } from '../../../agent/ground/runtime.js';
import { comparable } from '../../../agent/ota/agreement.js';
import { addSample, noAgreement, shareOf } from '../../../runtime/stages/agreement.js';
import { ShadowRun } from '../../../agent/ota/shadow.js';
import type { ShadowRules } from '../../../agent/ground/update-rules.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { LentPictures } from '../../support/lent-pictures.js';
import { until } from '../support/tools.js';
import { testRules } from '../support/update-rules.js';

const at = (label: string, x: number, identity?: number): Finding => ({
  type: 'detection', label, score: 0.9, box: [x, 0, 10, 10], ...(identity === undefined ? {} : { identity: { personId: identity, name: 'x', similarity: 0.8 } }),
});
const whole = (label: string): Finding => ({ type: 'class', label, score: 0.9 });
const sound = (label: string): Finding => ({ type: 'sound', label, score: 0.9, onsetMs: 0, durationMs: 10 });
const objects: Vocabulary = { kind: 'detection', labels: ['person', 'car'], embeddingSpaceId: null };
const faces: Vocabulary = { kind: 'face-recognition', labels: [], embeddingSpaceId: 'a' };
const all = comparable(faces, faces);

describe('the agreement of two packages', () => {
  it('counts boxes of one class that overlap by half, each once', () => {
    const { boxes } = addSample(noAgreement(), [at('car', 0), at('car', 100), at('person', 200)], [at('car', 2), at('car', 3), at('car', 200), at('person', 109)], all);
    expect(boxes).toEqual({ serving: 3, candidate: 4, both: 1 });
    expect(shareOf(boxes)).toBeCloseTo(2 / 7);
    expect(shareOf({ serving: 0, candidate: 0, both: 0 })).toBeNull();
  });

  it('counts whom both know, of those whom the serving package knows', () => {
    const serving = [at('face', 0, 1), at('face', 100, 2), at('face', 200, 3), at('face', 300)];
    const { identities } = addSample(noAgreement(), serving, [at('face', 0, 1), at('face', 100, 9), at('face', 200), at('face', 300, 4)], all);
    expect(identities).toEqual({ serving: 3, candidate: 3, both: 1 });
    expect(addSample(noAgreement(), serving, serving, comparable(faces, { ...faces, embeddingSpaceId: 'b' })).identities.serving).toBe(0);
  });

  it('counts the best class of a sample, and sounds by class', () => {
    expect(addSample(noAgreement(), [whole('cat'), whole('dog')], [whole('cat'), whole('fox')], all).classes).toEqual({ serving: 1, candidate: 1, both: 1 });
    expect(addSample(noAgreement(), [whole('cat')], [whole('dog')], all).classes).toEqual({ serving: 1, candidate: 1, both: 0 });
    expect(addSample(noAgreement(), [sound('siren'), sound('dog')], [sound('siren')], all).classes).toEqual({ serving: 2, candidate: 1, both: 1 });
  });

  it('OTA-095: is taken over the classes that both packages have, and not at all between kinds; the note says so', () => {
    const wider = comparable(objects, { ...objects, labels: ['person', 'dog'] });
    expect(wider).toMatchObject({ findings: true, note: expect.stringContaining('only the 1 classes that both packages have are compared (1 added, 1 removed)') as string });
    expect(addSample(noAgreement(), [at('person', 0), at('car', 50)], [at('person', 0), at('dog', 50)], wider).boxes).toEqual({ serving: 1, candidate: 1, both: 1 });
    expect(comparable(objects, { ...objects, labels: ['dog'] })).toMatchObject({ findings: false, note: expect.stringContaining('no class in common') as string });
    expect(comparable(objects, faces)).toMatchObject({ findings: false, note: expect.stringContaining('kind face-recognition, the serving one of kind detection') as string });
  });
});

/** A candidate that does what it is told, beside a package that serves. */
class Beside {
  readonly run: ShadowRun;
  readonly reports: ShadowReport[] = [];
  readonly abort = new AbortController();
  running: Running | null;
  closed = false;
  asked = 0;
  stretches: AudioChunk[] = [];
  sees: Finding[] = [at('car', 0)];
  answer: () => Promise<Partial<ShadowSample>> = () => Promise.resolve({});

  constructor(rules: Partial<ShadowRules> = {}, { serving = objects, candidate = objects, digest = 'a' }: { serving?: Vocabulary; candidate?: Vocabulary; digest?: string } = {}) {
    this.running = this.serves(digest, serving);
    const shadow: ShadowCandidate = {
      vocabulary: candidate, budget: { p99_ms: 50, joules: 1 }, sound: candidate.kind === 'sound' ? { rate: 1000, step: 200 } : null,
      process: async (sample) => {
        this.asked += 1;
        if (isSound(sample)) this.stretches.push(sample);
        return { findings: this.sees, totalMs: 10, cpuMs: 10, joules: 0.1, ...await this.answer() };
      },
      close: () => { this.closed = true; },
    };
    this.run = new ShadowRun(this.running, {
      candidate: shadow, serving: () => this.running, rules: { ...testRules, shadow: { ...testRules.shadow, ...rules } }, clock: systemClock(), onProgress: (report) => this.reports.push(report),
    });
    onTestFinished(() => this.abort.abort());
  }

  serves(digest: string, vocabulary: Vocabulary): Running {
    return { slot: { name: 'x', version: '1.0.0', digest, size_bytes: 1, since_ms: 0 }, frames: 0, model: { vocabulary } } as unknown as Running;
  }

  frame(findings: Finding[] = [at('car', 0)], over: object = {}, data: Uint8Array = new Uint8Array(3)): void {
    if (this.running === null) return;
    const result = { findings, exit: 'full', totalMs: 10, ...over };
    this.run.offer({ frame: { sequence: 0, capturedMs: 0, width: 1, height: 1, data }, result, running: this.running } as unknown as ProcessedFrame);
  }

  /** A tenth of a second of sound, whose samples are its number. */
  chunk(sequence: number, findings: Finding[], exit = 'full'): void {
    const frame: AudioChunk = { sequence, capturedMs: 0, rate: 1000, samples: new Float32Array(100).fill(sequence) };
    this.run.offer({ frame, result: { findings, exit, totalMs: 4 }, running: this.running } as unknown as ProcessedFrame);
  }

  /** Frames until it is decided. */
  async decide(findings?: Finding[]): Promise<ShadowReport> {
    const outcome = this.run.run(this.abort.signal);
    let open = true;
    void outcome.finally(() => { open = false; }).catch(() => undefined);
    await until('a decision', async () => {
      this.frame(findings);
      await sleep(1);
      return !open;
    });
    return outcome;
  }
}

describe('a candidate beside the serving package', () => {
  it('OTA-093: passes when it agrees, with what was measured', async () => {
    const beside = new Beside();
    expect(await beside.decide()).toMatchObject({ state: 'passed', samples: 5, samples_wanted: 5, errors: 0, agreement: { boxes: 1, identities: null, classes: null }, p50_ms: 10, serving_p50_ms: 10, joules: 0.1 });
    expect(beside.closed).toBe(true);
    expect(beside.reports[0]).toMatchObject({ state: 'running', samples: 0 });
  });

  it('gets pictures that nobody writes over while it works', async () => {
    const beside = new Beside({ every: 1 });
    const pictures = new LentPictures(3);
    let finish: (sample: Partial<ShadowSample>) => void = () => undefined;
    beside.answer = () => new Promise((resolve) => { finish = resolve; });
    void beside.run.run(beside.abort.signal).catch(() => undefined);
    const [asked, skipped] = [pictures.take(), pictures.take()];
    beside.frame(undefined, {}, asked);
    beside.frame(undefined, {}, skipped);
    expect([beside.asked, pictures.isKept(asked), pictures.isKept(skipped)]).toEqual([1, true, false]);
    finish({});
  });

  it.each<[string, string, (beside: Beside) => void]>([
    ['finds other things', 'E_OTA_SHADOW_AGREEMENT', (beside) => { beside.sees = [at('person', 0)]; }],
    ['finds nothing', 'E_OTA_SHADOW_AGREEMENT', (beside) => { beside.sees = []; }],
    ['takes longer than it promises', 'E_OTA_SHADOW_LATENCY', (beside) => { beside.answer = () => Promise.resolve({ totalMs: 60, cpuMs: 60 }); }],
    ['takes much longer than the serving package', 'E_OTA_SHADOW_LATENCY', (beside) => { beside.answer = () => Promise.resolve({ totalMs: 31, cpuMs: 31 }); }],
    ['uses more energy than it promises', 'E_OTA_SHADOW_ENERGY', (beside) => { beside.answer = () => Promise.resolve({ joules: 1.1 }); }],
    ['fails on frames', 'E_OTA_SHADOW_ERRORS', (beside) => { beside.answer = () => Promise.reject(new CandidateError('E_INPUT', 'no')); }],
    ['ends its process', 'E_OTA_GATE_CRASH', (beside) => { beside.answer = () => Promise.reject(new AgentError('E_OTA_GATE_CRASH', 'gone')); }],
  ])('OTA-093: is refused when it %s', async (_, code, change) => {
    const beside = new Beside();
    change(beside);
    await expect(beside.decide()).rejects.toMatchObject({ code });
    expect(beside.closed).toBe(true);
  });

  it('is not blamed for the time that others had the processor', async () => {
    const beside = new Beside();
    beside.answer = () => Promise.resolve({ totalMs: 900, cpuMs: 12 });
    expect(await beside.decide()).toMatchObject({ state: 'passed', p50_ms: 12 });
  });

  it('OTA-094: makes no frame wait: while it is at work, frames are left out and counted', async () => {
    const beside = new Beside({ every: 3 });
    let release = (): void => undefined;
    beside.answer = () => new Promise((resolve) => { release = () => resolve({}); });
    const outcome = beside.run.run(beside.abort.signal);
    for (let i = 0; i < 3; i++) beside.frame();
    expect(beside.asked).toBe(1); // the third of three
    for (let i = 0; i < 6; i++) beside.frame();
    expect(beside.asked).toBe(1);
    release();
    await until('counted', () => beside.reports.at(-1)?.samples === 1);
    expect(beside.reports.at(-1)?.skipped).toBeGreaterThan(0);
    beside.abort.abort(new Error('overtaken'));
    await expect(outcome).rejects.toThrow('overtaken');
    expect(beside.closed).toBe(true);
  });

  it('takes no frames that a gate stopped', async () => {
    const beside = new Beside();
    const outcome = beside.run.run(beside.abort.signal);
    for (const exit of ['pixels', 'features']) beside.frame([], { exit });
    expect(beside.asked).toBe(0);
    beside.frame([], { exit: 'partial' });
    expect(beside.asked).toBe(1);
    beside.abort.abort(new Error('over'));
    await expect(outcome).rejects.toThrow('over');
  });

  it('without enough samples in time goes on to its probation, or is refused if the rules say so', async () => {
    const lenient = new Beside({ max_ms: 1 });
    await expect(lenient.run.run(lenient.abort.signal)).resolves.toMatchObject({ state: 'undecided', samples: 0 });
    const strict = new Beside({ max_ms: 1, undecided: 'reject' });
    await expect(strict.run.run(strict.abort.signal)).rejects.toMatchObject({ code: 'E_OTA_SHADOW_SAMPLES' });
  });

  it('begins anew beside another package, and ends when there is none', async () => {
    const beside = new Beside({ min_samples: 1000 });
    const outcome = beside.run.run(beside.abort.signal);
    beside.frame();
    await until('a sample', () => beside.reports.at(-1)?.samples === 1);
    beside.running = beside.serves('b', faces);
    await until('anew', () => beside.reports.at(-1)?.samples === 0);
    expect(beside.reports.at(-1)?.note).toContain('kind detection');
    beside.running = null;
    await expect(outcome).resolves.toMatchObject({ state: 'skipped' });
  });

  it('of another kind is judged by latency, energy and errors alone', async () => {
    const beside = new Beside({}, { candidate: faces });
    beside.sees = [];
    expect(await beside.decide()).toMatchObject({ state: 'passed', agreement: { boxes: null }, note: expect.stringContaining('not compared') as string });
  });
});

describe('a candidate beside a package that listens', () => {
  const ears: Vocabulary = { kind: 'sound', labels: ['siren', 'dog'], embeddingSpaceId: null };

  /** Chunks, one after another, until it is decided or there are no more. */
  async function listen(beside: Beside, of: (i: number) => Finding[] = () => [sound('siren')]): Promise<ShadowReport> {
    const outcome = beside.run.run(beside.abort.signal);
    let open = true;
    void outcome.finally(() => { open = false; }).catch(() => undefined);
    for (let i = 1; open && i < 1000; i++) {
      beside.chunk(i, of(i));
      await sleep(0);
    }
    return outcome;
  }

  it('OTA-097: hears the last three seconds in one of so many seconds, and agrees by classes; its time is that of a chunk', async () => {
    const beside = new Beside({ every: 2 }, { serving: ears, candidate: ears });
    beside.sees = [sound('siren')];
    // A chunk of the candidate is twice as long as one of the serving package, whose time for it is 8 ms then.
    expect(await listen(beside)).toMatchObject({ state: 'passed', samples: 5, agreement: { boxes: null, classes: 1 }, p50_ms: 10, serving_p50_ms: 8 });
    expect(beside.stretches.map(({ samples }) => [samples.length, samples[0], samples.at(-1)]).slice(0, 3)).toEqual([[3000, 1, 30], [3000, 21, 50], [3000, 41, 70]]);
  });

  it.each<[string, string, (beside: Beside) => void]>([
    ['hears other sounds', 'E_OTA_SHADOW_AGREEMENT', (beside) => { beside.sees = [sound('dog')]; }],
    ['takes much longer', 'E_OTA_SHADOW_LATENCY', (beside) => { beside.answer = () => Promise.resolve({ totalMs: 30, cpuMs: 30 }); }],
    ['uses more energy than it promises', 'E_OTA_SHADOW_ENERGY', (beside) => { beside.answer = () => Promise.resolve({ joules: 1.1 }); }],
  ])('OTA-097: is refused when it %s', async (_, code, change) => {
    const beside = new Beside({ every: 1 }, { serving: ears, candidate: ears });
    beside.sees = [sound('siren')];
    change(beside);
    await expect(listen(beside)).rejects.toMatchObject({ code });
  });

  it('OTA-097: hears nothing across a gap, and is not compared with a chunk that has no result', async () => {
    const beside = new Beside({ every: 1, min_samples: 50 }, { serving: ears, candidate: ears });
    void beside.run.run(beside.abort.signal).catch(() => undefined);
    for (let i = 1; i <= 29; i++) beside.chunk(i, []);
    for (let i = 40; i <= 68; i++) beside.chunk(i, []);
    expect(beside.asked).toBe(0);
    beside.chunk(69, [], 'late');
    expect(beside.asked).toBe(0);
    for (let i = 70; i <= 79; i++) beside.chunk(i, []);
    await until('a stretch was heard', () => beside.asked === 1);
    expect([beside.stretches[0]?.samples[0], beside.stretches[0]?.samples.at(-1)]).toEqual([50, 79]);
  });
});
