/**
 * The student: a small convolutional net over log-mel patches, as one graph that runs it and one that trains it. The second holds the forward pass, the
 * loss and the gradients of all weights in standard ONNX operators, so that any engine which takes weights as inputs can train it.
 */
import { float, int, ints, type Attribute } from '../../runtime/graph/attributes.js';
import { elementCount, type TensorValue } from '../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxNode, OnnxValueInfo } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';

/** Rows and bands of a patch, as `patchDefinition` makes them. */
export const patch = { rows: 96, bands: 64 } as const;

interface Layer {
  inputs: number;
  outputs: number;
  kernel: 1 | 3;
  stride: 1 | 2;
}

const layers: readonly Layer[] = [
  { inputs: 1, outputs: 24, kernel: 3, stride: 2 },
  { inputs: 24, outputs: 40, kernel: 3, stride: 2 },
  { inputs: 40, outputs: 64, kernel: 3, stride: 2 },
  { inputs: 64, outputs: 112, kernel: 3, stride: 2 },
  { inputs: 112, outputs: 192, kernel: 1, stride: 1 },
];
/** Means over the last map: what the heads see. */
const embedded = 192;
const opset = 17;

export interface StudentShape {
  classes: number;
  /** Values of the teacher's embedding that the student is asked to predict while it learns. */
  teacher: number;
}

export interface Weight {
  dims: readonly number[];
  data: Float32Array;
}
export type Weights = Readonly<Record<string, Weight>>;

function shapesOf({ classes, teacher }: StudentShape): Record<string, readonly number[]> {
  return {
    ...Object.fromEntries(layers.flatMap(({ inputs, outputs, kernel }, i) => [[`w${i}`, [outputs, inputs, kernel, kernel]], [`b${i}`, [outputs]]])),
    classes: [classes, embedded], classBias: [classes], teacher: [teacher, embedded], teacherBias: [teacher],
  };
}

/** Parameters of what is shipped: the teacher's head is not. */
export function parametersOf(weights: Weights): number {
  return Object.entries(weights).filter(([name]) => !name.startsWith('teacher')).reduce((sum, [, { data }]) => sum + data.length, 0);
}

/** Weights that keep the variance of what flows through (He et al., arXiv 1502.01852); biases of 0. */
export function initialWeights(shape: StudentShape, random: () => number): Record<string, Weight> {
  return Object.fromEntries(Object.entries(shapesOf(shape)).map(([name, dims]) => {
    const bound = dims.length === 1 ? 0 : Math.sqrt(6 / elementCount(dims.slice(1)));
    return [name, { dims, data: Float32Array.from({ length: elementCount(dims) }, () => bound * (2 * random() - 1)) }];
  }));
}

/** Nodes and constants while a graph grows. */
class Graph {
  readonly nodes: OnnxNode[] = [];
  readonly constants = new Map<string, TensorValue>();

  node(op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}, output = `v${this.nodes.length}`): string {
    this.nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  }

  floats(...values: number[]): string {
    return this.#constant({ dtype: 'float32', dims: values.length === 1 ? [] : [values.length], data: Float32Array.from(values) });
  }

  integers(...values: number[]): string {
    return this.#constant({ dtype: 'int64', dims: [values.length], data: BigInt64Array.from(values, BigInt) });
  }

  #constant(value: TensorValue): string {
    const name = `c${this.constants.size}`;
    this.constants.set(name, value);
    return name;
  }

  finish(name: string, inputs: OnnxValueInfo[], outputs: OnnxValueInfo[]): Uint8Array {
    return serializeModel({
      irVersion: 8, producerName: 'sterna', producerVersion: runtimeVersion, opsets: new Map([['', opset]]), metadata: new Map(),
      graph: { name, nodes: this.nodes, initializers: this.constants, inputs, outputs, valueInfo: [] },
    });
  }
}

const value = (name: string, dims: readonly number[]): OnnxValueInfo => ({ name, dtype: 'float32', dims });

/** Padding before the first pixel, and behind the last: with a stride of 2 over an even size the last window ends with the map. */
const padsOf = ({ kernel, stride }: Layer): [number, number] => (kernel === 1 ? [0, 0] : [1, stride === 1 ? 1 : 0]);

