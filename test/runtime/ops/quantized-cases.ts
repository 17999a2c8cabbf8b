import { fromNumbers, mapNumbers, scalar, toNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, ints64, node, randomInts, randomTensor } from '../support/models.js';
import type { Case } from './cases.js';

/** Builds a QDQ model node by node: every activation is quantized and dequantized again, as quantizers write it. */
class QdqBuilder {
  private readonly nodes: OnnxNode[] = [];
  readonly constants: Record<string, TensorValue> = {};

  constructor(private readonly activation: DType) {}

  private zero(offset: number): TensorValue {
    return scalar(this.activation, this.activation === 'uint8' ? 128 + offset : offset);
  }

  /** value -> QuantizeLinear -> DequantizeLinear; returns the last's output. */
  fake(value: string, scale: number, offset = 0): string {
    Object.assign(this.constants, { [`${value}.scale`]: floats([], scale), [`${value}.zero`]: this.zero(offset) });
    const parameters = [`${value}.scale`, `${value}.zero`];
    this.nodes.push(node('QuantizeLinear', [value, ...parameters], [`${value}.q`]), node('DequantizeLinear', [`${value}.q`, ...parameters], [`${value}.dq`]));
    return `${value}.dq`;
  }

  /** Weights for each output channel, and a 32-bit bias for an input of the given scale. */
  weights(name: string, dims: readonly number[], inputScale: number, axis = 0): [string, string] {
    const outputs = dims[axis] ?? 1;
    const scales = randomTensor([outputs], 21, 0.004, 0.01);
    this.constants[`${name}.w`] = randomInts('int8', dims, 22, -127, 127);
    this.constants[`${name}.s`] = scales;
    this.constants[`${name}.z`] = fromNumbers('int8', [outputs], new Float64Array(outputs));
    this.constants[`${name}.b`] = randomInts('int32', [outputs], 23, -3000, 3000);
    this.constants[`${name}.bs`] = fromNumbers('float32', [outputs], mapNumbers(toNumbers(scales), (s) => Math.fround(s * Math.fround(inputScale))));
    this.constants[`${name}.bz`] = fromNumbers('int32', [outputs], new Float64Array(outputs));
    this.nodes.push(
      node('DequantizeLinear', [`${name}.w`, `${name}.s`, `${name}.z`], [`${name}.wd`], { axis }),
      node('DequantizeLinear', [`${name}.b`, `${name}.bs`, `${name}.bz`], [`${name}.bd`], { axis: 0 }),
    );
    return [`${name}.wd`, `${name}.bd`];
  }

  /** Clips to codes [low, high] above the type's lowest, then `fake`. */
  clipped(value: string, scale: number, levels: number): string {
    const zero = Math.floor(levels / 2);
    const bounds = [-zero, levels - 1 - zero].map((code, i) => this.constant(`${value}.bound${i}`, floats([], code * scale)));
    return this.fake(this.add('Clip', [value, ...bounds], `${value}.clip`), scale, zero - 128);
  }

  /** value -> QuantizeLinear -> DequantizeLinear of a type of fewer bits, its zero-point in the middle. */
  narrow(value: string, scale: number, dtype: DType): string {
    Object.assign(this.constants, { [`${value}.scale`]: floats([], scale), [`${value}.zero`]: scalar(dtype, dtype === 'uint4' ? 8 : dtype === 'uint2' ? 2 : 0) });
    const parameters = [`${value}.scale`, `${value}.zero`];
    this.nodes.push(node('QuantizeLinear', [value, ...parameters], [`${value}.q`]), node('DequantizeLinear', [`${value}.q`, ...parameters], [`${value}.dq`]));
    return `${value}.dq`;
  }

  /** Weights in [-largest, largest] of any type, a scale for each output channel, no bias. */
  fewWeights(name: string, dims: readonly number[], dtype: DType, largest: number): string {
    const outputs = dims[0] ?? 1;
    this.constants[`${name}.w`] = randomInts(dtype, dims, 22, -largest, largest);
    this.constants[`${name}.s`] = randomTensor([outputs], 21, 0.04, 0.1);
    this.constants[`${name}.z`] = fromNumbers(dtype, [outputs], new Float64Array(outputs));
    this.nodes.push(node('DequantizeLinear', [`${name}.w`, `${name}.s`, `${name}.z`], [`${name}.wd`], { axis: 0 }));
    return `${name}.wd`;
  }

