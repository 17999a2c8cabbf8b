import type { TensorValue } from '../../../runtime/graph/tensor-value.js';
import { floats, ints64, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';

export interface Case {
  readonly name: string;
  readonly spec: ModelSpec;
  readonly feeds: Readonly<Record<string, TensorValue>>;
}

const image = [1, 4, 7, 6] as const;

/** One node over one float input 'x'; further operands are constants. */
function one(name: string, op: string, options: {
  dims?: readonly number[]; opset?: number; low?: number; high?: number;
  operands?: Readonly<Record<string, TensorValue>>; attributes?: Parameters<typeof node>[3]; outputs?: readonly string[];
} = {}): Case {
  const { dims = image, operands = {}, attributes, outputs = ['y'], opset = 17, low = -3, high = 3 } = options;
  return {
    name,
    spec: { opset, inputs: { x: dims }, constants: operands, nodes: [node(op, ['x', ...Object.keys(operands)], outputs, attributes)], outputs },
    feeds: { x: randomTensor(dims, 7, low, high) },
  };
}

/** Two float inputs, 'a' and 'b'. */
function two(name: string, op: string, a: readonly number[], b: readonly number[], low = 0.1, high = 2): Case {
  return {
    name,
    spec: { inputs: { a, b }, nodes: [node(op, ['a', 'b'], ['y'])], outputs: ['y'] },
    feeds: { a: randomTensor(a, 1, low, high), b: randomTensor(b, 2, low, high) },
  };
}

const unary: Case[] = [
  ...['Relu', 'Sigmoid', 'Tanh', 'Exp', 'Abs', 'Neg', 'Erf', 'Softplus', 'Elu', 'LeakyRelu', 'HardSigmoid', 'HardSwish', 'Floor', 'Ceil', 'Round', 'Sin', 'Cos', 'Sign']
    .map((op) => one(op, op)),
  ...['Log', 'Sqrt', 'Reciprocal'].map((op) => one(op, op, { low: 0.2, high: 4 })),
  one('Mish', 'Mish', { opset: 18 }),
  one('Gelu', 'Gelu', { opset: 20 }),
  one('LeakyRelu with alpha', 'LeakyRelu', { attributes: { alpha: { float: 0.3 } } }),
  one('Elu with alpha', 'Elu', { attributes: { alpha: { float: 0.7 } } }),
  one('HardSigmoid with alpha and beta', 'HardSigmoid', { attributes: { alpha: { float: 0.1 }, beta: { float: 0.4 } } }),
  one('Clip, bounds as attributes', 'Clip', { opset: 9, attributes: { min: { float: -1 }, max: { float: 0.5 } } }),
  one('Clip, bounds as inputs', 'Clip', { operands: { low: floats([], -1), high: floats([], 0.5) } }),
  one('PRelu by channel', 'PRelu', { operands: { slope: randomTensor([4, 1, 1], 3) } }),
  one('Identity', 'Identity'),
  one('Dropout', 'Dropout', { opset: 12 }),
];

const binary: Case[] = [
  ...['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Min', 'Max'].map((op) => two(op, op, image, image)),
  two('Add, broadcast over pixels', 'Add', image, [1, 4, 1, 1]),
  two('Mul, broadcast of a lower rank', 'Mul', image, [6]),
  two('Sub, broadcast both ways', 'Sub', [1, 4, 1, 6], [5, 1, 7, 1]),
  one('Max of three', 'Max', { operands: { b: randomTensor(image, 4), c: randomTensor([4, 1, 1], 5) } }),
  one('Sum of three', 'Sum', { operands: { b: randomTensor(image, 4), c: randomTensor(image, 5) } }),
];

function conv(name: string, x: readonly number[], w: readonly number[], attributes: Parameters<typeof node>[3] = {}, bias = true): Case {
  const constants = { w: randomTensor(w, 11), ...(bias ? { b: randomTensor([w[0] ?? 1], 12) } : {}) };
  return {
    name,
    spec: { inputs: { x }, constants, nodes: [node('Conv', ['x', ...Object.keys(constants)], ['y'], attributes)], outputs: ['y'] },
    feeds: { x: randomTensor(x, 13) },
  };
}

const convolutions: Case[] = [
  conv('Conv 1x1', [1, 5, 4, 3], [7, 5, 1, 1]),
  conv('Conv 3x3, padded', [1, 3, 8, 9], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }, false),
  conv('Conv 3x2, strided, uneven pads', [2, 3, 8, 9], [4, 3, 3, 2], { pads: [0, 1, 2, 0], strides: [2, 3] }),
  conv('Conv, dilated', [1, 3, 9, 9], [2, 3, 3, 3], { dilations: [2, 3], pads: [2, 3, 2, 3] }),
  conv('Conv, grouped', [1, 6, 5, 5], [4, 3, 3, 3], { group: 2 }),
  conv('Conv, depthwise', [1, 6, 7, 7], [6, 1, 3, 3], { group: 6, pads: [1, 1, 1, 1], strides: [2, 2] }),
  conv('Conv, depthwise with a multiplier', [1, 3, 7, 7], [6, 1, 3, 3], { group: 3 }),
  conv('Conv, SAME_UPPER', [1, 3, 8, 8], [4, 3, 3, 3], { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
  conv('Conv, SAME_LOWER', [1, 3, 8, 8], [4, 3, 4, 4], { auto_pad: 'SAME_LOWER', strides: [3, 3] }),
  conv('Conv, one-dimensional', [1, 3, 20], [4, 3, 5], { pads: [2, 2], strides: [2] }),
];

const pools: Case[] = [
  one('MaxPool', 'MaxPool', { attributes: { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] } }),
  one('MaxPool, ceil_mode', 'MaxPool', { attributes: { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 } }),
  one('MaxPool, dilated', 'MaxPool', { attributes: { kernel_shape: [2, 2], dilations: [2, 3] } }),
  one('AveragePool', 'AveragePool', { attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2] } }),
  one('AveragePool, pads counted', 'AveragePool', { attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 } }),
  one('AveragePool, one-dimensional', 'AveragePool', { dims: [1, 3, 9], attributes: { kernel_shape: [3] } }),
  one('GlobalAveragePool', 'GlobalAveragePool'),
  one('GlobalMaxPool', 'GlobalMaxPool'),
];

