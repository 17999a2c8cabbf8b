import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../../runtime/graph/import.js';
import type { Graph } from '../../../../runtime/graph/graph.js';
import { inferShapes } from '../../../../runtime/infer/infer.js';
import { interpret } from '../../../../runtime/infer/interpret.js';
import { equalizeChannels, findChannelGroups } from '../../../../runtime/quantize/prepare/equalize.js';
import { planQuantization } from '../../../../runtime/quantize/prepare/plan.js';
import { quantizeModel } from '../../../../runtime/quantize/quantize.js';
import type { Tensor } from '../../../../runtime/tensor.js';
import { model, modelBytes, node, randomTensor, type ModelSpec } from '../../support/models.js';
import { feedsFor, residualNet } from '../networks.js';

const graphOf = (spec: ModelSpec): Graph => inferShapes(graphFromOnnx(model(spec)));
const groupsOf = (graph: Graph) => findChannelGroups(graph, planQuantization(graph));

/** Magnitudes as different as can be, and a dead channel. */
const uneven = (channels: number): Float32Array => Float32Array.from({ length: channels }, (_, c) => (c === 1 ? 0 : 2 ** (c % 7)));

describe('findChannelGroups', () => {
  it('takes what convolutions write and read, residual trunks whole, and stops at the head', () => {
    // a3 is pooled and reshaped into the Gemm, so nothing behind c3 and c4 can be rescaled.
    expect(groupsOf(graphOf(residualNet())).map(({ values }) => values)).toEqual([['a1'], ['a2']]);
  });

  it('keeps a trunk that convolutions alone read as one group', () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 4, 4, 4] },
      constants: { w1: randomTensor([4, 4, 1, 1], 1), w2: randomTensor([4, 4, 1, 1], 2), w3: randomTensor([4, 4, 1, 1], 3) },
      nodes: [node('Conv', ['x', 'w1'], ['a']), node('Conv', ['a', 'w2'], ['b']), node('Add', ['a', 'b'], ['s']), node('Conv', ['s', 'w3'], ['y'])],
      outputs: ['y'],
    };
    const [group, ...more] = groupsOf(graphOf(spec));
    expect(more).toEqual([]);
    expect([...(group?.values ?? [])].sort()).toEqual(['a', 'b', 's']);
    expect(group?.makers.map(({ output }) => output)).toEqual(['a', 'b']);
    expect(group?.readers.map(({ output }) => output)).toEqual(['b', 'y']);
  });

  it('leaves values behind a bounded activation and outputs alone', () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 2, 4, 4] },
      constants: { w: randomTensor([2, 2, 1, 1], 1), v: randomTensor([2, 2, 1, 1], 2), low: randomTensor([], 3, 0, 0), high: randomTensor([], 3, 6, 6) },
      nodes: [node('Conv', ['x', 'w'], ['c']), node('Clip', ['c', 'low', 'high'], ['a']), node('Conv', ['a', 'v'], ['y'])],
      outputs: ['y'],
    };
    expect(groupsOf(graphOf(spec))).toEqual([]);
    const plain: ModelSpec = { ...spec, nodes: [node('Conv', ['x', 'w'], ['a']), node('Conv', ['a', 'v'], ['y'])], outputs: ['y', 'a'] };
    expect(groupsOf(graphOf(plain))).toEqual([]);
  });
});