  /** Weights of one scale, without a bias. */
  weight(name: string, dims: readonly number[]): string {
    Object.assign(this.constants, { [`${name}.w`]: randomInts('int8', dims, 24, -127, 127), [`${name}.s`]: floats([], 0.006) });
    this.nodes.push(node('DequantizeLinear', [`${name}.w`, `${name}.s`], [`${name}.wd`]));
    return `${name}.wd`;
  }

  add(op: string, inputs: readonly string[], output: string, attributes?: Parameters<typeof node>[3]): string {
    this.nodes.push(node(op, inputs, [output], attributes));
    return output;
  }

  constant(name: string, value: TensorValue): string {
    this.constants[name] = value;
    return name;
  }

  case(name: string, dims: readonly number[], output: string, opset: number): Case {
    return {
      name: `${name}, ${this.activation}`,
      spec: { opset, inputs: { x: dims }, constants: this.constants, nodes: this.nodes, outputs: [output] },
      feeds: { x: randomTensor(dims, 31, -2, 2) },
    };
  }
}

/** Scale of a quantized case's last output: what one step is. */
export const outputScale = 0.05;

type Build = (q: QdqBuilder, x: string) => string;

interface Recipe {
  readonly name: string;
  readonly dims: readonly number[];
  readonly build: Build;
  /** Operator that must do the work in the optimized graph. */
  readonly op: string;
  /** Default 13. */
  readonly opset?: number;
}

const inputScale = 0.02;
const image = [1, 8, 9, 7] as const;

function conv(dims: readonly number[], attributes: Parameters<typeof node>[3], after?: (q: QdqBuilder, y: string) => string): Build {
  return (q, x) => {
    const [w, b] = q.weights('conv', dims, inputScale);
    const y = q.add('Conv', [x, w, b], 'y', attributes);
    return q.fake(after === undefined ? y : after(q, y), outputScale, 3);
  };
}

/** As `conv`, and nobody quantizes the result. */
function floatConv(dims: readonly number[], attributes: Parameters<typeof node>[3]): Build {
  return (q, x) => {
    const [w, b] = q.weights('conv', dims, inputScale);
    return q.add('Conv', [x, w, b], 'y', attributes);
  };
}

/** Of each value and those around it the largest: what no table of the value is. */
const neighbours = (q: QdqBuilder, x: string): string => q.add('MaxPool', [x], 'n', { kernel_shape: [3, 3], pads: [1, 1, 1, 1] });

/** A convolution before: what comes after it is channels-last. */
function featureMap(q: QdqBuilder, x: string): string {
  const [w, b] = q.weights('map', [16, 8, 1, 1], inputScale);
  return q.fake(q.add('Conv', [x, w, b], 'map'), outputScale);
}

