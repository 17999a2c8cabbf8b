/** Depthwise convolutions of a training step in blocks: the same gradients as in the plain form, and the plain form where blocks do not fit. */
import { describe, expect, it } from 'vitest';
import { labelLoss } from '../../../deploy/lab/losses.js';
import { Trainer } from '../../../deploy/lab/trainer.js';
import { trainingModel, type TrainingModel } from '../../../deploy/lab/training-model.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { model, node, randomTensor, type ModelSpec } from '../../runtime/support/models.js';

const [batch, classes] = [4, 3];
const missing = process.arch === 'x64' ? oracleMissing : 'blocks are for x64';

/** A stem, depthwise convolutions of all kinds that occur, and a classifier. */
function net(channels: number): ModelSpec {
  const weights = (seed: number, ...dims: number[]) => randomTensor(dims, seed, -0.5, 0.5);
  const depthwise = (kernel: number, stride: number) => ({ group: channels, pads: [0, 0, 0, 0].fill((kernel - 1) / 2), strides: [stride, stride] });
  return {
    inputs: { x: [batch, 3, 15, 12] }, outputs: ['y'],
    constants: { stem: weights(1, channels, 3, 3, 3), d1: weights(2, channels, 1, 3, 3), d2: weights(3, channels, 1, 5, 5), b2: weights(4, channels), d3: weights(5, channels, 1, 3, 3), w: weights(6, channels, classes), b: weights(7, classes) },
    nodes: [
      node('Conv', ['x', 'stem'], ['c0'], { pads: [1, 1, 1, 1] }), node('Relu', ['c0'], ['r0']), node('Conv', ['r0', 'd1'], ['c1'], depthwise(3, 1)), node('Relu', ['c1'], ['r1']),
      node('Conv', ['r1', 'd2', 'b2'], ['c2'], depthwise(5, 2)), node('Sigmoid', ['c2'], ['r2']), node('Conv', ['r2', 'd3'], ['c3'], depthwise(3, 2)),
      node('GlobalAveragePool', ['c3'], ['pooled']), node('Flatten', ['pooled'], ['flat']), node('Gemm', ['flat', 'w', 'b'], ['y']),
    ],
  };
}

const trainingOf = (channels: number): TrainingModel => trainingModel(inferShapes(graphFromOnnx(model(net(channels)))), {
  inputs: { target: { dtype: 'float32', shape: [batch, classes] } }, loss: (m) => labelLoss(m, { kind: 'cross-entropy' }, 'y', 'target'),
});

const tensor = (dims: readonly number[], seed: number): Tensor => ({ type: 'float32', dims, data: randomTensor(dims, seed).data as Float32Array });
const data: Readonly<Record<string, Tensor>> = {
  x: tensor([batch, 3, 15, 12], 11),
  target: { type: 'float32', dims: [batch, classes], data: Float32Array.from({ length: batch * classes }, (_, i) => (i % classes === Math.floor(i / classes) % classes ? 1 : 0)) },
};

async function outputsOf(bytes: Uint8Array, { weights }: TrainingModel): Promise<Record<string, Tensor>> {
  const session = await openOnnxRuntime(bytes, { threads: 1 });
  try {
    return await session.run({ ...data, ...Object.fromEntries([...weights].map(([name, { dims, data: numbers }]) => [name, { type: 'float32' as const, dims, data: numbers as Float32Array }])) });
  } finally {
    await session.close();
  }
}

describe.skipIf(missing !== undefined)(`depthwise convolutions in blocks${missing === undefined ? '' : ` (${missing})`}`, () => {
  it.each([16, 48])('have the gradients of the plain form: %i channels', async (channels) => {
    const training = trainingOf(channels);
    const blocked = training.blocked() ?? new Uint8Array();
    expect(parseModel(blocked).graph.nodes.filter(({ op, domain }) => op === 'Conv' && domain !== '').length).toBeGreaterThanOrEqual(6);
    expect(parseModel(training.bytes).graph.nodes.every(({ domain }) => domain === '')).toBe(true);
    const [plain, ours] = [await outputsOf(training.bytes, training), await outputsOf(blocked, training)];
    for (const [weight, name] of [...training.gradients, ['loss', training.loss] as const]) {
      const [a, b] = [plain[name]?.data as Float32Array, ours[name]?.data as Float32Array];
      const norm = (of: (i: number) => number): number => Math.sqrt(a.reduce((sum, _, i) => sum + of(i) ** 2, 0));
      expect(norm((i) => a[i] ?? NaN), weight).toBeGreaterThan(0);
      expect(norm((i) => (a[i] ?? NaN) - (b[i] ?? NaN)) / norm((i) => a[i] ?? NaN), weight).toBeLessThan(1e-5);
    }
  });

  it('are left as they are when their channels fill no blocks', () => {
    expect(trainingOf(9).blocked()).toBeUndefined();
  });

  it('are left to the plain form by a trainer whose engine refuses them', async () => {
    const training = trainingOf(16);
    const settings = { steps: 3, optimizer: { kind: 'sgd', momentum: 0.9, decay: 0 }, schedule: { kind: 'constant' }, rate: 0.1, warmup: 0, clip: 1e9, average: 0, threads: 1 } as const;
    const lossesOf = async (of: TrainingModel): Promise<number[]> => {
      const trainer = await Trainer.open(of, settings, () => data);
      const losses: number[] = [];
      while (trainer.step < 3) losses.push(await trainer.advance());
      await trainer.close();
      return losses;
    };
    const unknown = parseModel(training.blocked() ?? new Uint8Array());
    const refused = serializeModel({ ...unknown, graph: { ...unknown.graph, nodes: unknown.graph.nodes.map((each) => (each.op === 'ReorderInput' ? { ...each, op: 'ReorderNothing' } : each)) } });
    const [ours, plain, fallen] = [await lossesOf(training), await lossesOf({ ...training, blocked: () => undefined }), await lossesOf({ ...training, blocked: () => refused })];
    expect(fallen).toEqual(plain);
    expect(ours[2]).toBeLessThan(ours[0] ?? 0);
    ours.forEach((loss, i) => expect(loss).toBeCloseTo(plain[i] ?? NaN, 5));
  });
});
