import { RuntimeError } from '../errors.js';
import { defaultLimits, type ModelLimits } from '../onnx/types.js';
import type { Attributes } from './attributes.js';
import type { DType, TensorValue, ValueType } from './tensor-value.js';

/** One operation. Nodes are immutable: a pass replaces them. */
export interface Node {
  readonly name: string;
  readonly op: string;
  /** '' marks an optional input that is absent. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
}

/**
 * A computation in single-assignment form. Values are names; each is a graph input, a constant, or the output of one node.
 * Graphs are immutable: passes are pure functions from graph to graph (see GraphEditor).
 */
export interface Graph {
  readonly name: string;
  /** Version of the ai.onnx operator set that the nodes follow. */
  readonly opset: number;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** In topological order. */
  readonly nodes: readonly Node[];
  /** Inputs that are no tensors, by name, and the type of what they hold; they are not among `inputs`. */
  readonly containers?: ReadonlyMap<string, DType>;
  readonly constants: ReadonlyMap<string, TensorValue>;
  /** Types of the inputs, and after shape inference of every value. */
  readonly types: ReadonlyMap<string, ValueType>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Element types that the file states for values that nodes make; inference holds them to what follows from the nodes, and drops them. */
  readonly declared?: ReadonlyMap<string, DType>;
  /** Bounds on what inference and passes may compute; absent: the defaults. */
  readonly limits?: GraphLimits;
}

export type GraphLimits = Pick<ModelLimits, 'nodes' | 'tensorElements' | 'rank' | 'constantElements' | 'foldSteps'>;

export const limitsOf = (graph: Graph): GraphLimits => graph.limits ?? defaultLimits;

/** Elements of all constants. */
export function constantElements(constants: ReadonlyMap<string, TensorValue>): number {
  let sum = 0;
  for (const { data } of constants.values()) sum += data.length;
  return sum;
}

/** Type of a value of an inferred graph. */
export function typeOf(graph: Graph, value: string): ValueType {
  const constant = graph.constants.get(value);
  if (constant !== undefined) return { dtype: constant.dtype, shape: constant.dims };
  const type = graph.types.get(value);
  if (type === undefined) throw new RuntimeError('E_MODEL_SHAPE', `The type of value '${value}' is not known`);
  return type;
}

/** A value that is known before the model runs; undefined for others, and for an absent operand. */
export const constantOf = (graph: Graph, value: string | undefined): TensorValue | undefined => (value === undefined ? undefined : graph.constants.get(value));

/** Which node makes each value. */
export function producersOf<T extends { readonly outputs: readonly string[] }>(nodes: readonly T[]): Map<string, T> {
  const producers = new Map<string, T>();
  for (const node of nodes) for (const output of node.outputs) if (output !== '') producers.set(output, node);
  return producers;
}

/** Inputs of the graph that a value is computed from, in the order of the graph; the value itself when it is one. */
export function inputsBehind(graph: Graph, value: string): string[] {
  const producers = producersOf(graph.nodes);
  const seen = new Set([value]);
  for (const name of seen) for (const input of producers.get(name)?.inputs ?? []) seen.add(input); // the set grows under way
  return graph.inputs.filter((input) => seen.has(input));
}

/** Which nodes read each value; a node that reads it twice is listed once. */
export function consumersOf(nodes: readonly Node[]): Map<string, Node[]> {
  const consumers = new Map<string, Node[]>();
  for (const node of nodes) {
    for (const input of node.inputs) {
      if (input === '') continue;
      const list = consumers.get(input);
      if (list === undefined) consumers.set(input, [node]);
      else if (list.at(-1) !== node) list.push(node);
    }
  }
  return consumers;
}

/**
 * Nodes ordered so that each comes after the makers of its inputs; otherwise the given order is kept.
 * @throws RuntimeError E_MODEL_MALFORMED: a cycle, a value that nobody makes, or one made twice
 */
export function sortNodes(nodes: readonly Node[], given: Iterable<string>): Node[] {
  const ready = new Set(given);
  const sorting: Sorting = { ready, producers: soleProducers(nodes, ready), done: new Set(), sorted: [] };
  // In a graph that is sorted already, as most of each is, there is nothing to wait for.
  for (const node of nodes) if (!sorting.done.has(node) && !finished(node, sorting)) visit(node, sorting);
  return sorting.sorted;
}

/** Who makes each value. @throws RuntimeError E_MODEL_MALFORMED: one that is given, or made twice */
function soleProducers(nodes: readonly Node[], given: ReadonlySet<string>): Map<string, Node> {
  const producers = new Map<string, Node>();
  for (const node of nodes) {
    for (const output of node.outputs) {
      if (output === '') continue;
      if (given.has(output) || producers.has(output)) {
        throw new RuntimeError('E_MODEL_MALFORMED', `Value '${output}' is made twice, the second time by node '${node.name}'`, { details: { node: node.name } });
      }
      producers.set(output, node);
    }
  }
  return producers;
}

interface Sorting {
  /** Values that are given, and those that nodes in `sorted` make. */
  readonly ready: Set<string>;
  readonly producers: ReadonlyMap<string, Node>;
  readonly done: Set<Node>;
  readonly sorted: Node[];
}

function finish(node: Node, { ready, done, sorted }: Sorting): void {
  done.add(node);
  sorted.push(node);
  for (const output of node.outputs) ready.add(output);
}

/** Puts a node behind the others if all that it reads is there. */
function finished(node: Node, sorting: Sorting): boolean {
  for (const input of node.inputs) if (input !== '' && !sorting.ready.has(input)) return false;
  finish(node, sorting);
  return true;
}

/** Depth-first with an explicit stack: a hostile chain of nodes must not exhaust the call stack. */
function visit(start: Node, sorting: Sorting): void {
  const { ready, producers, done } = sorting;
  const open = new Set<Node>();
  const stack: { node: Node; next: number }[] = [{ node: start, next: 0 }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const { node } = top;
    const input = node.inputs[top.next++];
    open.add(node);
    if (input === undefined) {
      finish(node, sorting);
      open.delete(node);
      stack.pop();
      continue;
    }
    if (input === '' || ready.has(input)) continue;
    const producer = producers.get(input);
    if (producer === undefined) {
      throw new RuntimeError('E_MODEL_MALFORMED', `Node '${node.name}' reads '${input}', which nothing makes`, { details: { node: node.name, input } });
    }
    if (open.has(producer)) {
      throw new RuntimeError('E_MODEL_MALFORMED', `Node '${node.name}' is part of a cycle through '${input}'`, { details: { node: node.name, input } });
    }
    if (!done.has(producer)) stack.push({ node: producer, next: 0 });
  }
}

/** Without nodes and constants that no output depends on. Inputs stay: they are the model's interface. */
export function removeDead(graph: Graph): Graph {
  const live = new Set(graph.outputs);
  const kept: Node[] = [];
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i];
    if (node?.outputs.some((output) => live.has(output)) !== true) continue;
    kept.push(node);
    for (const input of node.inputs) live.add(input);
  }
  const nodes = kept.reverse();
  const made = new Set(graph.inputs);
  for (const node of nodes) for (const output of node.outputs) made.add(output);
  return {
    ...graph,
    nodes,
    constants: filtered(graph.constants, (name) => live.has(name)),
    types: filtered(graph.types, (name) => made.has(name) || live.has(name)),
  };
}

/** The entries whose keys `keep` accepts; the very same map when it accepts all, which most passes leave so. */
function filtered<T>(map: ReadonlyMap<string, T>, keep: (name: string) => boolean): ReadonlyMap<string, T> {
  let dropped = false;
  for (const name of map.keys()) {
    dropped = !keep(name);
    if (dropped) break;
  }
  if (!dropped) return map;
  const kept = new Map<string, T>();
  for (const [name, value] of map) if (keep(name)) kept.set(name, value);
  return kept;
}

/** A copy that shares nothing mutable with the original but the constants' element arrays. */
export function cloneGraph(graph: Graph): Graph {
  return {
    ...graph,
    inputs: [...graph.inputs],
    outputs: [...graph.outputs],
    nodes: graph.nodes.map((node) => ({ ...node, inputs: [...node.inputs], outputs: [...node.outputs], attributes: new Map(node.attributes) })),
    constants: new Map(graph.constants),
    types: new Map(graph.types),
    metadata: new Map(graph.metadata),
  };
}
