import { RuntimeError } from '../../errors.js';
import { fromNumbers, scalar, type TensorValue } from '../../graph/tensor-value.js';
import { int } from '../../graph/attributes.js';
import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { clampToCodes } from './clamp.js';
import type { NarrowValue } from '../formats/narrow-values.js';
import { recurrentWeights, weightOperands, type Layer, type QuantizationPlan } from '../prepare/plan.js';
import type { AffineParameters } from '../ranges/range.js';
import { channelMagnitudes, meanShift, quantizeBias, quantizeWeights, weightScales, type QuantizedWeights } from '../round/weights.js';
import { firstOutput, operand } from '../../graph/operands.js';

export interface QuantizedGraph {
  graph: Graph;
  /** What carries the dequantized form of a float value of the original graph, where it is 8-bit now. */
  names: ReadonlyMap<string, string>;
  /** What a weighted layer reads, dequantized, by output of the layer. */
  inputs: ReadonlyMap<string, string>;
  /** How many values the stored tensors of fewer than 256 can take. */
  levels: ReadonlyMap<string, number>;
}

/** Weights of a layer that were rounded beforehand. */
export interface RoundedLayer extends QuantizedWeights {
  /** How many values the weights can take. */
  levels: number;
  /** In place of the layer's own; undefined: the layer has none. */
  bias: Float32Array | undefined;
}

/** What the weights need to know besides themselves. */
export interface WeightContext {
  parameters: ReadonlyMap<string, AffineParameters>;
  /** Mean of each channel of a weighted layer's input, by value; without an entry the bias is not corrected. */
  channelMeans: ReadonlyMap<string, Float32Array>;
  /** Activations that some layers read with fewer codes, and those codes. */
  narrow: readonly (NarrowValue & { parameters: AffineParameters })[];
  /** By output of the layer; `float` leaves the weights as they are. */
  rounded: ReadonlyMap<string, RoundedLayer | 'float'>;
}

/** Parameters of a layer's input, as that layer reads it. */
export function inputParameters({ node }: Layer, { parameters, narrow }: Pick<WeightContext, 'parameters' | 'narrow'>): AffineParameters | undefined {
  const input = operand(node, 0);
  const few = narrow.find(({ value, readers }) => value === input && readers.has(firstOutput(node)));
  return few?.parameters ?? parameters.get(input);
}

const asFloats = (tensor: TensorValue): Float32Array => (tensor.data instanceof Float32Array ? tensor.data : Float32Array.from(tensor.data, Number));

/** Along which axis scales differ; with blocks, scales are a tensor with one for so many neighbours along it. */
interface ScaleAxis {
  axis: number;
  blocks?: { size: number; dims: readonly number[] } | undefined;
}

/**
 * DequantizeLinear of a constant with scales for each channel, or each block; returns the name of its float output.
 * @throws RuntimeError E_QUANTIZE: a scale beyond single precision
 */
export function dequantizeConstant(editor: GraphEditor, base: string, stored: TensorValue, scales: Float32Array, { axis, blocks }: ScaleAxis): string {
  const bad = scales.findIndex((scale) => !(scale > 0 && Number.isFinite(scale)));
  if (bad >= 0) {
    throw new RuntimeError('E_QUANTIZE', `The scale of channel ${bad} of '${base}' is ${scales[bad]}: weights, bias and inputs differ by too many orders of magnitude; exclude the layer`, {
      details: { value: base, channel: bad },
    });
  }
  const value = editor.addConstant(`${base}_quantized`, stored);
  const dims = blocks?.dims ?? [scales.length];
  const scale = editor.addConstant(`${base}_scale`, fromNumbers('float32', dims, scales));
  const zero = editor.addConstant(`${base}_zero_point`, fromNumbers(stored.dtype, dims, new Float32Array(scales.length)));
  return editor.insert(
    { name: `${base}_DequantizeLinear`, op: 'DequantizeLinear', inputs: [value, scale, zero], attributes: { axis: int(axis), ...(blocks === undefined ? {} : { block_size: int(blocks.size) }) } },
    { dtype: 'float32', shape: stored.dims },
  );
}

/** Weights and bias to 8 bits, each weight rounded to the nearest. */
function roundToNearest(graph: Graph, layer: Layer, inputScale: number, { channelMeans }: WeightContext): RoundedLayer | undefined {
  const operands = weightOperands(graph, layer.node);
  const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
  if (operands === undefined || weights === undefined) return undefined;
  const stored = operands.bias === undefined ? undefined : graph.constants.get(operands.bias);
  const bias = stored === undefined ? undefined : Float32Array.from(asFloats(stored));
  const quantized = quantizeWeights(weights, operands.axis, weightScales(channelMagnitudes(weights, operands.axis), bias, inputScale));
  const means = channelMeans.get(operand(layer.node, 0));
  const shift = means === undefined || operands.axis !== 0 ? undefined : meanShift(weights, quantized, means, operands.group);
  return { ...quantized, levels: 255, bias: correctBias(layer, bias, shift) };
}

/** Replaces weights and bias of a layer by dequantized 8-bit and 32-bit constants; returns the name of the former's float form. */
function quantizeOperands(editor: GraphEditor, graph: Graph, layer: Layer, context: WeightContext): string | undefined {
  const known = context.rounded.get(layer.output);
  const operands = weightOperands(graph, layer.node);
  const inputScale = inputParameters(layer, context)?.scale;
  const node = editor.producer(layer.node.outputs[0]);
  if (known === 'float' || operands === undefined || inputScale === undefined || node === undefined) return undefined;
  const quantized = known ?? roundToNearest(graph, layer, inputScale, context);
  if (quantized === undefined) return undefined;
  const { weights, scales, bias } = quantized;
  const restored = dequantizeConstant(editor, operands.weights, weights, scales, { axis: operands.axis });
  const inputs = [operand(node, 0), restored];
  if (bias !== undefined) {
    const { bias: integers, scales: biasScales } = quantizeBias(bias, inputScale, scales);
    const tensor: TensorValue = { dtype: 'int32', dims: [integers.length], data: integers };
    inputs.push(dequantizeConstant(editor, operands.bias ?? `${layer.output}_bias`, tensor, biasScales, { axis: 0 }));
  }
  editor.replace(node, { inputs: [...inputs, ...layer.node.inputs.slice(3)] });
  return restored;
}

