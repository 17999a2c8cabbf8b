import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { uniform } from '../../../deploy/compress/random.js';
import { DrawnNetwork } from '../../../deploy/lab/network-writer.js';
import { inheritBlocks } from '../../../deploy/sound/inherit.js';
import { learn, learnHeads, seenIn, type Example } from '../../../deploy/sound/learn.js';
import { startOf } from '../../../deploy/sound/recipe.js';
import { givenWeights, isLayer, learningModel, parametersOf, patch, poolsModel, studentModel, type ClassLoss, type Weight } from '../../../deploy/sound/student.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { ints } from '../../../runtime/graph/attributes.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { createSession } from '../../../runtime/session.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { sharedFile } from '../../support/shared.js';
import { mobile, teacherOf, type Conv } from './small-teacher.js';

const classes = 3;
const random = uniform(3);
const patchWith = (value: () => number): Tensor => ({ type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: Float32Array.from({ length: patch.rows * patch.bands }, value) });

describe('the first blocks of a teacher', () => {
  it('compute in the student what they compute in the teacher', async () => {
    const teacher = teacherOf(mobile);
    const { net, layers } = inheritBlocks(teacher, { classes, parameters: 200_000 });
    expect(net.layers).toHaveLength(mobile.length);
    expect(net.layers[3]).toEqual({ inputs: 16, outputs: 16, kernel: 3, stride: 2, group: 16, pads: [0, 1] });
    // Heads that give the logit of the mean of a channel each.
    const shape = { classes: 32, teacher: 0, net };
    const weights = givenWeights(shape, layers);
    weights['classes']?.data.forEach((_, i, all) => { all[i] = Math.floor(i / 32) === i % 32 ? 1 : 0; });
    const [given, taken] = [await createSession(teacher, { engine: 'onnxruntime' }), await createSession(studentModel(weights, shape))];
    const features = patchWith(() => 6 * random() - 5);
    const wanted = (await given.run({ features }))['embedding']?.data as Float32Array;
    const scores = (await taken.run({ patch: features }))['scores']?.data as Float32Array;
    scores.forEach((score, c) => expect(Math.log(score / (1 - score)), `channel ${c}`).toBeCloseTo(wanted[c] ?? NaN, 3));
    expect(wanted.some((value) => value > 0.1)).toBe(true);
    await Promise.all([given.close(), taken.close()]);
  });

  it('are as many as the parameters hold with the head, and end where channels are mixed', () => {
    // 80 + 80 + 144, and 2 * 16 * 3 + 3 of the head.
    expect(inheritBlocks(teacherOf(mobile), { classes, parameters: 403 }).net.layers).toHaveLength(3);
    expect(inheritBlocks(teacherOf(mobile), { classes, parameters: 402 }).net.layers).toHaveLength(1);
    expect(() => inheritBlocks(teacherOf(mobile), { classes, parameters: 100 })).toThrow(expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(/has 131 parameters; expected at most 100/) }) as Error);
  });

  it('are floats where the teacher stores codes', () => {
    const layers: readonly Conv[] = mobile.slice(0, 1);
    const net = new DrawnNetwork(1);
    net.weights.set('codes', fromNumbers('int8', [8, 1, 3, 3], Float64Array.from({ length: 72 }, (_, i) => i - 36)));
    net.weights.set('scale', fromNumbers('float32', [], [0.25]));
    net.node('DequantizeLinear', ['codes', 'scale'], 'weight');
    const y = net.node('Conv', ['features', 'weight'], 'conv', { kernel_shape: ints([3, 3]), strides: ints([2, 2]), pads: ints([0, 0, 1, 1]) });
    net.node('GlobalAveragePool', [net.node('Relu', [y], 'map')], 'answer');
    const { layers: taken, net: made } = inheritBlocks(serializeModel(net.model({ features: [1, 1, patch.rows, patch.bands] }, { answer: [1, 8, 1, 1] })), { classes, parameters: 1000 });
    expect(made.layers).toHaveLength(layers.length);
    expect(taken['w0']?.data).toEqual(Float32Array.from({ length: 72 }, (_, i) => (i - 36) / 4));
    expect(taken['b0']?.data).toEqual(new Float32Array(8));
  });

  it('end before what is no chain of convolutions with ReLU', () => {
    const residual = teacherOf(mobile.slice(0, 3), { change: (net, last) => net.node('Add', [last, net.node('Relu', [last], 'again')], 'sum') });
    expect(inheritBlocks(residual, { classes, parameters: 1e6 }).net.layers).toHaveLength(3);
    const strange = teacherOf([...mobile.slice(0, 3), { from: 16, to: 16, kernel: 3, dilation: 2 }]);
    expect(inheritBlocks(strange, { classes, parameters: 1e6 }).net.layers).toHaveLength(3);
    const other = teacherOf([...mobile.slice(0, 3), { from: 16, to: 16, activation: 'Tanh' }, { from: 16, to: 16 }]);
    expect(inheritBlocks(other, { classes, parameters: 1e6 }).net.layers).toHaveLength(3);
  });

  it('of a teacher of another geometry are refused, with what would fit', () => {
    const refusal = (pattern: RegExp): Error => expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(pattern) }) as Error;
    const begin = (teacher: Uint8Array) => () => inheritBlocks(teacher, { classes, parameters: 1e6 });
    expect(begin(teacherOf(mobile, { rows: 98 }))).toThrow(refusal(/'conv0', sees a map \[1, 1, 98, 64\]; a teacher that fits .* \[1, 1, 96, 64\] .*--init random/));
    expect(begin(teacherOf([{ from: 1, to: 8, kernel: 3, activation: 'Sigmoid' }]))).toThrow(refusal(/'conv0', is none with .*ReLU.*; a teacher that fits/));
    const net = new DrawnNetwork(1);
    net.node('Gemm', ['features', net.weight('w', [4, 2], 4)], 'answer');
    expect(begin(serializeModel(net.model({ features: [1, 4] }, { answer: [1, 2] })))).toThrow(refusal(/no convolution; a teacher that fits/));
  });
});