function convolution(graph: Graph, x: string, layer: Layer, i: number): string {
  const [before, after] = padsOf(layer);
  const y = graph.node('Conv', [x, `w${i}`, `b${i}`], { kernel_shape: ints([layer.kernel, layer.kernel]), strides: ints([layer.stride, layer.stride]), pads: ints([before, before, after, after]) });
  return graph.node('Relu', [y]);
}

/** What is shipped: a patch [1, 1, rows, bands] to probabilities [1, classes], which are independent of each other. */
export function studentModel(weights: Weights, { classes }: Pick<StudentShape, 'classes'>): Uint8Array {
  const graph = new Graph();
  for (const [name, { dims, data }] of Object.entries(weights)) if (!name.startsWith('teacher')) graph.constants.set(name, { dtype: 'float32', dims, data });
  const last = layers.reduce((x, layer, i) => convolution(graph, x, layer, i), 'patch');
  const mean = graph.node('Flatten', [graph.node('GlobalAveragePool', [last])], { axis: int(1) });
  graph.node('Sigmoid', [graph.node('Gemm', [mean, 'classes', 'classBias'], { transB: int(1) })], {}, 'scores');
  return graph.finish('student', [value('patch', [1, 1, patch.rows, patch.bands])], [value('scores', [1, classes])]);
}

/**
 * One step of learning as a graph. Inputs: `patch`, `target` [batch, classes], `embedding` [batch, teacher], `keep` [batch, 192] (the mask of dropout), and
 * the weights. Outputs: `loss` and a gradient `d_NAME` of each weight. The loss is the binary cross-entropy of the classes, plus `distill` times the mean
 * square error of the predicted embedding.
 */
export function learningModel(shape: StudentShape, { batch, distill }: { batch: number; distill: number }): Uint8Array {
  const graph = new Graph();
  const maps = ['patch'];
  layers.forEach((layer, i) => maps.push(convolution(graph, maps[i] ?? '', layer, i)));
  const mean = graph.node('Flatten', [graph.node('GlobalAveragePool', [maps.at(-1) ?? ''])], { axis: int(1) });
  const kept = graph.node('Mul', [mean, 'keep']);
  const classes = head(graph, kept, { weight: 'classes', bias: 'classBias', target: 'target', activation: 'Sigmoid', scale: 1 / batch });
  const teacher = head(graph, kept, { weight: 'teacher', bias: 'teacherBias', target: 'embedding', scale: (2 * distill) / (batch * shape.teacher) });
  const square = graph.node('ReduceMean', [graph.node('Mul', [teacher.error, teacher.error])], { keepdims: int(0) });
  graph.node('Add', [crossEntropy(graph, classes.logits, batch), graph.node('Mul', [square, graph.floats(distill)])], {}, 'loss');
  const wanted = graph.node('Mul', [graph.node('Add', [classes.back, teacher.back]), 'keep']);
  backThroughLayers(graph, maps, wanted, batch);
  const names = shapesOf(shape);
  const inputs = [
    value('patch', [batch, 1, patch.rows, patch.bands]), value('target', [batch, shape.classes]), value('embedding', [batch, shape.teacher]), value('keep', [batch, embedded]),
    ...Object.entries(names).map(([name, dims]) => value(name, dims)),
  ];
  return graph.finish('learning', inputs, [value('loss', []), ...Object.entries(names).map(([name, dims]) => value(`d_${name}`, dims))]);
}

interface Head {
  weight: string;
  bias: string;
  target: string;
  activation?: 'Sigmoid';
  /** Of the error of an output in the gradient. */
  scale: number;
}

/** A linear head with its gradients: both losses have an error of (output - target). */
function head(graph: Graph, x: string, { weight, bias, target, activation, scale }: Head): { logits: string; error: string; back: string } {
  const logits = graph.node('Gemm', [x, weight, bias], { transB: int(1) });
  const error = graph.node('Sub', [activation === undefined ? logits : graph.node(activation, [logits]), target]);
  const gradient = graph.node('Mul', [error, graph.floats(scale)]);
  graph.node('Gemm', [gradient, x], { transA: int(1) }, `d_${weight}`);
  graph.node('ReduceSum', [gradient, graph.integers(0)], { keepdims: int(0) }, `d_${bias}`);
  return { logits, error, back: graph.node('MatMul', [gradient, weight]) };
}