/** Weights of a recurrent layer in 8 bits, with a scale for each gate of each unit: what it reads and computes stays float. */
function quantizeRecurrent(editor: GraphEditor, graph: Graph, recurrent: Node): void {
  const node = editor.producer(recurrent.outputs.find((name) => name !== ''));
  if (node === undefined) return;
  const restored = new Map(recurrentWeights(graph, node).map((name): [string, string] => {
    const weights = graph.constants.get(name);
    if (weights === undefined) return [name, name];
    const quantized = quantizeWeights(weights, 1, weightScales(channelMagnitudes(weights, 1), undefined, 1));
    return [name, dequantizeConstant(editor, name, quantized.weights, quantized.scales, { axis: 1 })];
  }));
  editor.replace(node, { inputs: node.inputs.map((name, i) => (i === 1 || i === 2 ? (restored.get(name) ?? name) : name)) });
}

/** MatMul has no bias operand to correct. */
function correctBias(layer: Layer, bias: Float32Array | undefined, shift: Float32Array | undefined): Float32Array | undefined {
  if (shift === undefined || layer.node.op === 'MatMul') return bias;
  return shift.map((value, channel) => (bias?.[channel] ?? 0) - value);
}

/** QuantizeLinear and DequantizeLinear behind a value; returns what carries the dequantized form. */
function quantizeValue(editor: GraphEditor, value: string, parameters: AffineParameters, readers: ReadonlySet<string> | 'all'): string {
  const scale = editor.addConstant(`${value}_scale`, scalar('float32', parameters.scale));
  const zero = editor.addConstant(`${value}_zero_point`, scalar('uint8', parameters.zeroPoint));
  const { shape } = editor.type(value);
  let source = value;
  const maker = editor.producer(value);
  const keepsName = readers === 'all' && editor.isOutput(value) && maker !== undefined;
  if (keepsName) {
    // An output of the model keeps its name: its maker writes to another one.
    source = editor.fresh(`${value}_float`);
    editor.setType(source, { dtype: 'float32', shape });
    editor.replace(maker, { outputs: maker.outputs.map((output) => (output === value ? source : output)) });
  }
  const consumers = keepsName ? [] : editor.consumers(value);
  const clamped = clampToCodes(editor, source, parameters);
  const stored = editor.insert({ name: `${value}_QuantizeLinear`, op: 'QuantizeLinear', inputs: [clamped, scale, zero] }, { dtype: 'uint8', shape });
  const spec = { name: `${value}_DequantizeLinear`, op: 'DequantizeLinear', inputs: [stored, scale, zero] };
  if (keepsName) {
    editor.add({ ...spec, outputs: [value] });
    return value;
  }
  const restored = editor.insert(spec, { dtype: 'float32', shape });
  for (const consumer of consumers) {
    if (readers !== 'all' && !readers.has(firstOutput(consumer))) continue;
    editor.replace(consumer, { inputs: consumer.inputs.map((input) => (input === value ? restored : input)) });
  }
  return restored;
}

/**
 * The plan carried out: a graph with QuantizeLinear / DequantizeLinear pairs (QDQ), which computes in floating point what an
 * 8-bit engine computes in integers.
 * @param graph operator set 13 or later (per-channel DequantizeLinear)
 */
export function insertQuantization(graph: Graph, plan: QuantizationPlan, context: WeightContext): QuantizedGraph {
  const editor = new GraphEditor(graph);
  const levels = new Map<string, number>();
  const note = (restored: string, count: number | undefined): void => {
    const stored = editor.producer(restored)?.inputs[0];
    if (stored !== undefined && count !== undefined) levels.set(stored, count);
  };
  for (const layer of plan.layers) {
    const restored = layer.kind === 'weighted' ? quantizeOperands(editor, graph, layer, context) : undefined;
    const rounded = context.rounded.get(layer.output);
    if (restored !== undefined && rounded !== undefined && rounded !== 'float' && rounded.levels < 255) note(restored, rounded.levels);
  }
  for (const node of plan.recurrent) quantizeRecurrent(editor, graph, node);
  const made = new Set(plan.layers.map((layer) => layer.output));
  // Nodes are replaced while values are rewritten; their first output identifies them throughout.
  const readers = new Set(plan.layers.map((layer) => firstOutput(layer.node)));
  const names = new Map<string, string>();
  const copies = new Map<string, string>();
  for (const value of plan.values) {
    const parameters = context.parameters.get(value);
    if (parameters === undefined) continue;
    const whole = quantizeValue(editor, value, parameters, made.has(value) ? 'all' : readers);
    names.set(value, whole);
    note(whole, parameters.levels);
    for (const { readers: few, parameters: fewer } of context.narrow.filter((narrow) => narrow.value === value && !narrow.replaces)) {
      const restored = quantizeValue(editor, whole, fewer, few);
      note(restored, fewer.levels);
      for (const reader of few) copies.set(reader, restored);
    }
  }
  const inputs = new Map(plan.layers.flatMap(({ node, output }) => {
    const input = copies.get(firstOutput(node)) ?? names.get(operand(node, 0));
    return input === undefined ? [] : [[output, input] as const];
  }));
  return { graph: editor.finish(), names, inputs, levels };
}
