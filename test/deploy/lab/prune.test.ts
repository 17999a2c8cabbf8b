/** Pruning of whole models: how much is removed, what that costs, and what is refused. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { columnMoments } from '../../../deploy/lab/prune/columns.js';
import { compensate } from '../../../deploy/lab/prune/compensate.js';
import { findDependencies, type Dependencies } from '../../../deploy/lab/prune/dependencies.js';
import { pruneDefaults, pruneModel } from '../../../deploy/lab/prune/prune.js';
import { removeChannels } from '../../../deploy/lab/prune/remove.js';
import { criteria, scoreChannels, type Criterion } from '../../../deploy/lab/prune/scores.js';
import { rebatched } from '../../../deploy/lab/rebatch.js';
import { openNative } from '../../../runtime/engines/native.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, toNumbers } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { asTensor } from '../../../runtime/tensor.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { ints64, model, modelBytes, node, randomTensor, type ModelSpec } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { captureCli } from '../cli/capture.js';

/** Of 24 channels, only the even ones differ from each other: an odd one is the mean of the two beside it. */
const redundant = fromNumbers('float32', [24, 3, 3, 3], (() => {
  const numbers = Float64Array.from(randomTensor([24, 3, 3, 3], 5, -0.5, 0.5).data as Float32Array);
  for (let c = 1; c < 23; c += 2) for (let i = 0; i < 27; i++) numbers[27 * c + i] = 0.5 * ((numbers[27 * (c - 1) + i] ?? 0) + (numbers[27 * (c + 1) + i] ?? 0));
  return numbers;
})());

const weights = (seed: number, ...dims: number[]) => randomTensor(dims, seed, -0.3, 0.3);

/** A residual block between two convolutions, a normalization, and a classifier. */
const net: ModelSpec = {
  inputs: { x: [1, 3, 10, 10] }, outputs: ['y'],
  constants: {
    a: redundant, s: randomTensor([24], 2, 0.5, 1.5), h: weights(3, 24), n: weights(4, 24), v: randomTensor([24], 5, 0.5, 1),
    d: weights(6, 24, 1, 3, 3), b: weights(7, 16, 24, 1, 1), c: weights(8, 16, 16, 3, 3), w: weights(9, 10, 16), wb: weights(10, 10), shape: ints64(1, 16),
  },
  nodes: [
    node('Conv', ['x', 'a'], ['c1'], { pads: [1, 1, 1, 1] }), node('BatchNormalization', ['c1', 's', 'h', 'n', 'v'], ['n1']), node('Relu', ['n1'], ['r1']),
    node('Conv', ['r1', 'd'], ['c2'], { group: 24, pads: [1, 1, 1, 1] }), node('Conv', ['c2', 'b'], ['c3']),
    node('Conv', ['c3', 'c'], ['c4'], { pads: [1, 1, 1, 1] }), node('Add', ['c4', 'c3'], ['sum']), node('Relu', ['sum'], ['r2']),
    node('GlobalAveragePool', ['r2'], ['g']), node('Reshape', ['g', 'shape'], ['f']), node('Gemm', ['f', 'w', 'wb'], ['logits'], { transB: 1 }), node('Softmax', ['logits'], ['y']),
  ],
};
const bytes = modelBytes(net);
const graph: Graph = inferShapes(graphFromOnnx(model(net)));
const samples = Array.from({ length: 30 }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 10, 10], i + 1)) }));
const quick = { ...pruneDefaults, target: { of: 'macs', left: 0.6 }, rounds: 2, steps: 0, align: 4 } as const;

const runnable = describe.skipIf(oracleMissing !== undefined);
const why = oracleMissing === undefined ? '' : ` (${oracleMissing})`;

