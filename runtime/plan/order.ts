import { consumersOf, typeOf, type Graph, type Node } from '../graph/graph.js';
import { elementCount, programBytes } from '../graph/tensor-value.js';
import { planStorage, type StorageOptions } from './storage.js';

/** Nodes whose results, and all that follows from them, take at most this share of what they read are small beside it. */
const smallShare = 1 / 4;
/** A changed order must save this share of the arena: the order of the file is what its author measured. */
const worthwhile = 7 / 8;

/**
 * The order in which what is small is computed as soon as what it is made of is there, so that a large map need not wait for a look at it: extremes of
 * every map of a network are computed map by map, and not when all of them are there.
 * @returns the same graph when nothing changes
 */
export function smallFirst(graph: Graph): Graph {
  const bytes = (value: string): number => {
    if (value === '' || graph.constants.has(value)) return 0;
    const { dtype, shape } = typeOf(graph, value);
    return elementCount(shape) * programBytes(dtype);
  };
  const consumers = consumersOf(graph.nodes);
  /** The largest value that a node makes or that follows from it. */
  const following = new Map<Node, number>();
  for (const node of [...graph.nodes].reverse()) {
    const after = node.outputs.flatMap((output) => consumers.get(output) ?? []).map((reader) => following.get(reader) ?? Infinity);
    following.set(node, Math.max(0, ...node.outputs.map(bytes), ...after));
  }
  const small = (node: Node): boolean => (following.get(node) ?? Infinity) <= smallShare * Math.max(...node.inputs.map(bytes));
  const made = new Set([...graph.inputs, ...graph.constants.keys(), '']);
  const nodes: Node[] = [];
  const placed = new Set<Node>();
  for (const start of graph.nodes) {
    const waiting = [start];
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      if (placed.has(node)) continue;
      placed.add(node);
      nodes.push(node);
      for (const output of node.outputs) made.add(output);
      const ready = node.outputs.flatMap((output) => consumers.get(output) ?? []).filter((reader) => small(reader) && reader.inputs.every((input) => made.has(input)));
      waiting.push(...ready.reverse());
    }
  }
  return nodes.every((node, i) => node === graph.nodes[i]) ? graph : { ...graph, nodes };
}

/** A graph in the order that needs the smaller arena, with the plan for it: its own, or `smallFirst` where that saves much. */
export function orderAndPlan(graph: Graph, options: StorageOptions): { graph: Graph; plan: ReturnType<typeof planStorage> } {
  const plan = planStorage(graph, options);
  const other = smallFirst(graph);
  if (other === graph) return { graph, plan };
  const otherPlan = planStorage(other, options);
  return otherPlan.arenaBytes < worthwhile * plan.arenaBytes ? { graph: other, plan: otherPlan } : { graph, plan };
}
