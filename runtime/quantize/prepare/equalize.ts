import { GraphEditor } from '../../graph/editor.js';
import { consumersOf, typeOf, type Graph, type Node } from '../../graph/graph.js';
import type { TensorValue } from '../../graph/tensor-value.js';
import { weightOperands, type Layer, type QuantizationPlan } from './plan.js';
import { SharedGroups } from '../ranges/shared-groups.js';
import { firstOutput } from '../../graph/operands.js';

/**
 * Values whose channels can be rescaled together without changing what the network computes: convolutions write them, and
 * only convolutions read them. Between the two may be operators that commute with a positive factor per channel.
 */
export interface ChannelGroup {
  values: readonly string[];
  makers: readonly Layer[];
  readers: readonly Layer[];
}

/** f(s x) = s f(x) for s > 0. Clip is not among them: a bound would have to move with the channel. */
const homogeneous: ReadonlySet<string> = new Set(['Conv', 'Conv+Relu', 'Conv+PRelu', 'Conv+LeakyRelu']);
/** Linear or homogeneous in all their operands at once, channel by channel. */
const channelwise: ReadonlySet<string> = new Set(['Add', 'Add+Relu', 'Sub', 'Sub+Relu', 'MaxPool', 'AveragePool', 'GlobalAveragePool', 'Resize', 'Relu', 'LeakyRelu']);

const isConvolution = (layer: Layer): boolean => layer.kind === 'weighted' && layer.node.op === 'Conv';

/** A layer that passes channels on; operands of an addition must not broadcast. */
function passesChannels(graph: Graph, layer: Layer): boolean {
  if (!channelwise.has(layer.op)) return false;
  const channels = (value: string): number | undefined => typeOf(graph, value).shape[1];
  const rank = typeOf(graph, layer.output).shape.length;
  return layer.inputs.every((input) => typeOf(graph, input).shape.length === rank && channels(input) === channels(layer.output));
}

/** The groups of a plan, in no particular order. */
export function findChannelGroups(graph: Graph, plan: QuantizationPlan): ChannelGroup[] {
  const layers = new Map(plan.layers.map((layer) => [firstOutput(layer.node), layer]));
  const makers = new Map(plan.layers.map((layer) => [layer.output, layer]));
  const passing = new Set(plan.layers.filter((layer) => passesChannels(graph, layer)));
  const groups = new SharedGroups();
  for (const layer of passing) for (const input of layer.inputs) groups.join(input, layer.output);
  const consumers = consumersOf(graph.nodes);
  const found: ChannelGroup[] = [];
  for (const values of groups.partition(plan.values)) {
    const made = values.map((value) => makers.get(value));
    const read = values.flatMap((value) => (consumers.get(value) ?? []).map((node: Node) => layers.get(firstOutput(node))));
    const writers = made.filter((layer) => layer !== undefined && !passing.has(layer));
    const readers = [...new Set(read.filter((layer) => layer !== undefined && !passing.has(layer)))];
    const closed =
      values.every((value) => !graph.outputs.includes(value)) &&
      made.every((layer) => layer !== undefined && (passing.has(layer) || (isConvolution(layer) && homogeneous.has(layer.op)))) &&
      read.every((layer) => layer !== undefined && (passing.has(layer) || isConvolution(layer)));
    if (closed) found.push({ values, makers: writers.filter(isLayer), readers: readers.filter(isLayer) });
  }
  return found;
}

const isLayer = (layer: Layer | undefined): layer is Layer => layer !== undefined;

interface LayerWeights {
  dims: readonly number[];
  data: Float32Array;
  /** Axis of the output channels. */
  axis: number;
  group: number;
}

function weightsOf(graph: Graph, layer: Layer): LayerWeights | undefined {
  const operands = weightOperands(graph, layer.node);
  const tensor = operands === undefined ? undefined : graph.constants.get(operands.weights);
  if (operands === undefined || !(tensor?.data instanceof Float32Array)) return undefined;
  return { dims: tensor.dims, data: tensor.data, axis: operands.axis, group: operands.group };
}

/** Calls `visit` with every weight, its output channel and the input channel that it multiplies. */
function forEachWeight({ dims, data, axis, group }: LayerWeights, visit: (index: number, output: number, input: number) => void): void {
  if (axis === 1) {
    const [, columns = 1] = dims;
    for (let index = 0; index < data.length; index++) visit(index, index % columns, Math.floor(index / columns));
    return;
  }
  const [outputs = 1, inputsPerGroup = 1] = dims;
  const taps = data.length / (outputs * inputsPerGroup);
  const outputsPerGroup = outputs / group;
  let index = 0;
  for (let output = 0; output < outputs; output++) {
    const first = Math.floor(output / outputsPerGroup) * inputsPerGroup;
    for (let i = 0; i < inputsPerGroup; i++) for (let tap = 0; tap < taps; tap++) visit(index++, output, first + i);
  }
}

const isDepthwise = ({ dims, group }: LayerWeights): boolean => group > 1 && dims[1] === 1;

/**
 * How much the weights of each input channel use of their output channels' ranges, 0..1: a channel whose weights are small
 * everywhere can be scaled up in the weights (and down in the activation) at no cost.
 */
function weightShares(weights: LayerWeights, channels: number): Float32Array {
  const rows = new Float32Array(weights.dims[0] ?? 1);
  forEachWeight(weights, (index, output) => (rows[output] = Math.max(rows[output] ?? 0, Math.abs(weights.data[index] ?? 0))));
  const shares = new Float32Array(channels);
  forEachWeight(weights, (index, output, input) => {
    const row = rows[output] ?? 0;
    if (row > 0) shares[input] = Math.max(shares[input] ?? 0, Math.abs(weights.data[index] ?? 0) / row);
  });
  return shares;
}