runnable(`pruning a model${why}`, () => {
  it('leaves fewer multiply-adds in an ordinary model, with a record of what was done', async () => {
    const { model: pruned, report } = await pruneModel(bytes, samples, quick);
    expect(report.macs_after).toBeLessThanOrEqual(0.6 * report.macs_before);
    expect(report).toMatchObject({ criterion: 'second-order', tuned_samples: 24, judged_samples: 6, steps: 0, time_ratio: null, bytes_after: pruned.length });
    for (const { before, after } of report.groups) expect([before > after, after % 4]).toEqual([true, 0]);
    const read = parseModel(pruned);
    expect(JSON.parse(read.metadata.get('sterna.lab.prune') ?? '{}')).toMatchObject({ target: { of: 'macs', left: 0.6 }, macs_after: report.macs_after, seed: 1 });
    const [maker] = [read.graph.initializers.get('a')];
    expect(maker?.dims[0]).toBe(report.groups.find(({ layers }) => layers.includes('c1'))?.after);
    expect(report.agreement).toBeGreaterThan(0.5);
  });

  it('is the same again with the same seed, by every criterion', async () => {
    for (const criterion of criteria) {
      const settings = { ...quick, target: { of: 'macs', left: 0.8 }, rounds: 1, criterion } as const;
      const made = [await pruneModel(bytes, samples, settings), await pruneModel(bytes, samples, settings)];
      expect(Buffer.compare(made[0]?.model ?? new Uint8Array(1), made[1]?.model ?? new Uint8Array(0)), criterion).toBe(0);
    }
  }, 40_000);

  it('is closer to the unpruned model after fine-tuning, on samples that were not tuned on', async () => {
    const harsh = { ...quick, target: { of: 'macs', left: 0.35 }, rounds: 1, rate: 3e-3, batch: 4 } as const;
    const { report } = await pruneModel(bytes, samples, { ...harsh, steps: 120 });
    expect(report.agreement).toBeGreaterThan(report.agreement_untuned + 0.02);
  }, 40_000);

  it.skipIf(nativeMissing !== undefined)('gives a model that runs on the native engine, and can be quantized', async () => {
    const { model: pruned } = await pruneModel(bytes, samples, quick);
    const { model: quantized } = await quantizeModel(pruned, samples.slice(0, 8));
    for (const made of [pruned, quantized]) {
      const session = await openNative(made);
      expect((await session.run(samples[0] ?? {}))['y']?.dims).toEqual([1, 10]);
      await session.close();
    }
  });

  it.skipIf(nativeMissing !== undefined)('can aim at a measured time', async () => {
    const { report } = await pruneModel(bytes, samples, { ...quick, rounds: 1, target: { of: 'time', left: 0.99 } });
    expect(report.time_ratio).toBeGreaterThan(0);
    expect(report.macs_after).toBeLessThan(report.macs_before);
  }, 40_000);

  it('refuses too few samples, quantized models, nodes that do not exist and targets out of reach', async () => {
    const refused = (message: RegExp) => ({ code: 'E_LAB', message: expect.stringMatching(message) as string });
    await expect(pruneModel(bytes, samples.slice(0, 9), quick)).rejects.toMatchObject(refused(/at least 10 samples/));
    await expect(pruneModel(bytes, samples, { ...quick, exclude: ['nobody'] })).rejects.toMatchObject(refused(/no 'nobody'/));
    await expect(pruneModel(bytes, samples, { ...quick, target: { of: 'macs', left: 0.001 } })).rejects.toMatchObject(refused(/out of reach: \d+ % can be removed/));
    const { model: quantized } = await quantizeModel(bytes, samples.slice(0, 4));
    await expect(pruneModel(quantized, samples, quick)).rejects.toMatchObject(refused(/is quantized/));
    const bare = modelBytes({ inputs: net.inputs, outputs: ['y'], constants: { a: weights(1, 8, 3, 1, 1) }, nodes: [node('Conv', ['x', 'a'], ['y'])] });
    await expect(pruneModel(bare, samples, quick)).rejects.toMatchObject(refused(/no channels that can be removed/));
    await expect(pruneModel(bare, samples, { ...quick, criterion: 'gain' })).rejects.toMatchObject(refused(/needs batch normalizations/));
  });
});

async function outputsOf(of: Graph): Promise<number[]> {
  const session = await openOnnxRuntime(serializeModel(graphToOnnx(of)));
  const all: number[] = [];
  for (const feeds of samples) all.push(...Array.from((await session.run(feeds))['logits']?.data ?? [], Number));
  await session.close();
  return all;
}

const distance = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + (value - (b[i] ?? NaN)) ** 2, 0);

runnable(`layers behind removed channels${why}`, () => {
  // No activation stands between the redundant channels and what reads them: they are sums of each other there, too.
  const plain = inferShapes(graphFromOnnx(model({
    ...net, outputs: ['logits'],
    nodes: [node('Conv', ['x', 'a'], ['r1'], { pads: [1, 1, 1, 1] }), node('Conv', ['r1', 'b'], ['c3']), ...net.nodes.slice(5, -1)],
  })));
  const ofMaker = (dependencies: Dependencies): readonly number[] => dependencies.groups.find(({ makers }) => makers.includes('r1'))?.channels ?? [];

  it('make up for what the others can give', async () => {
    const dependencies = findDependencies(plain);
    const removed = new Set(ofMaker(dependencies).filter((_, c) => c % 2 === 1 && c < 23));
    const moments = await columnMoments(plain, plain.nodes.filter(({ op }) => op === 'Conv'), samples);
    const wanted = await outputsOf(plain);
    const cut = await outputsOf(removeChannels(dependencies, removed));
    const adjusted = await outputsOf(removeChannels(findDependencies(compensate(dependencies, removed, moments)), removed));
    expect(distance(adjusted, wanted)).toBeLessThan(0.01 * distance(cut, wanted));
  });

  it('are what the second-order score asks: of channels that the others can replace, many cost nothing until one is the last', async () => {
    const dependencies = findDependencies(plain);
    const moments = await columnMoments(plain, plain.nodes.filter(({ op }) => op === 'Conv'), samples);
    const scores = await scoreChannels('second-order', dependencies, { samples, sizes: new Map(), moments, seed: 1 });
    // 24 channels that span 13 dimensions.
    const costs = ofMaker(dependencies).map((id) => scores.get(id) ?? 0).sort((a, b) => a - b);
    expect(costs[10]).toBeLessThan(0.1 * (costs[12] ?? 0));
  });
});

