/** Channels that go together: a channel that nobody reads with weights other than zero can be removed, and nothing changes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findDependencies, type Dependencies } from '../../../deploy/lab/prune/dependencies.js';
import { planRemoval, totalMacs } from '../../../deploy/lab/prune/plan.js';
import { removeChannels } from '../../../deploy/lab/prune/remove.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { elementCount, toNumbers, fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { asTensor } from '../../../runtime/tensor.js';
import '../../support/property-seed.js';
import { model, node, randomTensor, ints64, floats, type ModelSpec } from '../../runtime/support/models.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { randomModels } from '../../runtime/support/random-graphs.js';

const graphOf = (spec: ModelSpec): Graph => inferShapes(graphFromOnnx(model(spec)));

/** The graph with all weights zero that read one of these channels. */
function unread({ graph, cuts }: Dependencies, channels: ReadonlySet<number>): Graph {
  const constants = new Map(graph.constants);
  for (const { constant, axis, ids, role } of cuts) {
    const value = constants.get(constant);
    if (role !== 'reads' || value === undefined) continue;
    const inner = elementCount(value.dims.slice(axis + 1));
    constants.set(constant, fromNumbers(value.dtype, value.dims, [...toNumbers(value)].map((w, i) => (channels.has(ids[Math.floor(i / inner) % ids.length] ?? 0) ? 0 : w))));
  }
  return { ...graph, constants };
}

async function outputsOf(graph: Graph, seed: number): Promise<number[]> {
  const session = await openOnnxRuntime(serializeModel(graphToOnnx(graph)));
  const feeds = Object.fromEntries(session.inputs.map(({ name, dims }, i) => [name, asTensor(randomTensor(dims, seed + i))]));
  const outputs = await session.run(feeds);
  await session.close();
  return Object.values(outputs).flatMap(({ data }) => Array.from(data, Number));
}

/** Removes a share of the channels of each group, which nobody reads, and compares. */
async function expectEqual(spec: ModelSpec, part = 0.5): Promise<Graph> {
  const dependencies = findDependencies(graphOf(spec));
  const removed = new Set(dependencies.groups.flatMap(({ channels }) => channels.slice(0, Math.min(channels.length - 1, Math.ceil(part * channels.length)))));
  const pruned = removeChannels(dependencies, removed);
  const [expected, actual] = [await outputsOf(unread(dependencies, removed), 3), await outputsOf(pruned, 3)];
  expect(actual.length).toBe(expected.length);
  const size = Math.max(1, ...expected.map(Math.abs));
  actual.forEach((value, i) => expect(Math.abs(value - (expected[i] ?? NaN)), `output ${i}: ${value}, expected ${expected[i]}`).toBeLessThanOrEqual(1e-6 * size));
  return pruned;
}

const weights = (...dims: number[]) => randomTensor(dims, dims.reduce((sum, dim) => 7 * sum + dim, 1), -0.4, 0.4);
const x = { x: [1, 3, 6, 5] } as const;
const dims = (graph: Graph, name: string): readonly number[] | undefined => graph.constants.get(name)?.dims;

/** Two convolutions, and what stands between them. */
const between = (nodes: ModelSpec['nodes'], constants: ModelSpec['constants'] = {}, reader: { from: string; channels: number } = { from: 'm', channels: 8 }): ModelSpec => ({
  inputs: x, outputs: ['y'],
  constants: { a: weights(8, 3, 3, 3), ab: weights(8), z: weights(4, reader.channels, 1, 1), ...constants },
  nodes: [node('Conv', ['x', 'a', 'ab'], ['c'], { pads: [1, 1, 1, 1] }), ...nodes, node('Conv', [reader.from, 'z'], ['y'])],
});

