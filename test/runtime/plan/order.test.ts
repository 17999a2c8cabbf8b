import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { onPause } from '../../../runtime/graph/pause.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { compile } from '../../../runtime/lower/compile.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { orderAndPlan, smallFirst } from '../../../runtime/plan/order.js';
import { planStorage } from '../../../runtime/plan/storage.js';
import { model, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { randomModels } from '../support/random-graphs.js';

const optimized = (spec: ModelSpec): Graph => optimize(inferShapes(graphFromOnnx(model(spec))));

/** Maps one after the other, and the extremes of each at the end, as a file has them that lists what it looks at last. */
const layers = 6;
const looked: ModelSpec = {
  inputs: { x: [1, 4, 16, 16] },
  constants: Object.fromEntries(Array.from({ length: layers }, (_, i) => [`w${i}`, randomTensor([4, 4, 1, 1], i)])),
  nodes: [
    ...Array.from({ length: layers }, (_, i) => node('Conv', [i === 0 ? 'x' : `y${i - 1}`, `w${i}`], [`y${i}`])),
    ...Array.from({ length: layers }, (_, i) => node('ReduceMax', [`y${i}`], [`most${i}`], { axes: [0, 1, 2, 3] })),
  ],
  outputs: Array.from({ length: layers }, (_, i) => `most${i}`),
};

describe('what is small is computed first', () => {
  it('so that a look at every map does not keep all of them', () => {
    const graph = optimized(looked);
    const { graph: ordered, plan } = orderAndPlan(graph, {});
    expect(ordered.nodes.map(({ op }) => op)).toEqual(['Transpose', ...Array.from({ length: layers }, () => ['NhwcConv', 'Reduce']).flat()]);
    expect([...ordered.nodes].sort((a, b) => a.name.localeCompare(b.name))).toEqual([...graph.nodes].sort((a, b) => a.name.localeCompare(b.name)));
    const map = 4 * 4 * 16 * 16;
    expect(planStorage(graph).arenaBytes).toBeGreaterThan(layers * map);
    expect(plan.arenaBytes).toBeLessThan(3 * map);
    expect(compile(modelBytes(looked)).arenaBytes).toBe(plan.arenaBytes);
    const feeds = new Map([['x', randomTensor([1, 4, 16, 16], 9)]]);
    expect(interpret(ordered, feeds)).toEqual(interpret(graph, feeds));
  });

  it('and everything else stays in the order of the file', () => {
    const graph = optimized({ ...looked, nodes: looked.nodes.slice(0, layers), outputs: [`y${layers - 1}`] });
    expect(smallFirst(graph)).toBe(graph);
    expect(orderAndPlan(graph, {}).graph).toBe(graph);
  });

  it('after what it reads, in any graph, and never with a larger arena', () => {
    fc.assert(fc.property(randomModels, (spec) => {
      const graph = optimized(spec);
      const moved = smallFirst(graph);
      expect(new Set(moved.nodes)).toEqual(new Set(graph.nodes));
      const made = new Set(['', ...graph.inputs, ...graph.constants.keys()]);
      for (const { inputs, outputs } of moved.nodes) {
        expect(inputs.every((input) => made.has(input))).toBe(true);
        for (const output of outputs) made.add(output);
      }
      expect(orderAndPlan(graph, {}).plan.arenaBytes).toBeLessThanOrEqual(planStorage(graph).arenaBytes);
    }), { numRuns: 100 });
  });
});

describe('a compilation', () => {
  it('pauses between its steps, and no longer than somebody wants to be called', () => {
    let pauses = 0;
    onPause(() => { pauses += 1; });
    compile(modelBytes(looked));
    onPause(() => undefined);
    const heard = pauses;
    expect(heard).toBeGreaterThan(10);
    compile(modelBytes(looked));
    expect(pauses).toBe(heard);
  });
});