/** Sum over the classes of softplus(z) - z * target, mean over the batch. */
function crossEntropy(graph: Graph, logits: string, batch: number): string {
  const each = graph.node('Sub', [graph.node('Softplus', [logits]), graph.node('Mul', [logits, 'target'])]);
  return graph.node('Mul', [graph.node('ReduceSum', [each], { keepdims: int(0) }), graph.floats(1 / batch)]);
}

/** Rows and bands of the map before layer i. */
const sizeBefore = (i: number): [number, number] => {
  const shrink = layers.slice(0, i).reduce((product, { stride }) => product * stride, 1);
  return [patch.rows / shrink, patch.bands / shrink];
};

function backThroughLayers(graph: Graph, maps: readonly string[], mean: string, batch: number): void {
  const [rows, bands] = sizeBefore(layers.length);
  const spread = graph.node('Mul', [graph.node('Reshape', [mean, graph.integers(batch, embedded, 1, 1)]), graph.floats(1 / (rows * bands))]);
  let gradient = graph.node('Expand', [spread, graph.integers(batch, embedded, rows, bands)]);
  for (let i = layers.length - 1; i >= 0; i--) {
    const layer = layers[i];
    const [before, after] = [maps[i] ?? '', maps[i + 1] ?? ''];
    if (layer === undefined) continue;
    // The slope of a ReLU from its own output: a clamp of a huge multiple is 0 or 1.
    gradient = graph.node('Mul', [gradient, graph.node('HardSigmoid', [after], { alpha: float(1e30), beta: float(0) })]);
    graph.node('ReduceSum', [gradient, graph.integers(0, 2, 3)], { keepdims: int(0) }, `d_b${i}`);
    weightGradient(graph, { x: before, gradient, layer, i, batch });
    const [first, last] = padsOf(layer);
    if (i > 0) gradient = graph.node('ConvTranspose', [gradient, `w${i}`], { kernel_shape: ints([layer.kernel, layer.kernel]), strides: ints([layer.stride, layer.stride]), pads: ints([first, first, last, last]) });
  }
}

/** For each tap of the kernel: gradients times the inputs that the tap saw, summed over places and pictures. */
function weightGradient(graph: Graph, { x, gradient, layer, i, batch }: { x: string; gradient: string; layer: Layer; i: number; batch: number }): void {
  const { inputs, outputs, kernel, stride } = layer;
  const [before, after] = padsOf(layer);
  const [rows, bands] = sizeBefore(i + 1);
  const flat = graph.node('Reshape', [gradient, graph.integers(batch, outputs, rows * bands)]);
  const padded = kernel === 1 ? x : graph.node('Pad', [x, graph.integers(0, 0, before, before, 0, 0, after, after)]);
  const taps = Array.from({ length: kernel * kernel }, (_, tap) => {
    const [row, band] = [Math.floor(tap / kernel), tap % kernel];
    const ends = graph.integers(row + (rows - 1) * stride + 1, band + (bands - 1) * stride + 1);
    const seen = graph.node('Slice', [padded, graph.integers(row, band), ends, graph.integers(2, 3), graph.integers(stride, stride)]);
    const columns = graph.node('Transpose', [graph.node('Reshape', [seen, graph.integers(batch, inputs, rows * bands)])], { perm: ints([0, 2, 1]) });
    const sum = graph.node('ReduceSum', [graph.node('MatMul', [flat, columns]), graph.integers(0)], { keepdims: int(0) });
    return graph.node('Reshape', [sum, graph.integers(outputs, inputs, 1)]);
  });
  graph.node('Reshape', [graph.node('Concat', taps, { axis: int(2) }), graph.integers(outputs, inputs, kernel, kernel)], {}, `d_w${i}`);
}