describe.skipIf(oracleMissing !== undefined)(`removed channels${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, () => {
  const cases: Record<string, ModelSpec> = {
    'an activation and a slope per channel': between([node('PRelu', ['c', 'slope'], ['p']), node('Sigmoid', ['p'], ['m'])], { slope: weights(8, 1, 1) }),
    'a residual sum': between([node('Relu', ['c'], ['r']), node('Conv', ['r', 'b'], ['d'], { pads: [1, 1, 1, 1] }), node('Add', ['d', 'r'], ['m'])], { b: weights(8, 8, 3, 3) }),
    'a depthwise convolution': between([node('Conv', ['c', 'b', 'bb'], ['m'], { group: 8, pads: [1, 1, 1, 1] })], { b: weights(8, 1, 3, 3), bb: weights(8) }),
    'a depthwise convolution with two outputs a channel': between([node('Conv', ['c', 'b'], ['m'], { group: 8 })], { b: weights(16, 1, 1, 1) }, { from: 'm', channels: 16 }),
    'a grouped convolution': between([node('Conv', ['c', 'b', 'bb'], ['m'], { group: 2 })], { b: weights(8, 4, 1, 1), bb: weights(8) }),
    'a batch normalization': between([node('BatchNormalization', ['c', 's', 'h', 'n', 'v'], ['m'])], { s: weights(8), h: weights(8), n: weights(8), v: randomTensor([8], 2, 0.5, 1) }),
    'a concatenation': between([node('Conv', ['c', 'b'], ['d']), node('Concat', ['c', 'x', 'd'], ['m'], { axis: 1 })], { b: weights(4, 8, 1, 1) }, { from: 'm', channels: 15 }),
    'squeeze and excitation': between([node('GlobalAveragePool', ['c'], ['g']), node('Conv', ['g', 'b'], ['d']), node('Sigmoid', ['d'], ['e']), node('Mul', ['c', 'e'], ['m'])], { b: weights(8, 8, 1, 1) }),
    'a pool, a resize and a slice of rows': between([
      node('MaxPool', ['c'], ['p'], { kernel_shape: [2, 2] }), node('Resize', ['p', '', '', 'sizes'], ['r'], { mode: 'nearest' }), node('Slice', ['r', 'from', 'to', 'axis'], ['m']),
    ], { sizes: ints64(1, 8, 10, 8), from: ints64(1), to: ints64(5), axis: ints64(2) }),
    'channels last and back': between([node('Transpose', ['c'], ['t'], { perm: [0, 2, 3, 1] }), node('Mul', ['t', 'k'], ['u']), node('Transpose', ['u'], ['m'], { perm: [0, 3, 1, 2] })], { k: weights(8) }),
    'the same weights in two layers': between([node('Conv', ['c', 'b', 'bb'], ['d']), node('Conv', ['c', 'b', 'bb'], ['e']), node('Sub', ['d', 'e'], ['f']), node('Add', ['f', 'd'], ['m'])], { b: weights(8, 8, 1, 1), bb: weights(8) }),
    'a transposed convolution': between([node('ConvTranspose', ['c', 'b', 'bb'], ['m'], { strides: [2, 2] })], { b: weights(8, 8, 2, 2), bb: weights(8) }),
    'a flattened map': {
      inputs: x, outputs: ['y'], constants: { a: weights(8, 3, 3, 3), shape: ints64(1, 96), w: weights(96, 16), b: weights(16), v: weights(4, 16) },
      nodes: [node('Conv', ['x', 'a'], ['c']), node('Reshape', ['c', 'shape'], ['f']), node('Gemm', ['f', 'w', 'b'], ['g']), node('Relu', ['g'], ['r']), node('Gemm', ['r', 'v'], ['y'], { transB: 1 })],
    },
    'a mean over the map and a matrix product': {
      inputs: x, outputs: ['y'], constants: { a: weights(8, 3, 3, 3), w: weights(8, 16), v: weights(16, 4) },
      nodes: [node('Conv', ['x', 'a'], ['c']), node('ReduceMean', ['c'], ['f'], { axes: [2, 3], keepdims: 0 }), node('MatMul', ['f', 'w'], ['g']), node('Tanh', ['g'], ['r']), node('MatMul', ['r', 'v'], ['y'])],
    },
  };

  for (const [name, spec] of Object.entries(cases)) {
    it(`change nothing that was not read: ${name}`, async () => {
      const pruned = await expectEqual(spec);
      expect(dims(pruned, 'a')).toEqual([4, 3, 3, 3]);
    });
  }

  it('change nothing in random graphs', async () => {
    let groups = 0;
    await fc.assert(fc.asyncProperty(randomModels, async (spec) => {
      // What a model puts out stays, so every output gets a reader.
      const { types } = graphOf(spec);
      const read = spec.outputs.map((name, i) => ({ name, w: `read${i}.w`, channels: types.get(name)?.shape[1] ?? 1 }));
      const whole = {
        ...spec, outputs: read.map(({ w }) => `${w}.y`), constants: { ...spec.constants, ...Object.fromEntries(read.map(({ w, channels }) => [w, weights(2, channels, 1, 1)])) },
        nodes: [...spec.nodes, ...read.map(({ name, w }) => node('Conv', [name, w], [`${w}.y`]))],
      };
      groups += findDependencies(graphOf(whole)).groups.length;
      await expectEqual(whole);
    }), { numRuns: 100 });
    expect(groups).toBeGreaterThan(20);
  }, 60_000);
});

describe('groups of channels', () => {
  it('leave outputs, inputs, excluded layers and what meets an unknown operator as they are', () => {
    const shuffled = between([node('DepthToSpace', ['c'], ['u'], { blocksize: 2 })], {}, { from: 'u', channels: 2 });
    expect(findDependencies(graphOf(shuffled)).groups).toEqual([]);
    const plain = between([node('Relu', ['c'], ['m'])]);
    expect(findDependencies(graphOf(plain)).groups.map(({ makers }) => makers)).toEqual([['c']]);
    expect(findDependencies(graphOf(plain), new Set(['c'])).groups).toEqual([]);
    expect(findDependencies(graphOf({ ...plain, outputs: ['y', 'm'] })).groups).toEqual([]);
  });

  it('keep constants whole that somebody else reads', () => {
    const spec = between([node('Relu', ['c'], ['m']), node('ReduceSum', ['ab'], ['s'], { keepdims: 0 })]);
    expect(findDependencies(graphOf({ ...spec, outputs: ['y', 's'] })).groups).toEqual([]);
  });

  it('count the channels of all layers that are added, and the places of convolutions with groups', () => {
    const added = between([node('Relu', ['c'], ['r']), node('Conv', ['r', 'b'], ['d']), node('Add', ['d', 'r'], ['m'])], { b: weights(8, 8, 1, 1) });
    expect(findDependencies(graphOf(added)).groups).toMatchObject([{ makers: ['c', 'd'], width: 1, channels: { length: 8 } }]);
    const grouped = between([node('Conv', ['c', 'b'], ['m'], { group: 2 })], { b: weights(8, 4, 1, 1) });
    expect(findDependencies(graphOf(grouped)).groups).toMatchObject([{ makers: ['c'], width: 2, channels: { length: 4 } }, { makers: ['m'], width: 2, channels: { length: 4 } }]);
  });

  it('know the multiply-adds that are left, and go where least is lost for them', () => {
    const dependencies = findDependencies(graphOf(between([node('Relu', ['c'], ['m'])])));
    expect(totalMacs(dependencies)).toBe(12 * 8 * 27 + 30 * 8 * 4 + 18 * 8 * 27);
    const [group] = dependencies.groups;
    const scores = new Map(group?.channels.map((id, i) => [id, (i * 5) % 8]));
    const removed = planRemoval(dependencies, scores, { macs: 0.6 * totalMacs(dependencies), align: 2, keep: 0.1 });
    expect(removed).toEqual(new Set([...scores].filter(([, score]) => score < 4).map(([id]) => id)));
    expect(totalMacs(findDependencies(removeChannels(dependencies, removed)))).toBe(0.5 * totalMacs(dependencies));
  });

  it('refuse a model without channels to remove, and a target out of reach', () => {
    const single = graphOf({ inputs: x, outputs: ['y'], constants: { a: weights(8, 3, 1, 1) }, nodes: [node('Conv', ['x', 'a'], ['y'])] });
    expect(() => planRemoval(findDependencies(single), new Map(), { macs: 1, align: 8, keep: 0.1 })).toThrow(expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(/no channels that can be removed/) as string }) as Error);
    const dependencies = findDependencies(graphOf(between([node('Relu', ['c'], ['m'])])));
    const scores = new Map(dependencies.groups[0]?.channels.map((id) => [id, 1]));
    expect(() => planRemoval(dependencies, scores, { macs: 1, align: 4, keep: 0.1 })).toThrow(expect.objectContaining({ code: 'E_LAB', message: expect.stringMatching(/out of reach: 50 % can be removed/) as string }) as Error);
  });

  it('are one with scalars beside them', () => {
    const scaled = between([node('Mul', ['c', 'half'], ['d']), node('Clip', ['d', 'low', 'high'], ['m'])], { half: floats([1], 0.5), low: floats([], -1), high: floats([], 1) });
    expect(findDependencies(graphOf(scaled)).groups).toMatchObject([{ makers: ['c'] }]);
  });
});
