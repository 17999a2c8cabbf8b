import { describe, expect, it } from 'vitest';
import { uniform } from '../../../deploy/compress/random.js';
import { atOtherSpeeds, makeBank, withCopies, type Bank } from '../../../deploy/sound/siren/bank.js';
import { windowSamples } from '../../../deploy/sound/siren/features.js';
import { beginnings, recallOf, scoresOver, thresholdFor } from '../../../deploy/sound/siren/measure.js';
import { featuresAt, meanPower, rowsOf, sumOfRows, windowOf } from '../../../deploy/sound/siren/mixing.js';
import { buildSirenPackage, outputOf, readSirenModel, rules } from '../../../deploy/sound/siren/package.js';
import { ruleFor } from '../../../deploy/sound/siren/recipe.js';
import { lessonsOf, mixedBatches, mixWindow } from '../../../deploy/sound/siren/scenes.js';
import { learn, teach } from '../../../deploy/sound/learn.js';
import { parametersOf, studentModel, weightsOf } from '../../../deploy/sound/student.js';
import { atLevel, mixAt, siren, traffic } from '../../../deploy/sound/synthesize.js';
import { openPackage } from '../../../runtime/package/package.js';
import { createSession } from '../../../runtime/session.js';
import { nativeMissing } from '../../runtime/support/native.js';

const recorded = [{ samples: atLevel(traffic(5, uniform(9)), 0.1), label: 0 }];
const bank: Bank = makeBank({ sirens: 1, horns: 1, strangers: 0, traffic: 1, rain: 1, pitched: { melodies: 1, calls: 2 } }, recorded, 3);
const lessons = lessonsOf(bank);
const classes = 3;

describe('the sounds of a bank', () => {
  it('are as many of each kind of siren as is asked for', () => {
    const { sirens } = makeBank({ sirens: { wail: 0, yelp: 1, 'hi-lo': 2 }, horns: 0, strangers: 0, traffic: 0, rain: 0, pitched: {} }, [], 1);
    expect(sirens.map(({ kind }) => kind)).toEqual(['yelp', 'hi-lo', 'hi-lo']);
  });

  it('are recordings and copies of them at other speeds, as many as a label has', () => {
    const tone = Float32Array.from({ length: 16_000 }, (_, i) => Math.sin((2 * Math.PI * 400 * i) / 16_000));
    const all = withCopies([{ samples: tone, label: 0 }, { samples: tone, label: 1 }], (label) => 3 * label, 1);
    expect(all.map(({ label }) => label)).toEqual([0, 1, 1, 1, 1]);
    expect(all[1]?.samples).toEqual(tone);
    for (const { samples } of all.slice(2)) {
      const factor = tone.length / samples.length;
      expect(factor > 0.69 && factor < 1.41).toBe(true);
      // Faster and higher by the same factor: as many periods as before.
      const periods = samples.filter((sample, i) => i > 0 && sample >= 0 && (samples[i - 1] ?? 0) < 0).length;
      expect(Math.abs(periods - 400)).toBeLessThan(3);
    }
  });
});

describe('sirens at other speeds', () => {
  it('are some of them, and the others stay as they are', () => {
    const signals = Array.from({ length: 60 }, () => ({ kind: 'wail', samples: new Float32Array(1000) }));
    const lengths = atOtherSpeeds(signals, 0.4, 2).map(({ samples }) => samples.length);
    const changed = lengths.filter((length) => length !== 1000);
    expect(changed.length > 12 && changed.length < 36).toBe(true);
    expect(changed.every((length) => length > 660 && length < 1540)).toBe(true);
    expect(changed.some((length) => length < 1000) && changed.some((length) => length > 1000)).toBe(true);
  });
});

describe('scenes to learn from', () => {
  it('are silent at first in some windows, and change their noise in some', () => {
    const random = uniform(6);
    const many = Array.from({ length: 300 }, () => mixWindow(lessons, classes, random));
    const shareOf = (is: (window: (typeof many)[number]) => boolean): number => many.filter(is).length / many.length;
    const starts = shareOf(({ features }) => features.subarray(0, 2 * 64).every((x) => Math.abs(x - Math.log(0.001)) < 1e-4) && features.some((x) => x > -5));
    expect(starts > 0.01 && starts < 0.12).toBe(true);
    // A recording that fills less than half of the window is heard in part.
    expect(shareOf(({ target: [heard = 0] }) => heard > 0 && heard < 1 && heard !== 0.5)).toBeGreaterThan(0.02);
  });

  it('are the same for the same seed, and say what is heard in them', () => {
    const [one, again] = [mixWindow(lessons, classes, uniform(4)), mixWindow(lessons, classes, uniform(4))];
    expect(one).toEqual(again);
    const random = uniform(5);
    const many = Array.from({ length: 300 }, () => mixWindow(lessons, classes, random));
    expect(many.every(({ features, target }) => features.length === 96 * 64 && features.every((x) => Number.isFinite(x)) && target.every((x) => x >= 0 && x <= 1))).toBe(true);
    const share = (c: number): number => many.filter(({ target }) => (target[c] ?? 0) > 0).length / many.length;
    expect(share(0)).toBeGreaterThan(0.2);
    expect(share(1)).toBeGreaterThan(0.25);
    expect(share(2)).toBeGreaterThan(0.04);
  });

  it('have the features that a mixture of the samples has', () => {
    const [wail, road] = [siren('wail', 5, uniform(1)).subarray(0, windowSamples), traffic(5, uniform(2)).subarray(0, windowSamples)];
    const heard = rowsOf(mixAt(wail, road, 6, 0.1)).bands.map((value) => Math.log(value + 0.001));
    const mixed = sumOfRows(windowOf(rowsOf(wail), () => 0), windowOf(rowsOf(road), () => 0), 6, uniform(3));
    expect(meanPower(mixed)).toBeCloseTo(1, 1);
    const features = featuresAt(mixed, 0.1);
    const difference = features.reduce((sum, value, i) => sum + Math.abs(value - (heard[i] ?? 0)), 0) / features.length;
    // Phases are drawn, and those of the samples are what they are.
    expect(difference).toBeLessThan(0.5);
  });

  it('teach a student without a teacher', async () => {
    const shape = { classes, teacher: 0 };
    const losses: number[] = [];
    const weights = await teach(mixedBatches(lessons, { shape, batch: 4, dropout: 0, seed: 1 }), { shape, seed: 1, batch: 4, steps: 3, onStep: (_, loss) => losses.push(loss) });
    expect(losses).toHaveLength(3);
    expect(losses.every((loss) => Number.isFinite(loss) && loss > 0)).toBe(true);
    expect(Object.keys(weights)).not.toContain('teacher');
    expect(parametersOf(weights)).toBeLessThan(200_000);
    await expect(learn([], { shape, seed: 1, epochs: 0 })).resolves.toHaveProperty('classes');
  }, 60_000);
});

