import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { typeOf, type Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { elementCount, isByte, stridesOf, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { planStorage, type StoragePlan } from '../../../runtime/plan/storage.js';
import { stridedOffsets } from '../../../runtime/ops/indexing.js';
import { model, node, randomTensor, type ModelSpec } from '../support/models.js';
import { randomModels } from '../support/random-graphs.js';

const optimized = (spec: ModelSpec): Graph => optimize(inferShapes(graphFromOnnx(model(spec))));

/** Byte addresses of the elements of a value. */
function addresses(graph: Graph, plan: StoragePlan, value: string): Int32Array {
  const { shape, dtype } = typeOf(graph, value);
  const { offset = 0, pixelStride = 1 } = plan.placements.get(value) ?? {};
  const bytes = isByte(dtype) ? 1 : 4;
  const outer = stridesOf(shape.slice(0, -1)).map((stride) => stride * pixelStride);
  return stridedOffsets(shape, [...outer, 1]).map((element) => offset + element * bytes);
}

/**
 * Runs the graph on a simulated arena: every node that is not elided writes its output's cells, and before any node reads a
 * value, its cells must hold what the reference says. Finds overlaps, wrong aliases and wrong reuse alike.
 */
function simulate(graph: Graph, feeds: ReadonlyMap<string, TensorValue>): void {
  const plan = planStorage(graph);
  const names = graph.nodes.flatMap(({ outputs }) => outputs);
  const values = new Map([...interpret(graph, feeds, names), ...feeds]);
  const arena = new Map<number, number>();
  const write = (value: string) => {
    const data = values.get(value)?.data ?? [];
    addresses(graph, plan, value).forEach((address, i) => {
      arena.set(address, Number(data[i]));
    });
  };
  const check = (value: string, reader: string) => {
    if (graph.constants.has(value) || value === '') return;
    const data = values.get(value)?.data ?? [];
    const bad = addresses(graph, plan, value).findIndex((address, i) => arena.get(address) !== Number(data[i]));
    expect(bad, `element of ${value}, read by ${reader}`).toBe(-1);
    expect(Math.max(...addresses(graph, plan, value))).toBeLessThan(plan.arenaBytes);
  };
  for (const input of graph.inputs) write(input);
  for (const step of graph.nodes) {
    if (plan.elided.has(step)) continue;
    for (const input of step.inputs) check(input, step.name);
    for (const output of step.outputs) write(output);
  }
  for (const output of graph.outputs) check(output, 'the caller');
}

const feeds = new Map([['x', randomTensor([1, 3, 5, 4], 9)]]);

describe('planned memory', () => {
  it('holds every value until its last reader, whatever the graph', () => {
    fc.assert(fc.property(randomModels, (spec) => simulate(optimized(spec), feeds)), { numRuns: 100 });
  });

  it('lets convolutions write into the concatenation', () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 3, 5, 4] },
      constants: { w: randomTensor([4, 3, 1, 1], 1), v: randomTensor([6, 3, 1, 1], 2) },
      nodes: [node('Conv', ['x', 'w'], ['a']), node('Conv', ['x', 'v'], ['b']), node('Concat', ['a', 'b'], ['ab'], { axis: 1 }), node('GlobalMaxPool', ['ab'], ['y'])],
      outputs: ['y'],
    };
    const graph = optimized(spec);
    const plan = planStorage(graph);
    const concat = graph.nodes.find(({ op }) => op === 'Concat');
    expect(concat !== undefined && plan.elided.has(concat)).toBe(true);
    const [a, b] = (concat?.inputs ?? []).map((value) => plan.placements.get(value));
    expect({ a: a?.pixelStride, b: b?.pixelStride, apart: (b?.offset ?? 0) - (a?.offset ?? 0) }).toEqual({ a: 10, b: 10, apart: 16 });
    simulate(graph, feeds);
  });

  it('makes views and slices of channels aliases, and elementwise operators work in place', () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 3, 5, 4] },
      constants: { w: randomTensor([4, 3, 1, 1], 1) },
      nodes: [node('Conv', ['x', 'w'], ['c']), node('Split', ['c'], ['a', 'b'], { axis: 1 }), node('Exp', ['a'], ['e']), node('Flatten', ['e'], ['f']), node('Sin', ['f'], ['s']), node('Abs', ['b'], ['y'])],
      outputs: ['s', 'y'],
    };
    const graph = optimized(spec);
    const plan = planStorage(graph);
    expect(graph.nodes.filter(({ op }) => op === 'StridedSlice').every((slice) => plan.elided.has(slice))).toBe(true);
    expect(plan.arenaBytes).toBeLessThanOrEqual(4 * elementCount([60 + 80 + 40 + 40 + 64]));
    simulate(graph, feeds);
  });
});