function resize(name: string, scales: readonly number[], attributes: Parameters<typeof node>[3]): Case {
  return one(`Resize ${name}`, 'Resize', { operands: { roi: floats([0]), scales: floats([4], ...scales) }, attributes });
}

const resizes: Case[] = [
  resize('nearest', [1, 1, 2, 2], { mode: 'nearest' }),
  resize('nearest, asymmetric, floor', [1, 1, 2, 3], { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }),
  resize('linear, half_pixel', [1, 1, 2, 1.5], { mode: 'linear' }),
  resize('linear, align_corners', [1, 1, 2, 2], { mode: 'linear', coordinate_transformation_mode: 'align_corners' }),
  resize('linear, pytorch_half_pixel, shrinking', [1, 1, 0.5, 0.5], { mode: 'linear', coordinate_transformation_mode: 'pytorch_half_pixel' }),
  one('Resize to sizes', 'Resize', { operands: { roi: floats([0]), scales: floats([0]), sizes: ints64(1, 4, 14, 9) }, attributes: { mode: 'linear' } }),
  one('Upsample', 'Upsample', { opset: 9, operands: { scales: floats([4], 1, 1, 2, 2) }, attributes: { mode: 'nearest' } }),
];

const reductions: Case[] = [
  ...['ReduceMean', 'ReduceSum', 'ReduceMax', 'ReduceMin', 'ReduceL2', 'ReduceSumSquare', 'ReduceProd'].map((op) =>
    op === 'ReduceSum' ? one(op, op, { operands: { axes: ints64(2, 3) } }) : one(op, op, { attributes: { axes: [2, 3] } })),
  one('ReduceMean without the axes', 'ReduceMean', { attributes: { axes: [-1], keepdims: 0 } }),
  one('ReduceMax of everything', 'ReduceMax', { attributes: { keepdims: 0 } }),
  one('Softmax', 'Softmax'),
  one('Softmax over channels', 'Softmax', { attributes: { axis: 1 } }),
  one('Softmax before operator set 13', 'Softmax', { opset: 11, attributes: { axis: 2 } }),
  one('LogSoftmax', 'LogSoftmax', { attributes: { axis: -1 } }),
  one('BatchNormalization', 'BatchNormalization', {
    operands: { scale: randomTensor([4], 1), bias: randomTensor([4], 2), mean: randomTensor([4], 3), variance: randomTensor([4], 4, 0.2, 2) },
  }),
];

const linear: Case[] = [
  two('MatMul of matrices', 'MatMul', [3, 5], [5, 4]),
  two('MatMul of stacks', 'MatMul', [2, 1, 3, 5], [3, 5, 4]),
  two('MatMul of a vector', 'MatMul', [5], [3, 5, 4]),
  one('MatMul by a constant', 'MatMul', { dims: [2, 3, 5], operands: { w: randomTensor([5, 4], 3) } }),
  one('Gemm', 'Gemm', { dims: [3, 5], operands: { w: randomTensor([4, 5], 3), b: randomTensor([4], 4) }, attributes: { transB: 1 } }),
  one('Gemm with factors', 'Gemm', { dims: [5, 3], operands: { w: randomTensor([5, 4], 3), b: randomTensor([1, 4], 4) }, attributes: { transA: 1, alpha: { float: 0.5 }, beta: { float: 2 } } }),
  one('Gemm with a matrix to add', 'Gemm', { dims: [3, 5], operands: { w: randomTensor([5, 4], 3), c: randomTensor([3, 4], 4) } }),
];

