import type { Graph } from '../graph/graph.js';

/** First and last step at which a value must be in memory. Step i is node i; -1 is feeding, nodes.length is reading out. */
export interface Interval {
  readonly first: number;
  readonly last: number;
}

export const overlaps = (a: Interval, b: Interval): boolean => a.first <= b.last && b.first <= a.last;
export const union = (a: Interval, b: Interval): Interval => ({ first: Math.min(a.first, b.first), last: Math.max(a.last, b.last) });

/** Life of every value that is not a constant. */
export function liveness(graph: Graph): Map<string, Interval> {
  const lives = new Map<string, Interval>();
  const touch = (value: string, step: number) => {
    if (value === '' || graph.constants.has(value)) return;
    const life = lives.get(value);
    lives.set(value, life === undefined ? { first: step, last: step } : union(life, { first: step, last: step }));
  };
  for (const input of graph.inputs) touch(input, -1);
  graph.nodes.forEach((node, step) => {
    for (const value of [...node.inputs, ...node.outputs]) touch(value, step);
  });
  for (const output of graph.outputs) touch(output, graph.nodes.length);
  return lives;
}