describe('a student that begins with them', () => {
  const options = { init: 'teacher', parameters: 1203, distill: 8 } as const;
  const rows = [0, 1, 2].map((c) => Float32Array.from({ length: patch.rows * patch.bands }, (_, i) => (Math.floor((i % patch.bands) / 22) === c ? 1 : -5) + 0.3 * random()));
  const examples = Array.from({ length: 96 }, (_, n): Example => ({ rows: rows[n % 3] ?? new Float32Array(0), start: 0, target: Float32Array.from([0, 1, 2], (c) => (c === n % 3 ? 1 : 0)), embedding: Float32Array.of(n % 3, 1) }));

  it('has gradients of its own loss, of every kind, and none for layers that stay', async () => {
    const { net, layers } = inheritBlocks(teacherOf(mobile.slice(0, 3)), { classes, parameters: 1e6 });
    const shape = { classes, teacher: 2, net };
    const weights = givenWeights(shape, layers);
    for (const [name, { data }] of Object.entries(weights)) if (!/\d/.test(name)) data.forEach((_, i) => { data[i] = random() - 0.5; });
    const batch = 2;
    const given: Record<string, Tensor> = {
      patch: { ...patchWith(() => 0), dims: [batch, 1, patch.rows, patch.bands], data: Float32Array.from({ length: batch * patch.rows * patch.bands }, () => 2 * random() - 1) },
      target: { type: 'float32', dims: [batch, classes], data: Float32Array.of(1, 0, 0, 0, 0.8, 0.2) }, embedding: { type: 'float32', dims: [batch, 2], data: Float32Array.of(1, -1, 0.5, 2) },
      keep: { type: 'float32', dims: [batch, 16], data: Float32Array.from({ length: batch * 16 }, (_, i) => (i % 5 === 0 ? 0 : 1.25)) },
    };
    const kinds: ClassLoss[] = [{ kind: 'binary' }, { kind: 'cross-entropy' }, { kind: 'gce', q: 0.7 }, { kind: 'sce', alpha: 0.1, beta: 1 }];
    for (const loss of kinds) {
      const model = learningModel(weights, shape, { batch, distill: 4, loss, frozen: 2 });
      expect([...model.weights.keys()].sort(), loss.kind).toEqual(Object.keys(weights).filter((name) => !['w0', 'b0', 'w1', 'b1'].includes(name)).sort());
      const session = await createSession(model.bytes, { engine: 'onnxruntime' });
      const run = (changed: Readonly<Record<string, Weight>>): Promise<Record<string, Tensor>> => session.run({ ...given, ...Object.fromEntries([...model.weights.keys()].map((name) => [name, { type: 'float32' as const, dims: changed[name]?.dims ?? [], data: changed[name]?.data ?? new Float32Array(0) }])) });
      const outputs = await run(weights);
      for (const name of ['w2', 'classes', 'classes-max', 'classBias', 'teacher-max']) {
        const gradient = outputs[model.gradients.get(name) ?? '']?.data as Float32Array;
        const slope = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
        const moved = (step: number): Record<string, Weight> => ({ ...weights, [name]: { dims: weights[name]?.dims ?? [], data: (weights[name]?.data ?? new Float32Array(0)).map((value, i) => value + (step * (gradient[i] ?? 0)) / slope) } });
        const lossAt = async (step: number): Promise<number> => Number((await run(moved(step)))[model.loss]?.data[0]);
        expect(Math.abs((await lossAt(2e-3) - await lossAt(-2e-3)) / 4e-3 - slope), `${loss.kind} ${name}`).toBeLessThan(0.03 * slope);
      }
      await session.close();
    }
  });

  it('learns, slowly where it was given something and not where that stays, and keeps its answers in int8', async () => {
    const { shape, from, about } = startOf(teacherOf(mobile), classes, options);
    expect(shape.net?.layers).toHaveLength(mobile.length);
    const before = structuredClone(from ?? {});
    const own = { ...shape, teacher: 2 };
    const given = givenWeights(own, Object.fromEntries(Object.entries(from ?? {}).filter(([name]) => isLayer(name))));
    const weights = await learn(examples, { ...about, peak: 2e-2, layerRate: 0.01, shape: own, from: given, epochs: 20, batch: 16, seed: 1, distill: 1, loss: { kind: 'gce', q: 0.7 } });
    expect(about.frozen).toBe(3);
    const change = (name: string): number => Math.max(...(weights[name]?.data ?? []).map((value, i) => Math.abs(value - (before[name]?.data[i] ?? 0))));
    expect(['w0', 'w1', 'w2', 'b2'].map(change)).toEqual([0, 0, 0, 0]);
    expect(change('w4')).toBeGreaterThan(0);
    expect(change('w4')).toBeLessThan(change('classes'));
    expect(parametersOf(weights)).toBe(options.parameters);
    const feeds = rows.map((data) => ({ patch: { type: 'float32' as const, dims: [1, 1, patch.rows, patch.bands], data } }));
    const model = studentModel(weights, own, { kind: 'gce', q: 0.7 });
    for (const bytes of [model, (await quantizeModel(model, feeds)).model]) {
      const session = await createSession(bytes);
      for (const [c, feed] of feeds.entries()) {
        const scores = (await session.run(feed))['scores']?.data as Float32Array;
        expect(scores.indexOf(Math.max(...scores))).toBe(c);
        expect(scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 1);
      }
      await session.close();
    }
  });

  it('has heads that learn first, from what they see of patches, while the layers stay', async () => {
    const { net, layers } = inheritBlocks(teacherOf(mobile), { classes, parameters: 1e6 });
    const shape = { classes, teacher: 2, net };
    const from = givenWeights(shape, layers);
    const session = await createSession(poolsModel(from, shape), { engine: 'onnxruntime' });
    const seen: Example[] = [];
    for (const example of examples) seen.push({ ...example, seen: await seenIn(session, example, net, 1, random) });
    await session.close();
    expect(seen[0]?.seen?.map(({ length }) => length)).toEqual([64, 64]);
    const losses: number[] = [];
    const weights = await learnHeads(seen, { shape, from, epochs: 20, batch: 16, peak: 1e-2, seed: 1, onEpoch: (_, loss) => losses.push(loss) });
    expect(losses).toHaveLength(20);
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 2);
    for (const name of Object.keys(layers)) expect(weights[name], name).toEqual(from[name]);
    const made = await createSession(studentModel(weights, shape));
    for (const [c, data] of rows.entries()) {
      const scores = (await made.run({ patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data } }))['scores']?.data as Float32Array;
      expect(scores.indexOf(Math.max(...scores))).toBe(c);
    }
    await made.close();
  });

  const yamnet = sharedFile('models', 'yamnet_w8.onnx');
  it.skipIf(!existsSync(yamnet))('takes the blocks of YAMNet up to 256 channels with 0.2 million parameters (shared model)', async () => {
    const { net, layers } = inheritBlocks(new Uint8Array(await readFile(yamnet)), { classes: 12, parameters: 200_000 });
    expect(net.layers.map(({ outputs }) => outputs)).toEqual([32, 32, 64, 64, 128, 128, 128, 128, 256, 256, 256]);
    expect(parametersOf(givenWeights({ classes: 12, teacher: 0, net }, layers))).toBe(138_316);
  });
});