const movement: Case[] = [
  one('Transpose', 'Transpose', { attributes: { perm: [0, 2, 3, 1] } }),
  one('Transpose, reversed', 'Transpose', { dims: [3, 4, 5] }),
  one('Reshape', 'Reshape', { operands: { shape: ints64(0, -1, 2) } }),
  one('Flatten', 'Flatten', { attributes: { axis: 2 } }),
  one('Squeeze', 'Squeeze', { dims: [1, 3, 1, 4], operands: { axes: ints64(0, 2) } }),
  one('Unsqueeze', 'Unsqueeze', { dims: [3, 4], operands: { axes: ints64(0, -1) } }),
  one('Slice', 'Slice', { operands: { starts: ints64(1, 0), ends: ints64(-1, 9223372036854775807), axes: ints64(2, 3), steps: ints64(2, 1) } }),
  one('Slice backwards', 'Slice', { operands: { starts: ints64(-1), ends: ints64(-9223372036854775807), axes: ints64(3), steps: ints64(-2) } }),
  one('Slice as attributes', 'Slice', { opset: 9, attributes: { starts: [1, 1], ends: [3, 1000], axes: [1, 2] } }),
  one('Slice of channels', 'Slice', { operands: { starts: ints64(1), ends: ints64(3), axes: ints64(1) } }),
  one('Split', 'Split', { attributes: { axis: 1 }, outputs: ['y', 'z'] }),
  one('Split into uneven parts', 'Split', { operands: { split: ints64(1, 5) }, attributes: { axis: 3 }, outputs: ['y', 'z'] }),
  one('Gather', 'Gather', { operands: { indices: ints64(2, -1, 0, 2) }, attributes: { axis: 1 } }),
  one('Expand', 'Expand', { dims: [3, 1], operands: { shape: ints64(2, 3, 4) } }),
  one('Tile', 'Tile', { dims: [2, 3], operands: { repeats: ints64(2, 3) } }),
  one('Pad, constant', 'Pad', { operands: { pads: ints64(0, 0, 1, 2, 0, 1, 0, 3), value: floats([], 1.5) } }),
  one('Pad, reflect', 'Pad', { operands: { pads: ints64(0, 0, 1, 2, 0, 0, 2, 1) }, attributes: { mode: 'reflect' } }),
  one('Pad, edge', 'Pad', { operands: { pads: ints64(0, 0, 1, 2, 0, 0, 2, 1) }, attributes: { mode: 'edge' } }),
  {
    name: 'Concat of channels, rows and a constant',
    spec: {
      inputs: { a: [1, 2, 3, 4], b: [1, 3, 3, 4] },
      constants: { c: randomTensor([1, 5, 2, 4], 5) },
      nodes: [node('Concat', ['a', 'b'], ['ab'], { axis: 1 }), node('Concat', ['c', 'ab'], ['y'], { axis: -2 })],
      outputs: ['y'],
    },
    feeds: { a: randomTensor([1, 2, 3, 4], 1), b: randomTensor([1, 3, 3, 4], 2) },
  },
  {
    name: 'Concat of the same value twice',
    spec: { inputs: { x: [2, 3] }, nodes: [node('Relu', ['x'], ['r']), node('Concat', ['r', 'r'], ['y'], { axis: 1 })], outputs: ['y', 'r'] },
    feeds: { x: randomTensor([2, 3], 1) },
  },
  {
    name: 'Gather by an input',
    spec: { inputs: { x: [5, 3], i: [2, 2] }, types: { i: 'int64' }, nodes: [node('Gather', ['x', 'i'], ['y'], { axis: 0 })], outputs: ['y'] },
    feeds: { x: randomTensor([5, 3], 1), i: randomInts('int64', [2, 2], 2, 0, 4) },
  },
  {
    name: 'shape arithmetic',
    spec: {
      inputs: { x: [1, 6, 2, 2] },
      constants: { first: ints64(0), rest: ints64(-1), zero: ints64(0) },
      nodes: [
        node('Shape', ['x'], ['shape']), node('Gather', ['shape', 'first'], ['n'], { axis: 0 }), node('Concat', ['n', 'rest'], ['wanted'], { axis: 0 }),
        node('Reshape', ['x', 'wanted'], ['y']),
      ],
      outputs: ['y'],
    },
    feeds: { x: randomTensor([1, 6, 2, 2], 3) },
  },
  {
    name: 'ConstantOfShape, Range, Cast, Where and Equal, all known',
    spec: {
      inputs: { x: [2, 3] },
      constants: { two: ints64(2, 3), zero: floats([], 0), three: floats([], 3), step: floats([], 1), one: floats([], 1) },
      nodes: [
        node('ConstantOfShape', ['two'], ['filled'], { value: { type: 'tensor', value: floats([1], 4) } }),
        node('Range', ['zero', 'three', 'step'], ['range']),
        node('Equal', ['range', 'one'], ['isOne']),
        node('Where', ['isOne', 'filled', 'range'], ['chosen']),
        node('Cast', ['chosen'], ['cast'], { to: 1 }),
        node('Add', ['x', 'cast'], ['y']),
      ],
      outputs: ['y'],
    },
    feeds: { x: randomTensor([2, 3], 3) },
  },
];

export const cases: readonly Case[] = [...unary, ...binary, ...convolutions, ...pools, ...resizes, ...reductions, ...linear, ...movement];