describe('the measurement of sirens', () => {
  /** Scores over a scene: high from one decision to another. */
  const scene = (from: number, until: number): Float32Array => Float32Array.from({ length: 50 }, (_, i) => (i >= from && i < until ? 0.99 : 0));

  it('counts an event where it is told, after it has lasted', () => {
    expect(beginnings(scene(10, 40), { on: 0.5, minMs: 1200 })).toEqual([2.3]);
    expect(beginnings(scene(10, 15), { on: 0.5, minMs: 1200 })).toEqual([]);
    const { recall, byKind, delayMs } = recallOf([{ kind: 'wail', scores: scene(10, 40) }, { kind: 'yelp', scores: scene(10, 12) }], { on: 0.5, minMs: 1200 });
    expect([recall, byKind['wail'], byKind['yelp'], delayMs.median]).toEqual([0.5, 1, 0, 1300]);
  });

  it('finds the lowest threshold with few enough false alarms', () => {
    const minute = (height: number): Float32Array => Float32Array.from({ length: 600 }, (_, i) => (i > 100 && i < 200 ? height : 0));
    const hour = Array.from({ length: 60 }, (_, i) => minute(i < 5 ? 0.6 : 0));
    const { on, falseAlarms } = thresholdFor(hour, 1, 1200);
    expect([on > 0.6 && on < 0.62, falseAlarms]).toEqual([true, 0]);
    expect(ruleFor(hour, 'siren', undefined)).toEqual({ on, minMs: rules.siren.minMs, falseAlarms });
    // Rules that are given stay as they are, whatever they make of the noise.
    expect(ruleFor(hour, 'siren', { ...rules, siren: { on: 0.5, minMs: 1200 } })).toEqual({ on: 0.5, minMs: 1200, falseAlarms: 5 });
  });
});

describe.skipIf(nativeMissing !== undefined)('the student that is shipped', () => {
  it('is small, hears a wail in traffic, and does not hear one in traffic alone', async () => {
    const model = await readSirenModel();
    expect(model.byteLength).toBeLessThanOrEqual(400_000);
    const session = await createSession(model, { threads: 1 });
    const scores = async (samples: Float32Array): Promise<Float32Array> => (await scoresOver(session, samples, [outputOf('siren')]))[0] ?? new Float32Array(0);
    const [wail, road] = [siren('wail', 5, uniform(77)), traffic(5, uniform(78))];
    expect(beginnings(await scores(mixAt(wail, road, 10, 0.1)), rules.siren).length).toBeGreaterThan(0);
    expect(beginnings(await scores(atLevel(road, 0.1)), rules.siren)).toEqual([]);
    await session.close();
  }, 60_000);

  it('can be gone on from: its weights as floats give its scores', async () => {
    const model = await readSirenModel();
    const weights = weightsOf(model, { classes: 12, teacher: 0 });
    expect(parametersOf(weights)).toBe(120_660);
    const { features } = mixWindow(lessons, 12, uniform(8));
    const feed = { patch: { type: 'float32' as const, dims: [1, 1, 96, 64], data: features.map((value) => (value + 2.5) / 3) } };
    const [int8, float] = await Promise.all([model, studentModel(weights, { classes: 12 })].map(async (bytes) => {
      const session = await createSession(bytes, { threads: 1 });
      const { scores } = await session.run(feed);
      await session.close();
      return Array.from(scores?.data ?? [], Number);
    }));
    expect(int8).toHaveLength(12);
    int8?.forEach((score, i) => expect(Math.abs(score - (float?.[i] ?? 0))).toBeLessThan(0.1));
    expect(() => weightsOf(model, { classes: 13, teacher: 0 })).toThrow(/E_LAB|2496 weights classes/);
  }, 60_000);

  it('is packed with its classes, and tells of nothing else', async () => {
    const { manifest } = await openPackage((await buildSirenPackage({ settings: { deadline_ms: 500 } })).bytes);
    expect(manifest.pipeline).toMatchObject({ kind: 'sound', settings: { deadline_ms: 500, classes: [{ label: 'siren', members: [10], on: rules.siren.on, min_ms: rules.siren.minMs }, { label: 'horn', members: [11], on: rules.horn.on }] } });
  }, 60_000);
});
