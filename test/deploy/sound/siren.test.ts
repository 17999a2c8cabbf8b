import { describe, expect, it } from 'vitest';
import { uniform } from '../../../deploy/compress/random.js';
import { makeBank, type Bank } from '../../../deploy/sound/siren/bank.js';
import { beginnings, recallOf, scoresOver, thresholdFor } from '../../../deploy/sound/siren/measure.js';
import { buildSirenPackage, readSirenModel, sirenOutputs, thresholds } from '../../../deploy/sound/siren/package.js';
import { mixedBatches, mixSecond } from '../../../deploy/sound/siren/scenes.js';
import { learn, teach } from '../../../deploy/sound/learn.js';
import { parametersOf } from '../../../deploy/sound/student.js';
import { atLevel, mixAt, powerOf, siren, traffic } from '../../../deploy/sound/synthesize.js';
import { openPackage } from '../../../runtime/package/package.js';
import { createSession } from '../../../runtime/session.js';
import { nativeMissing } from '../../runtime/support/native.js';

const recorded = [{ samples: atLevel(traffic(5, uniform(9)), 0.1), label: 0 }];
const bank: Bank = makeBank({ sirens: 1, horns: 1, traffic: 1, rain: 1, tonal: 1 }, recorded, 3);
const classes = 3;

describe('scenes to learn from', () => {
  it('are the same for the same seed, and say what is heard in them', () => {
    const [one, again] = [mixSecond(bank, classes, uniform(4)), mixSecond(bank, classes, uniform(4))];
    expect(one).toEqual(again);
    const random = uniform(5);
    const many = Array.from({ length: 200 }, () => mixSecond(bank, classes, random));
    expect(many.every(({ samples, target }) => samples.length === 15_600 && samples.every((x) => Math.abs(x) <= 1) && target.every((x) => x >= 0 && x <= 1))).toBe(true);
    const share = (c: number): number => many.filter(({ target }) => (target[c] ?? 0) > 0).length / many.length;
    expect(share(0)).toBeGreaterThan(0.2);
    expect(share(1)).toBeGreaterThan(0.25);
    expect(share(2)).toBeGreaterThan(0.02);
    expect(many.every(({ samples }) => powerOf(samples) > 0)).toBe(true);
  });

  it('teach a student without a teacher', async () => {
    const shape = { classes, teacher: 0 };
    const losses: number[] = [];
    const weights = await teach(mixedBatches(bank, { shape, batch: 4, dropout: 0, seed: 1 }), { shape, seed: 1, batch: 4, steps: 3, onStep: (_, loss) => losses.push(loss) });
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
    expect(beginnings(scene(10, 40), 0.5)).toEqual([2.3]);
    expect(beginnings(scene(10, 15), 0.5)).toEqual([]);
    const { recall, byKind, delayMs } = recallOf([{ kind: 'wail', scores: scene(10, 40) }, { kind: 'yelp', scores: scene(10, 12) }], 0.5);
    expect([recall, byKind.wail, byKind.yelp, delayMs.median]).toEqual([0.5, 1, 0, 1300]);
  });

  it('finds the lowest threshold with few enough false alarms', () => {
    const minute = (height: number): Float32Array => Float32Array.from({ length: 600 }, (_, i) => (i > 100 && i < 200 ? height : 0));
    const hour = Array.from({ length: 60 }, (_, i) => minute(i < 5 ? 0.6 : 0));
    const { on, falseAlarms } = thresholdFor(hour, 1);
    expect([on > 0.6 && on < 0.62, falseAlarms]).toEqual([true, 0]);
  });
});

describe.skipIf(nativeMissing !== undefined)('the student that is shipped', () => {
  it('is small, hears a wail in traffic, and does not hear one in traffic alone', async () => {
    const model = await readSirenModel();
    expect(model.byteLength).toBeLessThanOrEqual(400_000);
    const session = await createSession(model, { threads: 1 });
    const output = sirenOutputs.indexOf('siren');
    const [wail, road] = [siren('wail', 5, uniform(77)), traffic(5, uniform(78))];
    expect(beginnings(await scoresOver(session, mixAt(wail, road, 10, 0.1), output), thresholds.siren).length).toBeGreaterThan(0);
    expect(beginnings(await scoresOver(session, atLevel(road, 0.1), output), thresholds.siren)).toEqual([]);
    await session.close();
  }, 60_000);

  it('is packed with its classes, and tells of nothing else', async () => {
    const { manifest } = await openPackage((await buildSirenPackage({ settings: { deadline_ms: 500 } })).bytes);
    expect(manifest.pipeline).toMatchObject({ kind: 'sound', settings: { deadline_ms: 500, classes: [{ label: 'siren', members: [10], on: thresholds.siren }, { label: 'car horn', members: [11] }] } });
  }, 60_000);
});