describe('equalizeChannels', () => {
  it('does not change what the network computes', () => {
    const graph = graphOf(residualNet());
    const groups = groupsOf(graph);
    const magnitudes = new Map(groups.flatMap(({ values }) => values.map((value) => [value, uneven(8)])));
    const equalized = equalizeChannels(graph, groups, magnitudes);
    expect(equalized).not.toBe(graph);
    for (const seed of [1, 2, 3]) {
      const feeds = new Map([['x', randomTensor([1, 3, 8, 8], seed)]]);
      const before = interpret(graph, feeds, ['logits']).get('logits')?.data ?? [];
      const after = interpret(equalized, feeds, ['logits']).get('logits')?.data ?? [];
      expect(after.length).toBe(before.length);
      before.forEach((value, i) => expect(Number(after[i])).toBeCloseTo(Number(value), 3));
    }
  });

  const three: ModelSpec = {
    inputs: { x: [1, 1, 2, 2] },
    constants: { w: randomTensor([3, 1, 1, 1], 1, 1, 1), d: randomTensor([3, 1, 1, 1], 2) },
    nodes: [node('Conv', ['x', 'w'], ['a']), node('Conv', ['a', 'd'], ['y'], { group: 3 })],
    outputs: ['y'],
  };
  const scaledBy = (magnitudes: readonly number[], migration: number): number[] => {
    const graph = graphOf(three);
    const scaled = equalizeChannels(graph, groupsOf(graph), new Map([['a', Float32Array.from(magnitudes)]]), migration);
    return [...(scaled.constants.get(scaled.nodes[0]?.inputs[1] ?? '')?.data ?? [])].map(Number);
  };

  it.each([[1, [8, 8, 8]], [0.5, [8 ** 0.5, 32 ** 0.5, 8]]])('narrows the ratios of ranges before a depthwise convolution, by the power 1 - %d', (migration, reaches) => {
    const weights = scaledBy([1, 4, 8], migration);
    [1, 4, 8].forEach((magnitude, c) => expect(magnitude * (weights[c] ?? NaN)).toBeCloseTo(reaches[c] ?? NaN, 4));
  });

  it('takes a channel that was never seen for one like the others', () => {
    const [unseen, ...live] = scaledBy([0, 4, 8], 1);
    expect(live).toEqual([2, 1]);
    expect(unseen).toBeCloseTo(1 / 0.75, 4);
  });
});

describe('statistics of the channels', () => {
  const spec: ModelSpec = {
    inputs: { x: [1, 3, 8, 8] },
    constants: { w: randomTensor([8, 3, 1, 1], 1), v: randomTensor([8, 8, 1, 1], 2) },
    nodes: [node('Conv', ['x', 'w'], ['a']), node('Conv', ['a', 'v'], ['y'])],
    outputs: ['y'],
  };
  /** Sorted by class: in each third of the samples, another channel of the input is loud. */
  const sorted = feedsFor(60).map(({ x }, i) => {
    const data = Float32Array.from(x?.data ?? [], Number).map((value, at) => value * (Math.floor(at / 64) === Math.floor(i / 20) ? 40 : 0.1));
    return { x: { type: 'float32', dims: [1, 3, 8, 8], data } satisfies Tensor };
  });
  const shuffled = sorted.map((_, i) => sorted[(i * 23) % 60] ?? {});
  async function* stream(feeds: readonly Readonly<Record<string, Tensor>>[]) {
    yield* feeds;
  }
  const options = { engine: 'native', method: 'minmax', migrate: 'none', biasCorrection: false } as const;

  it('do not depend on the order of the samples, nor on whether they are an array or a stream', async () => {
    const models: Buffer[] = [];
    for (const samples of [sorted, shuffled, stream(sorted), stream(shuffled)]) models.push(Buffer.from((await quantizeModel(modelBytes(spec), samples, options)).model));
    expect(models.map((model) => model.equals(models[0] ?? Buffer.alloc(0)))).toEqual([true, true, true, true]);
  });

  it('are read from a stream once, and the stream is told when it is wanted no longer', async () => {
    const seen = { read: 0, closed: 0 };
    async function* counted(feeds: readonly Readonly<Record<string, Tensor>>[]) {
      try {
        for (const feed of feeds) {
          seen.read++;
          yield feed;
        }
      } finally {
        seen.closed++;
      }
    }
    await quantizeModel(modelBytes(spec), counted(sorted), options);
    expect(seen).toEqual({ read: 60, closed: 1 });
    const bad: Tensor = { type: 'float32', dims: [1, 3, 8, 8], data: new Float32Array(192).fill(NaN) };
    await expect(quantizeModel(modelBytes(spec), counted([...sorted.slice(0, 2), { x: bad }, ...sorted]), options)).rejects.toMatchObject({ code: 'E_QUANTIZE' });
    expect(seen).toEqual({ read: 63, closed: 2 });
  });
});