runnable(`scores${why}`, () => {
  const silenced = (name: string, channel: number): Graph => {
    const value = graph.constants.get(name);
    const numbers = value === undefined ? [] : [...toNumbers(value)];
    const size = numbers.length / (value?.dims[0] ?? 1);
    return { ...graph, constants: new Map([...graph.constants, [name, fromNumbers('float32', value?.dims ?? [], numbers.map((w, i) => (Math.floor(i / size) === channel ? 1e-4 * w : w)))]]) };
  };
  const rank = async (criterion: Criterion, of: Graph): Promise<number> => {
    const dependencies = findDependencies(of);
    const readers = of.nodes.filter(({ op }) => op === 'Conv');
    const scores = await scoreChannels(criterion, dependencies, { samples: samples.slice(0, 10), sizes: new Map([['y', 1]]), moments: await columnMoments(of, readers, samples), seed: 1 });
    const own = dependencies.groups.find(({ makers }) => makers.includes('c1'))?.channels ?? [];
    return own.filter((id) => (scores.get(id) ?? 0) < (scores.get(own[6] ?? 0) ?? 0)).length;
  };

  it('find a channel that contributes nothing, each by what it looks at', async () => {
    expect(await rank('l1', silenced('a', 6))).toBe(0);
    expect(await rank('gain', silenced('s', 6))).toBe(0);
    expect(await rank('second-order', silenced('d', 6))).toBe(0);
    // The weights that make it and those behind it decide together how the outputs move.
    expect(await rank('taylor', silenced('d', 6))).toBe(0);
  });
});

describe('a graph for batches', () => {
  it.skipIf(oracleMissing !== undefined)('gives each sample what it has alone', async () => {
    const batch = rebatched(graph, 3);
    expect(batch?.types.get('y')?.shape).toEqual([3, 10]);
    const session = await openOnnxRuntime(serializeModel(graphToOnnx(batch ?? graph)));
    const data = new Float32Array(900);
    samples.slice(0, 3).forEach(({ x }, i) => data.set(x.data as Float32Array, 300 * i));
    const together = (await session.run({ x: { type: 'float32', dims: [3, 3, 10, 10], data } }))['y'];
    await session.close();
    const single = await openOnnxRuntime(bytes);
    for (let i = 0; i < 3; i++) {
      const alone = (await single.run(samples[i] ?? {}))['y'];
      Array.from(alone?.data ?? [], Number).forEach((value, c) => expect(Number(together?.data[10 * i + c])).toBeCloseTo(value, 5));
    }
    await single.close();
  });

  it('is refused where outputs are not for each sample', () => {
    const joined = inferShapes(graphFromOnnx(model({ inputs: { x: [1, 4] }, outputs: ['y'], constants: { k: weights(1, 2, 4) }, nodes: [node('Concat', ['x', 'k'], ['y'], { axis: 0 })] })));
    expect(rebatched(joined, 3)).toBeUndefined();
  });
});

runnable(`sterna lab prune${why}`, () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-prune-'));
    await writeFile(join(folder, 'net.onnx'), bytes);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const prune = (...words: string[]) => captureCli(['--json', 'lab', 'prune', join(folder, 'net.onnx'), '-o', join(folder, 'out.onnx'), '--data', 'random:20', '--steps', '0', '--align', '4', ...words]);

  it('writes the smaller model and says what became less', async () => {
    const { code, out } = await prune('--macs', '-40%');
    expect(code).toBe(0);
    const report = JSON.parse(out) as { macs_before: number; macs_after: number; bytes_after: number };
    expect(report.macs_after / report.macs_before).toBeLessThanOrEqual(0.6);
    expect((await readFile(join(folder, 'out.onnx'))).length).toBe(report.bytes_after);
  });

  it('asks for one target, as a share', async () => {
    for (const words of [[], ['--macs', '-40%', '--time', '-40%'], ['--macs', '40'], ['--macs', '-100%']]) expect((await prune(...words)).code).toBe(2);
  });
});
