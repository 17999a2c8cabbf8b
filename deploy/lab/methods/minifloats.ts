import { RuntimeError } from '../../../runtime/errors.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import type { ChosenSizes } from '../../../runtime/graph/open-dimensions.js';
import { raiseOpset } from '../../../runtime/graph/raise-opset.js';
import { elementCount, type Shape, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { formatsFor, leastBits, MinifloatRounding, mostBits, splitText, type MinifloatFormat } from '../../../runtime/minifloat/format.js';
import { minifloatDomain, minifloatFunction, minifloatOpset, storeMinifloats } from '../../../runtime/minifloat/stored.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode } from '../../../runtime/onnx/types.js';
import { simplifyOnnx } from '../../../runtime/optimize/optimize.js';
import type { Feeds } from '../../../runtime/quantize/observe/calibrate.js';
import type { ColumnSample } from '../../../runtime/quantize/observe/columns.js';
import { planQuantization, weightOperands } from '../../../runtime/quantize/prepare/plan.js';
import { sqnrDb } from '../../../runtime/quantize/report/fidelity.js';
import { observeFloat } from '../../../runtime/quantize/round/round-layers.js';

/** Which operands of an operator are weights that are stored as minifloats, and along which of their axes the outputs of the layer lie. */
const weights: Readonly<Record<string, Readonly<Record<number, number>>>> = {
  Conv: { 1: 0 }, ConvTranspose: { 1: 1 }, Gemm: { 1: 1 }, MatMul: { 0: -2, 1: -1 }, Gather: { 0: 0 }, RNN: { 1: 1, 2: 1 }, GRU: { 1: 1, 2: 1 }, LSTM: { 1: 1, 2: 1 },
};

const axisOf = ({ op, attributes }: OnnxNode, operand: number): number | undefined => (op === 'Gemm' && operand === 1 && attributes.get('transB')?.value === 1 ? 0 : weights[op]?.[operand]);

/** Smaller tensors cost more as nodes than their bits save. */
const fewest = 256;

/** Weights by which a split is chosen, evenly spread over the tensor. */
const looked = 16_384;

/** Mean square of what a weight of a tensor multiplies, by its place. */
type Importance = (place: number) => number;

export interface MinifloatTensor {
  tensor: string;
  weights: number;
  /** Bits of exponent and mantissa: `e5m5`. */
  split: string;
  bias: number;
  /** Signal-to-noise ratio of the weights; null: none is changed. */
  sqnr_db: number | null;
  /** The same of the layer's output, were its inputs not correlated; null without samples, or of an operator whose inputs are not looked at. */
  output_sqnr_db: number | null;
}

export interface MinifloatReport {
  bits: number;
  input_bytes: number;
  output_bytes: number;
  tensors: MinifloatTensor[];
  /** Share of the float32 numbers of the file that are minifloats now. */
  share: number;
  samples: number;
}

export interface MinifloatSettings {
  /** Of a number, 6 to 16. */
  readonly bits: number;
  /** Inputs like those that the model will see: each split is then the best for the output of its layer instead of for the weights. */
  readonly samples?: readonly Feeds[];
  readonly sizes?: ChosenSizes;
}

/** Channels of less energy than this share of the largest one's count as if they had so much: dead ones have weights that are all but zero. */
const negligible = 1e-6;

/** A tensor of weights: how many output channels it has, how many of its numbers lie behind one step along their axis, and what they multiply. */
interface Weights {
  readonly data: Float32Array;
  readonly channels: number;
  readonly inner: number;
  readonly importance?: Importance | undefined;
}

interface Noise {
  readonly plain: { signal: number; noise: number };
  readonly output: { signal: number; noise: number };
  /** Mean over the channels of noise to signal. */
  readonly share: number;
}

/**
 * What rounding takes from every `stride`-th weight. Channels count alike, whatever their size: what follows a layer may make small ones large, and a
 * format with a short range would keep the large ones alone.
 */
function noiseOf({ data, channels, inner, importance }: Weights, format: MinifloatFormat, stride = 1): Noise {
  const [plain, output] = [{ signal: 0, noise: 0 }, { signal: 0, noise: 0 }];
  const [signals, noises] = [new Float64Array(channels), new Float64Array(channels)];
  const rounding = new MinifloatRounding(format);
  for (let i = 0; i < data.length; i += stride) {
    const x = data[i] ?? 0;
    const [signal, noise, weight, channel] = [x * x, (x - rounding.round(x)) ** 2, importance?.(i) ?? 0, Math.floor(i / inner) % channels];
    plain.signal += signal;
    plain.noise += noise;
    output.signal += weight * signal;
    output.noise += weight * noise;
    const counted = importance === undefined ? 1 : weight;
    signals[channel] = (signals[channel] ?? 0) + counted * signal;
    noises[channel] = (noises[channel] ?? 0) + counted * noise;
  }
  const least = negligible * signals.reduce((most, signal) => Math.max(most, signal), 0);
  return { plain, output, share: noises.reduce((sum, noise, c) => sum + (noise === 0 ? 0 : noise / Math.max(least, signals[c] ?? 0)), 0) / channels };
}

/** The split and bias with the least error, as a share of each channel: of the layer's outputs where it is known what it reads, else of the weights. */
export function chooseMinifloat(tensor: Weights, bits: number): MinifloatFormat {
  const { data } = tensor;
  const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  // A stride that shares a factor with the width of the rows would look at some columns only.
  const stride = Math.max(1, Math.floor(data.length / looked)) | 1;
  let [best, least] = [formatsFor(bits, largest)[0], Infinity];
  for (const format of formatsFor(bits, largest)) {
    const { share } = noiseOf(tensor, format, stride);
    if (share < least) [best, least] = [format, share];
  }
  if (best === undefined) throw new RuntimeError('E_QUANTIZE', `No float of ${bits} bits holds ${largest}`);
  return best;
}

/** Of each weight of a layer, by the columns that it read. */
function importanceOf({ values, count, layout: { groups, depth, outputs } }: ColumnSample, axis: number): Importance {
  const width = groups * depth;
  const squares = new Float64Array(width);
  for (let c = 0; c < count; c++) for (let k = 0; k < width; k++) squares[k] = (squares[k] ?? 0) + (values[c * width + k] ?? 0) ** 2 / count;
  return axis === 0 ? (i) => squares[Math.floor((Math.floor(i / depth) * groups) / outputs) * depth + (i % depth)] ?? 0 : (i) => squares[Math.floor(i / outputs)] ?? 0;
}

async function importances(graph: Graph, samples: readonly Feeds[]): Promise<Map<string, Importance>> {
  const layers = planQuantization(graph).layers.filter(({ kind }) => kind === 'weighted');
  const found = new Map<string, Importance>();
  for (const [layer, columns] of await observeFloat({ graph, samples, engine: undefined }, layers)) {
    const operands = weightOperands(graph, layer.node);
    if (operands !== undefined) found.set(operands.weights, importanceOf(columns, operands.axis));
  }
  return found;
}

/** Tensors that nodes of a graph read as weights and nothing else reads, with the axis of the outputs. */
function weightAxes({ nodes, outputs }: OnnxGraph): Map<string, number> {
  const [found, others] = [new Map<string, number>(), new Set(outputs.map(({ name }) => name))];
  for (const node of nodes) {
    node.inputs.forEach((name, i) => {
      const axis = axisOf(node, i);
      if (axis === undefined) others.add(name);
      else found.set(name, axis);
    });
  }
  return new Map([...found].filter(([name]) => !others.has(name)));
}

const valueOf = ({ op, attributes }: OnnxNode): TensorValue | undefined => {
  const attribute = op === 'Constant' ? attributes.get('value') : undefined;
  return attribute?.type === 'tensor' ? attribute.value : undefined;
};

/** Rewrites graphs, those of branches and loops too. */
class Rewriting {
  readonly tensors: MinifloatTensor[] = [];
  readonly functions = new Map<string, OnnxFunction>();
  numbers = 0;

  constructor(private readonly bits: number, private readonly importance: ReadonlyMap<string, Importance>) {}

  graph(graph: OnnxGraph): OnnxGraph {
    const wanted = weightAxes(graph);
    const initializers = new Map(graph.initializers);
    const made: OnnxNode[] = [];
    const replace = (name: string, value: TensorValue | undefined): boolean => {
      if (!(value?.data instanceof Float32Array)) return false;
      this.numbers += value.data.length;
      const axis = wanted.get(name);
      if (axis === undefined || value.dims.length < 2 || elementCount(value.dims) < fewest) return false;
      initializers.delete(name);
      const { constants, node } = this.store(name, value.dims, value.data, axis < 0 ? value.dims.length + axis : axis);
      for (const [key, stored] of constants) initializers.set(key, stored);
      return made.push(node) > 0;
    };
    for (const [name, value] of graph.initializers) replace(name, value);
    const nodes = graph.nodes.filter((node) => !replace(node.outputs[0] ?? '', valueOf(node))).map((node) => this.node(node));
    // Old files list initializers among the inputs, and these are none any more.
    const gone = new Set(made.map(({ outputs: [name = ''] }) => name));
    return { ...graph, initializers, nodes: [...made, ...nodes], inputs: graph.inputs.filter(({ name }) => !gone.has(name)) };
  }

  private node(node: OnnxNode): OnnxNode {
    if (![...node.attributes.values()].some(({ type }) => type === 'graph')) return node;
    return { ...node, attributes: new Map([...node.attributes].map(([name, value]) => [name, value.type === 'graph' ? { type: 'graph', value: this.graph(value.value) } : value])) };
  }

  private store(name: string, dims: Shape, data: Float32Array, axis: number): ReturnType<typeof storeMinifloats> {
    const importance = this.importance.get(name);
    const tensor = { data, channels: dims[axis] ?? 1, inner: elementCount(dims.slice(axis + 1)), importance };
    const format = chooseMinifloat(tensor, this.bits);
    const { plain, output } = noiseOf(tensor, format);
    this.tensors.push({ tensor: name, weights: data.length, split: splitText(format), bias: format.bias, sqnr_db: sqnrDb(plain), output_sqnr_db: importance === undefined ? null : sqnrDb(output) });
    const stored = storeMinifloats(name, { dims, data }, format);
    this.functions.set(stored.node.op, minifloatFunction(format));
    return stored;
  }
}

/** Bits of a number as a name of a format says them: `minifloat11`; undefined: it is none. */
export function minifloatBits(format: string): number | undefined {
  const bits = /^minifloat(\d+)$/.exec(format)?.[1];
  return bits === undefined ? undefined : Number(bits);
}

/** The model in an operator set that can express the functions; one of an earlier set loses its open sizes. @throws RuntimeError E_QUANTIZE */
function expressible(model: OnnxModel, sizes: ChosenSizes): OnnxModel {
  if ((model.opsets.get('') ?? 0) >= minifloatOpset) return model;
  return graphToOnnx(raiseOpset(simplifyOnnx(graphFromOnnx(model, sizes)), 'E_QUANTIZE'));
}

/** Functions came with the eighth version of the format. */
const functionsIr = 8;

/**
 * Stores the weights of a float model as minifloats, each tensor with the split of the bits that costs least; nothing is trained. The model stays a
 * float model: the weights are expanded when it is loaded.
 * @throws RuntimeError E_QUANTIZE: bits that cannot be, a model without float32 weights; E_MODEL_*
 */
export async function toMinifloats(bytes: Uint8Array, { bits, samples = [], sizes = {} }: MinifloatSettings): Promise<{ model: Uint8Array; report: MinifloatReport }> {
  if (!Number.isInteger(bits) || bits < leastBits || bits > mostBits) throw new RuntimeError('E_QUANTIZE', `Expected ${leastBits} to ${mostBits} bits for a minifloat but received ${bits}`);
  const model = expressible(parseModel(bytes), sizes);
  const importance = samples.length === 0 ? new Map<string, Importance>() : await importances(inferShapes(graphFromOnnx(model, sizes)), samples);
  const rewriting = new Rewriting(bits, importance);
  const graph = rewriting.graph(model.graph);
  const { tensors, functions, numbers } = rewriting;
  if (tensors.length === 0) throw new RuntimeError('E_QUANTIZE', `The model has no float32 weights of at least ${fewest} numbers that could be minifloats`);
  const made = serializeModel({
    ...model, graph, irVersion: Math.max(model.irVersion, functionsIr), opsets: new Map([...model.opsets, [minifloatDomain, 1]]), functions: [...(model.functions ?? []), ...functions.values()],
  });
  return { model: made, report: { bits, input_bytes: bytes.length, output_bytes: made.length, tensors, share: tensors.reduce((sum, tensor) => sum + tensor.weights, 0) / numbers, samples: samples.length } };
}