/** Factors beyond this only amplify what calibration happened not to see. */
const largestFactor = 32;

/** What to divide a group's channels by so that they use the common range more alike. */
function factorsFor(graph: Graph, group: ChannelGroup, magnitudes: ReadonlyMap<string, Float32Array>, migration: number): Float32Array | undefined {
  const [first] = group.values;
  const channels = first === undefined ? 0 : (typeOf(graph, first).shape[1] ?? 0);
  const activation = new Float32Array(channels);
  for (const value of group.values) {
    const seen = magnitudes.get(value);
    const whole = Math.max(...(seen ?? []));
    if (seen === undefined || seen.length !== channels || !(whole > 0)) return undefined;
    seen.forEach((magnitude, c) => (activation[c] = Math.max(activation[c] ?? 0, magnitude / whole)));
  }
  const weights = group.readers.map((reader) => weightsOf(graph, reader));
  const dense = weights.filter((w) => w !== undefined && !isDepthwise(w));
  const shares = new Float32Array(channels);
  for (const w of dense) if (w !== undefined) weightShares(w, channels).forEach((share, c) => (shares[c] = Math.max(shares[c] ?? 0, share)));
  // A depthwise reader has a scale of its own for every channel: it takes any factor without loss.
  const cost = (c: number): number => (dense.length === 0 ? 1 : Math.max(shares[c] ?? 0, 1e-6));
  const raw = activation.map((a, c) => Math.max(a, 1e-6) ** migration / cost(c) ** (1 - migration));
  const isLive = (c: number): boolean => (activation[c] ?? 0) > 0;
  const live = raw.filter((_, c) => isLive(c));
  // A channel that calibration never saw counts as one like the others: made as small as it seemed, it would be clipped when it comes alive.
  const typical = live.reduce((sum, value) => sum + value, 0) / live.length;
  // Only ratios matter. The widest channel sets the level.
  const level = Math.max(...live);
  return raw.map((value, c) => Math.max(1 / largestFactor, (isLive(c) ? value : typical) / level));
}

/** Multiplies the weights of a layer by factors of its input's channels. */
export function scaleReader(editor: GraphEditor, graph: Graph, layer: Node, factors: Float32Array): void {
  scaleWeights(editor, graph, layer, (weight, _output, input) => weight * (factors[input] ?? 1));
}

/** Divides weights and bias of a layer by factors of its output's channels. */
export function scaleMaker(editor: GraphEditor, graph: Graph, layer: Node, factors: Float32Array): void {
  scaleWeights(editor, graph, layer, (weight, output) => weight / (factors[output] ?? 1));
  divideOperand(editor, layer, 2, factors);
}

/** @param layer as it was before anything was edited */
function scaleWeights(editor: GraphEditor, graph: Graph, layer: Node, scaled: (weight: number, output: number, input: number) => number): void {
  const operands = weightOperands(graph, layer);
  const tensor = editor.constant(editor.producer(layer.outputs[0])?.inputs[1]);
  if (operands === undefined || !(tensor?.data instanceof Float32Array)) return;
  const data = Float32Array.from(tensor.data);
  forEachWeight({ dims: tensor.dims, data: tensor.data, axis: operands.axis, group: operands.group }, (index, output, input) => (data[index] = scaled(data[index] ?? 0, output, input)));
  replaceOperand(editor, layer, 1, { dtype: 'float32', dims: tensor.dims, data });
}

/** Divides a constant operand, which has one number for each channel, by factors of the channels. */
export function divideOperand(editor: GraphEditor, node: Node, position: number, factors: Float32Array): void {
  const value = editor.constant(editor.producer(node.outputs[0])?.inputs[position]);
  if (value?.data instanceof Float32Array) replaceOperand(editor, node, position, { ...value, data: value.data.map((x, c) => x / (factors[c] ?? 1)) });
}

function replaceOperand(editor: GraphEditor, node: Node, position: number, value: TensorValue): void {
  const current = editor.producer(node.outputs[0]);
  if (current === undefined) return;
  const name = editor.addConstant(`${current.inputs[position] ?? node.name}_equalized`, value);
  editor.replace(current, { inputs: current.inputs.map((input, i) => (i === position ? name : input)) });
}

/**
 * Rescales channels so that those of one tensor have like ranges and its single 8-bit scale fits them all: cross-layer
 * equalization (Nagel et al., arXiv 1906.04721, section 4.1), with the ranges of activations taken from data and shared
 * with the weights as in SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4). The function of the network is unchanged
 * but for rounding.
 * @param magnitudes largest magnitude of each channel (axis 1) of the groups' values
 * @param migration 0..1: how much of the imbalance of activations is taken away. All of it would leave a channel no room above
 * what calibration saw; half keeps the narrow ones, which are the most, well inside the common range.
 */
export function equalizeChannels(graph: Graph, groups: readonly ChannelGroup[], magnitudes: ReadonlyMap<string, Float32Array>, migration = 0.5): Graph {
  const editor = new GraphEditor(graph);
  for (const group of groups) {
    const factors = factorsFor(graph, group, magnitudes, migration);
    if (factors === undefined) continue;
    for (const { node } of group.makers) scaleMaker(editor, graph, node, factors);
    for (const { node } of group.readers) scaleReader(editor, graph, node, factors);
  }
  return editor.finish();
}
