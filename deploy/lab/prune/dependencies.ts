import type { Graph, Node } from '../../../runtime/graph/graph.js';
import { elementCount } from '../../../runtime/graph/tensor-value.js';
import { Channels, fixedChannel } from './channels.js';
import { traceNode } from './rules.js';
import { Tracer, type Cut, type Restatement } from './tracer.js';

/** Channels that layers make side by side: any of them may go without another, and their number is what is aligned. */
export interface ChannelGroup {
  /** The layers that make them, by name; several where their outputs are added. */
  readonly makers: readonly string[];
  readonly channels: readonly number[];
  /** Indices that a channel takes in the output of its layers: more than one where convolutions have groups. */
  readonly width: number;
}

/** A layer with constant weights, and the channels along both sides of them. */
export interface WeightedLayer {
  readonly node: Node;
  /** Multiply-adds of the whole layer. */
  readonly macs: number;
  readonly sides: readonly (readonly number[])[];
}

/** What of a graph depends on which channel. Channels are numbers that stand for all that go together; `fixedChannel` stays. */
export interface Dependencies {
  readonly graph: Graph;
  readonly groups: readonly ChannelGroup[];
  readonly cuts: readonly Cut[];
  readonly restated: readonly Restatement[];
  readonly layers: readonly WeightedLayer[];
}

function groupsOf(cuts: readonly Cut[]): ChannelGroup[] {
  const beside = new Channels();
  const numbers = new Map<number, number>();
  const numberOf = (id: number): number => {
    const known = numbers.get(id) ?? beside.fresh(1)[0] ?? fixedChannel;
    numbers.set(id, known);
    return known;
  };
  const made = cuts.filter(({ role, operand }) => role === 'makes' && operand === 1).map((cut) => ({ cut, free: [...new Set(cut.ids)].filter((id) => id !== fixedChannel) }));
  for (const { free } of made) for (const id of free) beside.join(numberOf(id), numberOf(free[0] ?? id));
  const groups = new Map<number, { makers: Set<string>; channels: Set<number>; width: number }>();
  for (const { cut, free } of made) {
    if (free.length === 0) continue;
    const key = beside.find(numberOf(free[0] ?? fixedChannel));
    const group = groups.get(key) ?? { makers: new Set(), channels: new Set(), width: 1 };
    group.makers.add(cut.node.name);
    for (const id of free) group.channels.add(id);
    group.width = Math.max(group.width, cut.ids.filter((id) => id !== fixedChannel).length / free.length);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ makers, channels, width }) => ({ makers: [...makers], channels: [...channels], width }));
}

function layersOf(graph: Graph, cuts: readonly Cut[]): WeightedLayer[] {
  return graph.nodes.flatMap((node) => {
    const own = cuts.filter((cut) => cut.node === node && cut.operand === 1 && graph.constants.get(cut.constant)?.dims.length !== 1);
    const [first] = own;
    if (first === undefined || !['Conv', 'ConvTranspose', 'Gemm', 'MatMul'].includes(node.op)) return [];
    // Each element of the output (of a transposed convolution: the input) meets the weights of one channel.
    const met = graph.types.get((node.op === 'ConvTranspose' ? node.inputs : node.outputs)[0] ?? '')?.shape ?? [];
    const weights = graph.constants.get(first.constant)?.dims ?? [];
    const channels = node.op === 'Conv' || node.op === 'ConvTranspose' ? (met[1] ?? 1) : (met.at(-1) ?? 1);
    return [{ node, macs: (elementCount(met) / channels) * elementCount(weights), sides: own.map(({ ids }) => ids) }];
  });
}

/**
 * Finds which channels of a network go together: those that are added, multiplied or concatenated element by element, pass through depthwise
 * convolutions and normalizations, belong to the same place of each group of a convolution, or are flattened into a matrix product.
 * @param graph inferred, of ONNX operators
 * @param exclude names of nodes whose output channels all stay
 */
export function findDependencies(graph: Graph, exclude: ReadonlySet<string> = new Set()): Dependencies {
  const tracer = new Tracer(graph);
  for (const node of graph.nodes) {
    traceNode(tracer, node);
    if (exclude.has(node.name)) for (const output of node.outputs) tracer.fix(output);
  }
  tracer.settle();
  const found = (ids: readonly number[]): number[] => ids.map((id) => tracer.channels.find(id));
  const cuts = tracer.cuts.map((cut) => ({ ...cut, ids: found(cut.ids) }));
  const restated = tracer.restated.map((item): Restatement => (item.kind === 'group' ? { ...item, ids: found(item.ids) } : { ...item, lanes: { ...item.lanes, ids: found(item.lanes.ids) } }));
  return { graph, groups: groupsOf(cuts), cuts, restated, layers: layersOf(graph, cuts) };
}
