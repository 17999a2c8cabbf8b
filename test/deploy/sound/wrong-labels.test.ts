import { describe, expect, it } from 'vitest';
import { uniform } from '../../../deploy/compress/random.js';
import { featuresOf, type Clip } from '../../../deploy/sound/clips.js';
import { startOf } from '../../../deploy/sound/recipe.js';
import { patch, poolsModel, seenOf, studentModel } from '../../../deploy/sound/student.js';
import { rate } from '../../../deploy/sound/synthesize.js';
import { compareOnWrongLabels, headScores } from '../../../deploy/sound/wrong-labels.js';
import { createSession } from '../../../runtime/session.js';
import { mobile, teacherOf } from './small-teacher.js';

const random = uniform(11);
const classes = ['low', 'middle', 'high'];

/** Two folds of tones, whose height is their class. */
const clips = Array.from({ length: 36 }, (_, n): Clip => {
  const hertz = [300, 1200, 4000][n % 3] ?? 0;
  const samples = Float32Array.from({ length: 3 * rate }, (_, i) => 0.3 * Math.sin((2 * Math.PI * hertz * (1 + 0.002 * n) * i) / rate) + 0.02 * (random() - 0.5));
  return { name: `${n}`, fold: 1 + (n % 2), label: n % 3, samples, rows: featuresOf(samples) };
});

describe('the comparison of losses on wrong labels', () => {
  it('judges by labels that are right, and tells how much of what was told is known', async () => {
    const options = { losses: [{ kind: 'cross-entropy' }, { kind: 'gce', q: 0.7 }] as const, seeds: [1] };
    const trained: number[] = [];
    const right = await compareOnWrongLabels(teacherOf(mobile), { classes, clips }, { ...options, share: 0, onTrained: (done) => trained.push(done) });
    expect(right.map(({ loss }) => loss.kind)).toEqual(['cross-entropy', 'gce']);
    for (const { accuracy, fitted } of right) expect(Math.min(accuracy, fitted)).toBeGreaterThan(0.9);
    expect(trained).toEqual([1, 2, 3, 4]);
    const wrong = await compareOnWrongLabels(teacherOf(mobile), { classes, clips }, { ...options, share: 1 });
    for (const { accuracy } of wrong) expect(accuracy).toBeLessThan(0.2);
  }, 120_000);

  it('has the scores of the whole student', async () => {
    const { shape, from = {} } = startOf(teacherOf(mobile), classes.length, { init: 'teacher', parameters: 200_000, distill: 0 });
    for (const name of ['classes', 'classes-max', 'classBias']) from[name]?.data.forEach((_, i, weights) => { weights[i] = random() - 0.5; });
    const [net] = [shape.net];
    if (net === undefined) throw new Error('expected a net of the teacher');
    const [pools, student] = [await createSession(poolsModel(from, { net })), await createSession(studentModel(from, shape, { kind: 'cross-entropy' }))];
    const feeds = { patch: { type: 'float32' as const, dims: [1, 1, patch.rows, patch.bands], data: (clips[1]?.rows ?? new Float32Array(0)).slice(0, patch.rows * patch.bands) } };
    const seen = await pools.run(feeds);
    const wanted = (await student.run(feeds))['scores']?.data ?? [];
    headScores(from, shape, Float32Array.from(seenOf(net).flatMap((name) => [...(seen[name]?.data ?? [])].map(Number)))).forEach((score, c) => expect(score).toBeCloseTo(Number(wanted[c]), 5));
    await Promise.all([pools.close(), student.close()]);
  });
});