const recipes: readonly Recipe[] = [
  { name: 'Conv 1x1', dims: image, op: 'ConvQ8', build: conv([16, 8, 1, 1], {}) },
  { name: 'Conv 3x3 and Relu', dims: image, op: 'ConvQ8', build: conv([16, 8, 3, 3], { pads: [1, 1, 1, 1], strides: [2, 2] }, (q, y) => q.add('Relu', [y], 'r')) },
  {
    name: 'Conv 3x3 of an image and Clip', dims: [1, 3, 12, 12], op: 'ConvQ8',
    build: conv([16, 3, 3, 3], { pads: [0, 0, 1, 1], strides: [2, 2] }, (q, y) => q.add('Clip', [y, q.constant('low', floats([], 0)), q.constant('high', floats([], 3))], 'c')),
  },
  { name: 'Conv, depthwise', dims: image, op: 'ConvQ8', build: conv([8, 1, 3, 3], { group: 8, pads: [1, 1, 1, 1] }) },
  { name: 'Conv, grouped', dims: image, op: 'ConvQ8', build: conv([6, 4, 3, 3], { group: 2 }) },
  { name: 'Conv and PRelu', dims: image, op: 'ConvQ8', build: conv([16, 8, 1, 1], {}, (q, y) => q.add('PRelu', [y, q.constant('slope', randomTensor([16, 1, 1], 5))], 'p')) },
  { name: 'Conv and LeakyRelu', dims: image, op: 'ConvQ8', build: conv([16, 8, 1, 1], {}, (q, y) => q.add('LeakyRelu', [y], 'l', { alpha: { float: 0.1 } })) },
  { name: 'Conv and a table', dims: image, op: 'ConvQ8', build: conv([16, 8, 1, 1], {}, (q, y) => q.add('Sigmoid', [q.fake(y, outputScale)], 's')) },
  {
    name: 'ConvTranspose', dims: image, op: 'ConvQ8',
    build(q, x) {
      const [w, b] = q.weights('up', [8, 6, 4, 4], inputScale, 1);
      return q.fake(q.add('ConvTranspose', [x, w, b], 'y', { strides: [2, 2], pads: [1, 1, 1, 1] }), outputScale, 3);
    },
  },
  {
    name: 'ConvTranspose and Relu, grouped', dims: image, op: 'ConvQ8',
    build(q, x) {
      const w = q.weight('up', [8, 3, 3, 3]);
      return q.fake(q.add('Relu', [q.add('ConvTranspose', [x, w], 'y', { strides: [2, 2], group: 2 })], 'r'), outputScale, 3);
    },
  },
  { name: 'Conv, one-dimensional', dims: [1, 8, 30], op: 'ConvQ8', build: conv([12, 8, 5], { pads: [2, 2] }) },
  {
    name: 'Conv and a residual', dims: image, op: 'ConvQ8',
    build(q, x) {
      const [w, b] = q.weights('conv', [8, 8, 1, 1], inputScale);
      const y = q.fake(q.add('Conv', [x, w, b], 'y'), 0.04, -5);
      return q.fake(q.add('Add', [x, y], 'sum'), outputScale, 7);
    },
  },
  {
    name: 'Gemm', dims: [3, 20], op: 'ConvQ8',
    build(q, x) {
      const [w, b] = q.weights('fc', [10, 20], inputScale);
      return q.fake(q.add('Gemm', [x, w, b], 'y', { transB: 1 }), outputScale);
    },
  },
  {
    name: 'MatMul', dims: [2, 3, 20], op: 'ConvQ8',
    build(q, x) {
      const [w] = q.weights('fc', [20, 10], inputScale, 1);
      return q.fake(q.add('MatMul', [x, w], 'y'), outputScale);
    },
  },
  { name: 'Conv 1x1 to floats', dims: image, op: 'ConvQ8F32', build: floatConv([16, 8, 1, 1], {}) },
  { name: 'Conv 1x1 to floats, strided', dims: image, op: 'ConvQ8F32', build: floatConv([5, 8, 1, 1], { strides: [2, 2] }) },
  { name: 'Conv 3x3 to floats', dims: image, op: 'ConvQ8F32', build: floatConv([7, 8, 3, 3], { pads: [1, 1, 1, 1], dilations: [1, 2] }) },
  { name: 'Conv to floats, grouped', dims: image, op: 'ConvQ8F32', build: floatConv([6, 4, 3, 3], { group: 2 }) },
  { name: 'Conv to floats, one-dimensional', dims: [1, 8, 30], op: 'ConvQ8F32', build: floatConv([12, 8, 5], { pads: [2, 2] }) },
  { name: 'Conv to floats, without a bias', dims: image, op: 'ConvQ8F32', build: (q, x) => q.add('Conv', [x, q.weight('conv', [16, 8, 3, 3])], 'y') },
  {
    name: 'Conv to floats with a float bias', dims: image, op: 'ConvQ8F32',
    build: (q, x) => q.add('Conv', [x, q.weight('conv', [16, 8, 1, 1]), q.constant('bias', randomTensor([16], 8))], 'y'),
  },
  { name: 'Gemm to floats', dims: [3, 20], op: 'ConvQ8F32', build: (q, x) => q.add('Gemm', [x, ...q.weights('fc', [10, 20], inputScale)], 'y', { transB: 1 }) },
  { name: 'MatMul to floats', dims: [2, 3, 20], op: 'ConvQ8F32', build: (q, x) => q.add('MatMul', [x, q.weights('fc', [20, 10], inputScale, 1)[0]], 'y') },
  {
    name: 'ConvTranspose to floats', dims: image, op: 'ConvQ8F32',
    build: (q, x) => q.add('ConvTranspose', [x, ...q.weights('up', [8, 6, 4, 4], inputScale, 1)], 'y', { strides: [2, 2], pads: [1, 1, 1, 1] }),
  },
  ...['Add', 'Sub', 'Mul'].map((op): Recipe => ({
    name: op, dims: image, op: 'BinaryQ8',
    build: (q, x) => q.fake(q.add(op, [x, q.fake(neighbours(q, x), 1 / 128, -60)], 'y'), outputScale, -4),
  })),
  ...['Add', 'Sub', 'Mul'].map((op): Recipe => ({
    name: `${op} of a value and its sigmoid`, dims: image, op: 'LutQ8',
    build: (q, x) => q.fake(q.add(op, [x, q.fake(q.add('Sigmoid', [x], 's'), 1 / 128, -60)], 'y'), outputScale, -4),
  })),
  {
    name: 'Conv and its product with its sigmoid', dims: image, op: 'ConvQ8',
    build: (q, x) => {
      const y = featureMap(q, x);
      return q.fake(q.add('Mul', [q.fake(q.add('Sigmoid', [y], 'g'), 1 / 255, -128), y], 'y'), outputScale);
    },
  },
  { name: 'Add and Relu', dims: image, op: 'BinaryQ8', build: (q, x) => q.fake(q.add('Relu', [q.add('Add', [x, q.fake(neighbours(q, x), 0.03)], 'y')], 'r'), outputScale, -100) },
  { name: 'MaxPool', dims: image, op: 'PoolQ8', build: (q, x) => q.fake(q.add('MaxPool', [x], 'y', { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }), outputScale) },
  { name: 'AveragePool', dims: image, op: 'PoolQ8', build: (q, x) => q.fake(q.add('AveragePool', [x], 'y', { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }), outputScale) },
  { name: 'GlobalAveragePool', dims: image, op: 'PoolQ8', build: (q, x) => q.fake(q.add('GlobalAveragePool', [x], 'y'), outputScale) },
  { name: 'ReduceMean over pixels', dims: image, op: 'PoolQ8', build: (q, x) => q.fake(q.add('ReduceMean', [featureMap(q, x)], 'y', { axes: [2, 3], keepdims: 0 }), outputScale) },
  {
    name: 'Resize', dims: image, op: 'ResizeQ8',
    build: (q, x) => q.fake(q.add('Resize', [x, '', q.constant('scales', floats([4], 1, 1, 2, 2))], 'y', { mode: 'nearest' }), outputScale),
  },
  {
    name: 'Resize, linear', dims: image, op: 'ResizeQ8',
    build: (q, x) => q.fake(q.add('Resize', [x, '', q.constant('scales', floats([4], 1, 1, 2, 2))], 'y', { mode: 'linear' }), outputScale),
  },
  ...['Sigmoid', 'Tanh', 'HardSwish', 'Exp'].map((op): Recipe => ({
    name: op, dims: image, op: 'LutQ8', build: (q, x) => q.fake(q.add(op === 'HardSwish' ? 'HardSigmoid' : op, [x], 'y'), outputScale),
  })),
  { name: 'a chain of functions', dims: image, op: 'LutQ8', build: (q, x) => q.fake(q.add('Sqrt', [q.add('Abs', [q.add('Mul', [x, q.constant('k', floats([], 1.7))], 'm')], 'a')], 'y'), outputScale) },
  { name: 'a factor by channel', dims: image, op: 'LutQ8', build: (q, x) => q.fake(q.add('Mul', [featureMap(q, x), q.constant('k', randomTensor([16, 1, 1], 6, 0.5, 2))], 'y'), outputScale) },
  { name: 'requantization', dims: image, op: 'LutQ8', build: (q, x) => q.fake(q.add('Identity', [x], 'y'), outputScale, 9) },
  {
    name: 'Concat', dims: image, op: 'Concat',
    build: (q, x) => q.fake(q.add('Concat', [x, q.fake(q.add('Tanh', [x], 't'), 1 / 127)], 'y', { axis: 1 }), outputScale),
  },
  { name: 'Reshape and Transpose', dims: image, op: 'Transpose', build: (q, x) => q.fake(q.add('Transpose', [q.add('Reshape', [x, q.constant('s', ints64(1, 4, 2, 63))], 'r')], 'y', { perm: [0, 3, 1, 2] }), outputScale) },
  { name: 'Pad', dims: image, op: 'PadNd', build: (q, x) => q.fake(q.add('Pad', [x, q.constant('p', ints64(0, 0, 1, 1, 0, 0, 1, 2))], 'y'), outputScale) },
  {
    name: 'Conv of 29 codes by weights of 19', dims: image, op: 'ConvQ8',
    build: (q, x) => q.clipped(q.add('Conv', [q.clipped(featureMap(q, x), 0.1, 29), q.fewWeights('conv', [16, 16, 3, 3], 'int8', 9)], 'y'), outputScale, 29),
  },
  {
    name: 'Conv, PRelu and a clip', dims: image, op: 'ConvQ8',
    build: conv([16, 8, 1, 1], {}, (q, y) => {
      const p = q.add('PRelu', [y, q.constant('slope', randomTensor([16, 1, 1], 5))], 'p');
      return q.add('Clip', [p, q.constant('low', floats([], -0.4)), q.constant('high', floats([], 0.9))], 'c');
    }),
  },
  {
    name: 'Conv, Relu and two clips', dims: image, op: 'ConvQ8',
    build: conv([16, 8, 1, 1], {}, (q, y) => {
      const six = q.add('Clip', [q.add('Relu', [y], 'r'), '', q.constant('six', floats([], 6))], 'c6');
      return q.add('Clip', [six, q.constant('low', floats([], 0.2)), q.constant('high', floats([], 0.9))], 'c');
    }),
  },
  ...['AveragePool', 'MaxPool'].map((op): Recipe => ({
    name: `${op} and a clip`, dims: image, op: 'PoolQ8', build: (q, x) => q.clipped(q.add(op, [featureMap(q, x)], 'y', { kernel_shape: [3, 3] }), outputScale, 29),
  })),
  { name: 'Add and a clip', dims: image, op: 'BinaryQ8', build: (q, x) => q.clipped(q.add('Add', [x, q.fake(neighbours(q, x), 0.03)], 'y'), outputScale, 29) },
  ...(['int4', 'int2'] as const).map((dtype): Recipe => ({
    name: `Conv with ${dtype} weights`, dims: image, op: 'ConvQ8', opset: dtype === 'int2' ? 25 : 21,
    build: (q, x) => q.fake(q.add('Conv', [x, q.fewWeights('conv', [16, 8, 3, 3], dtype, dtype === 'int2' ? 1 : 7)], 'y', { pads: [1, 1, 1, 1] }), outputScale),
  })),
  ...(['uint4', 'int4'] as const).map((dtype): Recipe => ({
    name: `Conv of ${dtype} by int4`, dims: image, op: 'ConvQ8', opset: 21,
    build: (q, x) => q.fake(q.add('Conv', [q.narrow(featureMap(q, x), 0.2, dtype), q.fewWeights('conv', [16, 16, 3, 3], 'int4', 7)], 'y'), outputScale),
  })),
  { name: 'Softmax, in float', dims: [2, 10], op: 'AxisSoftmax', build: (q, x) => q.fake(q.add('Softmax', [x], 'y', { axis: -1 }), outputScale, -100) },
];

export interface QuantizedCase extends Case {
  readonly op: string;
}

export const quantizedCases: readonly QuantizedCase[] = recipes.flatMap(({ name, dims, build, op, opset = 13 }) =>
  (['uint8', 'int8'] as const).map((activation): QuantizedCase => {
    const q = new QdqBuilder(activation);
    return { ...q.case(name, dims, build(q, q.fake('x', inputScale, 11)), opset), op };
  }),
);
