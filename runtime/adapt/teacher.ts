/**
 * The judge that a package carries in itself: its model without the rounding of activations. Weights are those of the package's codes, so that what this
 * model puts out differs from what the package's puts out by what the thresholds of activations cost, and by nothing else.
 */
import { ints } from '../graph/attributes.js';
import { typeOf, type Graph, type Node } from '../graph/graph.js';
import { elementCount, int64s, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { saturationLimits } from '../quantize/prepare/saturation.js';
import type { Range } from '../quantize/ranges/range.js';
import type { QuantizedModel } from './apply.js';

/** The model with float activations wherever their thresholds may move. */
export function floatActivations({ graph, groups }: QuantizedModel): Graph {
  const free = new Set(groups.filter(({ fixed }) => fixed === null).flatMap(({ scales }) => scales));
  const isFree = ({ op, inputs: [value = '', scale = ''] }: Node): boolean => (op === 'QuantizeLinear' || op === 'DequantizeLinear') && free.has(scale) && !graph.constants.has(value);
  const behind = new Map<string, string>();
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((input) => behind.get(input) ?? input);
    const [output = ''] = node.outputs;
    if (!isFree(node)) nodes.push({ ...node, inputs });
    else if (graph.outputs.includes(output)) nodes.push({ ...node, op: 'Identity', inputs: inputs.slice(0, 1), attributes: new Map() });
    else behind.set(output, inputs[0] ?? '');
  }
  return { ...graph, nodes };
}

/** About so many elements of a value are looked at in each run. */
const tapElements = 2048;

/** Steps of a slice along each axis that leave about as many elements as are looked at. */
function stepsFor(shape: Shape): number[] {
  const surplus = elementCount(shape) / tapElements;
  const steps = shape.map(() => 1);
  if (surplus <= 1) return steps;
  // Of a picture the pixels are thinned out, and all channels are seen: they differ more than neighbours do.
  const axes = shape.length === 4 ? [2, 3] : [shape.length - 1];
  for (const axis of axes) steps[axis] = Math.max(1, Math.min(shape[axis] ?? 1, Math.ceil(surplus ** (1 / axes.length))));
  return steps;
}

export interface Taps {
  readonly graph: Graph;
  /** By value: the outputs that hold some of its elements, its smallest and its largest one. */
  readonly outputs: ReadonlyMap<string, { some: string; least: string; most: string }>;
}

/**
 * The graph with outputs that say which numbers each value takes: every so many elements, and both extremes. The values as a whole would take more
 * memory than a device has. They are looked at as soon as they are there: nodes at the end of the graph would keep all of them until then.
 */
export function tapped(graph: Graph, values: readonly string[]): Taps {
  const constants = new Map(graph.constants);
  const types = new Map(graph.types);
  const outputs = new Map<string, { some: string; least: string; most: string }>();
  const behind = new Map<string, Node[]>();
  values.forEach((value, i) => {
    const { shape } = typeOf(graph, value);
    const steps = stepsFor(shape);
    const names = { some: `adapt.some${i}`, least: `adapt.least${i}`, most: `adapt.most${i}` };
    const operands = { starts: shape.map(() => 0), ends: shape, axes: shape.map((_, axis) => axis), steps };
    for (const [name, numbers] of Object.entries(operands)) constants.set(`adapt.${name}${i}`, int64s([...numbers]));
    types.set(names.some, { dtype: 'float32', shape: shape.map((dim, axis) => Math.ceil(dim / (steps[axis] ?? 1))) });
    for (const name of [names.least, names.most]) types.set(name, { dtype: 'float32', shape: shape.map(() => 1) });
    outputs.set(value, names);
    behind.set(value, [
      { name: names.some, op: 'Slice', inputs: [value, ...Object.keys(operands).map((name) => `adapt.${name}${i}`)], outputs: [names.some], attributes: new Map() },
      ...([['ReduceMin', names.least], ['ReduceMax', names.most]] as const).map(([op, name]) => reduction(graph.opset, { op, value, name, rank: shape.length }, constants)),
    ]);
  });
  const of = (made: readonly string[]): Node[] => made.flatMap((value) => behind.get(value) ?? []);
  const nodes = [...of(graph.inputs), ...graph.nodes.flatMap((node) => [node, ...of(node.outputs)])];
  return { graph: { ...graph, nodes, constants, types, outputs: [...graph.outputs, ...[...outputs.values()].flatMap(({ some, least, most }) => [some, least, most])] }, outputs };
}

/** Over all axes. From operator set 18 on, they are an operand. */
function reduction(opset: number, { op, value, name, rank }: { op: string; value: string; name: string; rank: number }, constants: Map<string, TensorValue>): Node {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  if (opset < 18) return { name, op, inputs: [value], outputs: [name], attributes: new Map([['axes', ints(axes)]]) };
  constants.set(`${name}.axes`, int64s(axes));
  return { name, op, inputs: [value, `${name}.axes`], outputs: [name], attributes: new Map() };
}

/** Beyond these ends nothing reads a value: a Sigmoid does not change from 8 on. */
export const limitsOfValues = (graph: Graph): ReadonlyMap<string, Range> => saturationLimits(graph);
