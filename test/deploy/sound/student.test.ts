import { describe, expect, it } from 'vitest';
import { uniform } from '../../../deploy/compress/random.js';
import { patchesOf, featuresOf, patchSamples } from '../../../deploy/sound/clips.js';
import { learn, type Example } from '../../../deploy/sound/learn.js';
import { initialWeights, learningModel, parametersOf, patch, studentModel, type Weight } from '../../../deploy/sound/student.js';
import { calls, music } from '../../../deploy/sound/pitched.js';
import { atLevel, horn, hornKinds, mixAt, powerOf, rain, rate, siren, sirenKinds, strangerKinds, tonal, traffic } from '../../../deploy/sound/synthesize.js';
import { LinearHead, Standard } from '../../../deploy/sound/teacher.js';
import { createSession } from '../../../runtime/session.js';
import type { Tensor } from '../../../runtime/tensor.js';

const shape = { classes: 3, teacher: 5 };
const batch = 2;
const random = uniform(5);
const tensor = (dims: number[], value: () => number): Tensor => ({ type: 'float32', dims, data: Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, value) });

describe('the graph that trains the student', () => {
  it('has the gradients of its own loss', async () => {
    const weights = initialWeights(shape, random);
    const model = learningModel(weights, shape, { batch, distill: 4 });
    const session = await createSession(model.bytes, { engine: 'onnxruntime' });
    const given = {
      patch: tensor([batch, 1, patch.rows, patch.bands], () => 2 * random() - 1), target: tensor([batch, 3], () => random()), embedding: tensor([batch, 5], () => 2 * random() - 1),
      keep: tensor([batch, 192], () => (random() < 0.2 ? 0 : 1.25)),
    };
    const run = (changed: Readonly<Record<string, Weight>> = weights): Promise<Record<string, Tensor>> => session.run({ ...given, ...Object.fromEntries(Object.entries(changed).map(([name, { dims, data }]) => [name, { type: 'float32' as const, dims, data }])) });
    const outputs = await run();
    for (const [name, { dims, data }] of Object.entries(weights)) {
      const gradient = outputs[model.gradients.get(name) ?? '']?.data as Float32Array;
      // Along the gradient itself: a random direction would cancel most of it, and the kinks of ReLU would weigh as much as the rest.
      const slope = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
      const direction = gradient.map((g) => g / slope);
      const loss = async (step: number): Promise<number> => Number((await run({ ...weights, [name]: { dims, data: data.map((value, i) => value + step * (direction[i] ?? 0)) } }))[model.loss]?.data[0]);
      const measured = ((await loss(2e-3)) - (await loss(-2e-3))) / 4e-3;
      expect(Math.abs(measured - slope), name).toBeLessThan(0.03 * slope);
    }
    await session.close();
  });

  it('learns to tell a high tone from a low one, and what is shipped runs natively with the same answer', async () => {
    const tone = (hertz: number): Float32Array => featuresOf(Float32Array.from({ length: patchSamples }, (_, i) => 0.3 * Math.sin((2 * Math.PI * hertz * i) / rate)));
    const rows = [tone(300), tone(2500), tone(5000)];
    const examples = Array.from({ length: 64 }, (_, n): Example => ({ rows: rows[n % 3] ?? new Float32Array(0), start: 0, target: Float32Array.from([0, 1, 2], (c) => (c === n % 3 ? 1 : 0)), embedding: Float32Array.of(n % 3, 0, 0, 0, 1) }));
    const losses: number[] = [];
    const weights = await learn(examples, { shape, epochs: 8, seed: 1, batch: 8, onEpoch: (_, loss) => losses.push(loss) });
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 2);
    expect(parametersOf(weights)).toBeLessThan(200_000);
    const model = studentModel(weights, shape);
    const [native, other] = [await createSession(model), await createSession(model, { engine: 'onnxruntime' })];
    for (const [c, features] of rows.entries()) {
      const feeds = { patch: { type: 'float32' as const, dims: [1, 1, patch.rows, patch.bands], data: features.map((x) => (x + 2.5) / 3) } };
      const [a, b] = [(await native.run(feeds))['scores']?.data as Float32Array, (await other.run(feeds))['scores']?.data as Float32Array];
      expect(a.indexOf(Math.max(...a))).toBe(c);
      a.forEach((score, i) => expect(score).toBeCloseTo(b[i] ?? NaN, 4));
    }
    await Promise.all([native.close(), other.close()]);
  });
});

describe('the teacher', () => {
  it('has a linear classifier that separates what is separable', async () => {
    const inputs = Array.from({ length: 60 }, (_, n) => Float32Array.from({ length: 8 }, (_, i) => random() + (i === n % 3 ? 2 : 0)));
    const standard = new Standard(inputs);
    const head = await LinearHead.fit(inputs.map((input) => standard.of(input)), inputs.map((_, n) => n % 3), { classes: 3 });
    const right = inputs.filter((input, n) => { const p = head.probabilities(standard.of(input)); return p.indexOf(Math.max(...p)) === n % 3; });
    expect(right).toHaveLength(60);
  });
});

describe('synthesized sound', () => {
  it('is the same for the same seed, finite, and as loud as it is asked to be', () => {
    const makers = [...[...sirenKinds, ...strangerKinds].map((kind) => (seed: number) => siren(kind, 1, uniform(seed))), ...hornKinds.map((kind) => (seed: number) => horn(kind, 1, uniform(seed))), ...[traffic, rain, tonal, calls, music].map((make) => (seed: number) => make(1, uniform(seed)))];
    for (const make of makers) {
      const [one, again, other] = [make(7), make(7), make(8)];
      expect(one).toHaveLength(rate);
      expect(one.every(Number.isFinite)).toBe(true);
      expect(one).toEqual(again);
      expect(one).not.toEqual(other);
    }
    const [loud, soft] = [siren('wail', 1, uniform(1)), traffic(1, uniform(2))];
    expect(10 * Math.log10(powerOf(mixAt(loud, soft, 0, 0.05)) / 0.05 ** 2)).toBeCloseTo(0, 0);
    expect(Math.sqrt(powerOf(atLevel(soft, 0.01)))).toBeCloseTo(0.01, 3);
  });

  it('silence has no patches but the first', () => {
    expect(patchesOf(featuresOf(new Float32Array(5 * rate)), 40)).toEqual([0]);
    expect(patchesOf(featuresOf(traffic(5, uniform(3))), 40).length).toBeGreaterThan(8);
  });
});
