import { fromNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { floats, fromInts, ints64, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import type { Case } from './cases.js';

type Attributes = Parameters<typeof node>[3];

interface Options {
  readonly dims?: readonly number[];
  readonly opset?: number;
  /** Constants, in order; '' names an operand that is absent. */
  readonly operands?: readonly (readonly [string, TensorValue])[];
  readonly attributes?: Attributes;
  readonly outputs?: readonly string[];
  readonly low?: number;
  readonly high?: number;
}

const image = [1, 4, 7, 6] as const;

/** One node over one float input 'x'; an operand without a name is absent. */
function layer(name: string, op: string, { dims = image, opset = 17, operands = [], attributes, outputs = ['y'], low = -2, high = 2 }: Options = {}): Case {
  const spec: ModelSpec = {
    opset, inputs: { x: dims }, constants: Object.fromEntries(operands.filter(([operand]) => operand !== '')),
    nodes: [node(op, ['x', ...operands.map(([operand]) => operand)], outputs, attributes)], outputs: outputs.filter((output) => output !== ''),
  };
  return { name, spec, feeds: { x: randomTensor(dims, 7, low, high) } };
}

const absent: readonly [string, TensorValue] = ['', floats([0])];

const functions: Case[] = [
  ...['Selu', 'Celu', 'ThresholdedRelu', 'Softsign', 'Shrink', 'Tan', 'Atan', 'Sinh', 'Cosh', 'Asinh'].map((op) => layer(op, op, { high: 1.5, low: -1.5 })),
  ...['Asin', 'Acos', 'Atanh'].map((op) => layer(op, op, { low: -0.95, high: 0.95 })),
  layer('Acosh', 'Acosh', { low: 1.1, high: 4 }),
  layer('Selu with alpha and gamma', 'Selu', { attributes: { alpha: { float: 1.2 }, gamma: { float: 0.8 } } }),
  layer('Celu with alpha', 'Celu', { attributes: { alpha: { float: 0.6 } } }),
  layer('ThresholdedRelu with alpha', 'ThresholdedRelu', { attributes: { alpha: { float: 0.4 } } }),
  layer('Shrink with bias', 'Shrink', { attributes: { bias: { float: 0.3 }, lambd: { float: 0.9 } } }),
  layer('Gelu by tanh', 'Gelu', { opset: 20, attributes: { approximate: 'tanh' } }),
  layer('Hardmax', 'Hardmax'),
  layer('Hardmax over channels', 'Hardmax', { attributes: { axis: 1 } }),
  layer('Hardmax before operator set 13', 'Hardmax', { opset: 11, attributes: { axis: 2 } }),
];

const pools: Case[] = [
  layer('LpPool', 'LpPool', { opset: 18, attributes: { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] } }),
  layer('LpPool of p = 1', 'LpPool', { opset: 18, attributes: { kernel_shape: [2, 2], p: 1 } }),
  layer('LpPool of p = 3, one-dimensional', 'LpPool', { opset: 18, dims: [2, 3, 9], attributes: { kernel_shape: [3], strides: [2], p: 3 } }),
  layer('GlobalLpPool', 'GlobalLpPool'),
  layer('GlobalLpPool of p = 3', 'GlobalLpPool', { attributes: { p: 3 } }),
  layer('MaxPool, ceil_mode, pads and dilation', 'MaxPool', { attributes: { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 0, 1], dilations: [1, 2], ceil_mode: 1 } }),
  layer('MaxPool, SAME_UPPER', 'MaxPool', { attributes: { kernel_shape: [2, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' } }),
  layer('AveragePool, SAME_LOWER', 'AveragePool', { attributes: { kernel_shape: [2, 3], strides: [2, 2], auto_pad: 'SAME_LOWER' } }),
  layer('AveragePool, ceil_mode', 'AveragePool', { opset: 19, attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 0, 0], ceil_mode: 1 } }),
  layer('AveragePool, ceil_mode with pads counted', 'AveragePool', { opset: 19, attributes: { kernel_shape: [3, 3], strides: [2, 3], pads: [1, 1, 1, 1], ceil_mode: 1, count_include_pad: 1 } }),
  layer('AveragePool, dilated', 'AveragePool', { opset: 19, attributes: { kernel_shape: [2, 2], dilations: [2, 3] } }),
];

const channels = (...names: string[]): [string, TensorValue][] => names.map((name, i) => [name, randomTensor([4], 20 + i, 0.4, 1.6)]);

const normalizations: Case[] = [
  layer('InstanceNormalization', 'InstanceNormalization', { operands: channels('scale', 'bias'), attributes: { epsilon: { float: 0.01 } } }),
  layer('InstanceNormalization, one-dimensional', 'InstanceNormalization', { dims: [2, 4, 11], operands: channels('scale', 'bias') }),
  layer('LayerNormalization', 'LayerNormalization', { operands: [['scale', randomTensor([6], 3)], ['bias', randomTensor([6], 4)]] }),
  layer('LayerNormalization without a bias', 'LayerNormalization', { dims: [3, 5, 8], operands: [['scale', randomTensor([8], 3)]], attributes: { epsilon: { float: 0.1 } } }),
  layer('LayerNormalization from axis 1, with statistics', 'LayerNormalization', {
    dims: [3, 5, 8], operands: [['scale', randomTensor([5, 8], 3)], ['bias', randomTensor([5, 8], 4)]], attributes: { axis: 1 }, outputs: ['y', 'mean', 'inverse'],
  }),
  layer('GroupNormalization by group', 'GroupNormalization', {
    opset: 18, operands: [['scale', randomTensor([2], 3)], ['bias', randomTensor([2], 4)]], attributes: { num_groups: 2 },
  }),
  layer('GroupNormalization by channel', 'GroupNormalization', { opset: 21, operands: channels('scale', 'bias'), attributes: { num_groups: 2 } }),
  layer('MeanVarianceNormalization', 'MeanVarianceNormalization'),
  layer('MeanVarianceNormalization over two axes', 'MeanVarianceNormalization', { attributes: { axes: [1, 3] } }),
  layer('LpNormalization', 'LpNormalization', { attributes: { axis: 1 } }),
  layer('LpNormalization of p = 1', 'LpNormalization', { attributes: { p: 1 } }),
  layer('LRN', 'LRN', { dims: [1, 9, 4, 5], attributes: { size: 5, alpha: { float: 0.3 }, beta: { float: 0.6 }, bias: { float: 1.5 } } }),
];

function transposed(name: string, x: readonly number[], w: readonly number[], attributes: Attributes = {}, group = 1): Case {
  const operands: [string, TensorValue][] = [['w', randomTensor(w, 11)], ['b', randomTensor([(w[1] ?? 1) * group], 12)]];
  return layer(`ConvTranspose ${name}`, 'ConvTranspose', { dims: x, operands, attributes: { ...attributes, group } });
}

const transposedConvolutions: Case[] = [
  transposed('2x2, stride 2', [1, 3, 5, 4], [3, 6, 2, 2], { strides: [2, 2] }),
  transposed('4x4, stride 2, padded', [2, 3, 5, 4], [3, 5, 4, 4], { strides: [2, 2], pads: [1, 1, 1, 1] }),
  transposed('3x3, stride 2, output_padding', [1, 3, 5, 4], [3, 4, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] }),
  transposed('3x5, uneven strides and pads', [1, 2, 6, 5], [2, 3, 3, 5], { strides: [3, 2], pads: [0, 2, 1, 1] }),
  transposed('stride beyond the kernel', [1, 2, 4, 3], [2, 3, 2, 1], { strides: [3, 2] }),
  transposed('stride 1', [1, 3, 5, 4], [3, 4, 3, 3], { pads: [1, 1, 1, 1] }),
  transposed('stride 1, pads beyond the kernel', [1, 3, 7, 6], [3, 4, 2, 2], { pads: [2, 2, 1, 1] }),
  transposed('dilated', [1, 3, 5, 4], [3, 2, 3, 2], { dilations: [2, 3], pads: [1, 0, 0, 1] }),
  transposed('dilated and strided', [1, 3, 5, 4], [3, 2, 3, 2], { strides: [2, 3], dilations: [3, 2] }),
  transposed('grouped', [1, 6, 4, 5], [6, 2, 3, 3], { strides: [2, 2], pads: [1, 1, 0, 0] }, 3),
  transposed('depthwise', [1, 5, 4, 5], [5, 1, 4, 4], { strides: [2, 2], pads: [1, 1, 1, 1] }, 5),
  transposed('with output_shape', [1, 2, 5, 4], [2, 3, 3, 3], { strides: [2, 2], output_shape: [10, 8] }),
  transposed('SAME_UPPER', [1, 2, 5, 4], [2, 3, 4, 3], { strides: [2, 2], auto_pad: 'SAME_UPPER' }),
  transposed('SAME_LOWER', [1, 2, 5, 4], [2, 3, 4, 3], { strides: [2, 2], auto_pad: 'SAME_LOWER' }),
  transposed('one-dimensional', [1, 3, 9], [3, 4, 5], { strides: [3], pads: [1, 2] }),
  {
    name: 'ConvTranspose between convolutions',
    spec: {
      inputs: { x: [1, 3, 6, 5] }, opset: 13,
      constants: { a: randomTensor([8, 3, 3, 3], 1, -0.4, 0.4), b: randomTensor([8, 4, 2, 2], 2, -0.4, 0.4), c: randomTensor([2, 4, 1, 1], 3) },
      nodes: [
        node('Conv', ['x', 'a'], ['p'], { pads: [1, 1, 1, 1] }), node('Relu', ['p'], ['q']), node('ConvTranspose', ['q', 'b'], ['r'], { strides: [2, 2] }),
        node('Relu', ['r'], ['s']), node('Conv', ['s', 'c'], ['y']),
      ],
      outputs: ['y'],
    },
    feeds: { x: randomTensor([1, 3, 6, 5], 4) },
  },
];

interface RecurrentOptions {
  readonly steps?: number;
  readonly batch?: number;
  readonly attributes?: Attributes;
  readonly outputs?: readonly string[];
  /** Which of lengths, h0, c0, P there are. */
  readonly with?: readonly ('bias' | 'lengths' | 'hidden' | 'cell' | 'peephole')[];
}

const gates: Readonly<Record<string, number>> = { RNN: 1, GRU: 3, LSTM: 4 };

/** 5 inputs, 7 units: neither fills a vector. */
function recurrent(name: string, op: string, { steps = 4, batch = 3, attributes = {}, outputs = ['y'], with: given = ['bias'] }: RecurrentOptions = {}): Case {
  const [inputs, units] = [5, 7];
  const d = attributes['direction'] === 'bidirectional' ? 2 : 1;
  const width = (gates[op] ?? 1) * units;
  const optional = (what: (typeof given)[number], tensor: TensorValue): readonly [string, TensorValue] => (given.includes(what) ? [what, tensor] : absent);
  const state = attributes['layout'] === 1 ? [batch, d, units] : [d, batch, units];
  const operands = [
    ['w', randomTensor([d, width, inputs], 31, -0.6, 0.6)], ['r', randomTensor([d, width, units], 32, -0.6, 0.6)],
    optional('bias', randomTensor([d, 2 * width], 33, -0.5, 0.5)), optional('lengths', fromInts('int32', Array.from({ length: batch }, (_, i) => steps - (i % steps)))),
    optional('hidden', randomTensor(state, 34)), ...(op === 'LSTM' ? [optional('cell', randomTensor(state, 35)), optional('peephole', randomTensor([d, 3 * units], 36, -0.5, 0.5))] : []),
  ] as const;
  return layer(`${op} ${name}`, op, { opset: 14, dims: attributes['layout'] === 1 ? [batch, steps, inputs] : [steps, batch, inputs], operands, attributes: { ...attributes, hidden_size: units }, outputs });
}

const states: Readonly<Record<string, readonly string[]>> = { RNN: ['y', 'h'], GRU: ['y', 'h'], LSTM: ['y', 'h', 'c'] };
const allStates: Readonly<Record<string, RecurrentOptions['with']>> = { RNN: ['bias', 'hidden'], GRU: ['bias', 'hidden'], LSTM: ['bias', 'hidden', 'cell'] };

const recurrents: Case[] = [
  ...['RNN', 'GRU', 'LSTM'].flatMap((op) => [
    recurrent('forward', op),
    recurrent('of one step without a bias, last states only', op, { steps: 1, batch: 1, with: [], outputs: ['', ...(states[op]?.slice(1) ?? [])] }),
    recurrent('reverse, with states', op, { attributes: { direction: 'reverse' }, with: allStates[op] ?? [], outputs: states[op] ?? [] }),
    recurrent('bidirectional, with states', op, { attributes: { direction: 'bidirectional' }, with: allStates[op] ?? [], outputs: states[op] ?? [] }),
    recurrent('with lengths', op, { batch: 5, attributes: { direction: 'bidirectional' }, with: [...(allStates[op] ?? []), 'lengths'], outputs: states[op] ?? [] }),
    recurrent('clipped', op, { attributes: { clip: { float: 0.3 } } }),
  ]),
  recurrent('with peepholes', 'LSTM', { with: ['bias', 'hidden', 'cell', 'peephole'], outputs: ['y', 'h', 'c'] }),
  recurrent('with input_forget', 'LSTM', { attributes: { input_forget: 1 } }),
  recurrent('with other functions', 'LSTM', {
    attributes: { activations: { type: 'strings', value: ['HardSigmoid', 'Softsign', 'LeakyRelu'] }, activation_alpha: { type: 'floats', value: [0.3, 0.05] }, activation_beta: { type: 'floats', value: [0.4] } },
  }),
  recurrent('with linear_before_reset', 'GRU', { attributes: { linear_before_reset: 1, direction: 'bidirectional' }, with: ['bias', 'hidden'], outputs: ['y', 'h'] }),
  recurrent('of Relu', 'RNN', { attributes: { activations: { type: 'strings', value: ['Relu'] } } }),
];

const resizeOpset = 19;

/** `factors`: scales by axis; `roi` as tf_crop_and_resize wants it. */
function resize(name: string, factors: readonly number[], attributes: Attributes, { dims = image, roi = [] }: { dims?: readonly number[]; roi?: readonly number[] } = {}): Case {
  const scales = ['scales', floats([factors.length], ...factors)] as const;
  const operands = roi.length === 0 ? [absent, scales] : [['roi', floats([roi.length], ...roi)] as const, scales];
  return layer(`Resize ${name}`, 'Resize', { dims, opset: resizeOpset, operands, attributes });
}

const sized = (name: string, sizes: readonly number[], attributes: Attributes): Case =>
  layer(`Resize ${name}`, 'Resize', { opset: resizeOpset, operands: [absent, absent, ['sizes', ints64(...sizes)]], attributes });

const resizes: Case[] = [
  resize('cubic', [1, 1, 1.7, 2.5], { mode: 'cubic' }),
  resize('cubic, shrinking, of another coefficient', [1, 1, 0.6, 0.5], { mode: 'cubic', cubic_coeff_a: { float: -0.5 } }),
  resize('cubic, align_corners', [1, 1, 2, 2], { mode: 'cubic', coordinate_transformation_mode: 'align_corners' }),
  resize('cubic, asymmetric, without what is outside', [1, 1, 1.5, 2], { mode: 'cubic', coordinate_transformation_mode: 'asymmetric', exclude_outside: 1 }),
  resize('linear, antialiased', [1, 1, 0.5, 0.4], { mode: 'linear', antialias: 1 }),
  resize('cubic, antialiased', [1, 1, 0.6, 0.4], { mode: 'cubic', antialias: 1 }),
  resize('linear, antialiased, growing', [1, 1, 1.5, 2], { mode: 'linear', antialias: 1 }),
  resize('linear, half_pixel_symmetric', [1, 1, 0.6, 1.4], { mode: 'linear', coordinate_transformation_mode: 'half_pixel_symmetric' }),
  resize('linear, one-dimensional', [1, 1, 2.5], { mode: 'linear' }, { dims: [2, 3, 8] }),
  resize('linear over channels too', [1, 2, 1.5, 1], { mode: 'linear' }, { dims: [1, 3, 4, 5] }),
  resize('to a crop', [1, 1, 1.5, 0.8], { mode: 'linear', coordinate_transformation_mode: 'tf_crop_and_resize', extrapolation_value: { float: 4 } }, { roi: [0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2] }),
  sized('to sizes, not larger', [7, 12], { mode: 'linear', axes: [2, 3], keep_aspect_ratio_policy: 'not_larger' }),
  sized('to sizes, not smaller', [9, 9], { mode: 'nearest', axes: [2, 3], keep_aspect_ratio_policy: 'not_smaller' }),
];

/** Bytes 'x' in, and further operands: constants, or inputs where they are `live`. */
function integers(name: string, op: string, x: TensorValue, operands: readonly (readonly [string, TensorValue])[], options: { attributes?: Attributes; live?: readonly string[]; type?: DType } = {}): Case {
  const { attributes, live = [], type = 'int32' } = options;
  const inputs = [['x', x] as const, ...operands.filter(([operand]) => live.includes(operand))];
  return {
    name,
    spec: {
      opset: 13, inputs: Object.fromEntries(inputs.map(([input, { dims }]) => [input, dims])), types: Object.fromEntries(inputs.map(([input, { dtype }]) => [input, dtype])),
      constants: Object.fromEntries(operands.filter(([operand]) => !live.includes(operand))),
      nodes: [node(op, ['x', ...operands.map(([operand]) => operand)], ['y'], attributes)], outputs: ['y'], outputTypes: { y: type },
    },
    feeds: Object.fromEntries(inputs),
  };
}

const bytesOf = (dtype: DType, dims: readonly number[], seed: number): TensorValue => (dtype === 'uint8' ? randomInts(dtype, dims, seed, 0, 255) : randomInts(dtype, dims, seed, -127, 127));
/** int8 weights of which any two, times 255, fit 16 bits: onnxruntime adds such pairs with saturation on CPUs without VNNI, unless it optimizes the graph. */
const weightsOf = (dims: readonly number[], seed: number): TensorValue => randomInts('int8', dims, seed, -64, 64);
const zero = (dtype: DType, value: number): TensorValue => fromNumbers(dtype, [], [value]);

function qlinearConv(name: string, dtype: DType, x: readonly number[], w: readonly number[], attributes: Attributes = {}): Case {
  const outputs = w[0] ?? 1;
  const operands = [
    ['xs', floats([], 0.02)], ['xz', zero(dtype, 3)], ['w', weightsOf(w, 2)], ['ws', randomTensor([outputs], 3, 0.004, 0.01)], ['wz', fromNumbers('int8', [outputs], new Array<number>(outputs).fill(0))],
    ['ys', floats([], 0.09)], ['yz', zero(dtype, 9)], ['b', randomInts('int32', [outputs], 4, -3000, 3000)],
  ] as const;
  return integers(`QLinearConv ${name}`, 'QLinearConv', bytesOf(dtype, x, 1), operands, { attributes, type: dtype });
}

function dynamic(name: string, low: number, high: number): Case {
  const example = layer(name, 'DynamicQuantizeLinear', { outputs: ['y', 'scale', 'zero'], low, high });
  return { ...example, spec: { ...example.spec, outputTypes: { y: 'uint8', zero: 'uint8' } } };
}

interface DynamicLayer {
  readonly w: TensorValue;
  readonly scale: TensorValue;
  readonly zero?: TensorValue;
  readonly bias?: boolean;
}

/** Layers on one DynamicQuantizeLinear, as onnxruntime's quantize_dynamic writes them; layer i has the output y{i}. */
function dynamicLayers(name: string, dims: readonly number[], layers: readonly DynamicLayer[]): Case {
  const constants = Object.fromEntries(layers.flatMap(({ w, scale, zero: bz, bias }, i) => [
    [`w${i}`, w], [`ws${i}`, scale], ...(bz === undefined ? [] : [[`bz${i}`, bz]]), ...(bias === true ? [[`b${i}`, randomTensor([w.dims[1] ?? 1], 9 + i)]] : []),
  ] as [string, TensorValue][]));
  const nodes = layers.flatMap(({ zero: bz, bias }, i) => [
    node('MatMulInteger', ['q', `w${i}`, 'z', ...(bz === undefined ? [] : [`bz${i}`])], [`i${i}`]), node('Cast', [`i${i}`], [`f${i}`], { to: 1 }),
    node('Mul', ['s', `ws${i}`], [`t${i}`]), node('Mul', i % 2 === 0 ? [`f${i}`, `t${i}`] : [`t${i}`, `f${i}`], [bias === true ? `m${i}` : `y${i}`]),
    ...(bias === true ? [node('Add', [`b${i}`, `m${i}`], [`y${i}`])] : []),
  ]);
  return { name, spec: { opset: 13, inputs: { x: dims }, constants, nodes: [node('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']), ...nodes], outputs: layers.map((_, i) => `y${i}`) }, feeds: { x: randomTensor(dims, 5, -2, 3) } };
}

const matMulScales = [['as', floats([], 0.02)], ['az', zero('uint8', 110)]] as const;

export const integerCases: readonly Case[] = [
  qlinearConv('of uint8', 'uint8', [1, 5, 7, 6], [8, 5, 3, 3], { pads: [1, 1, 1, 1] }),
  qlinearConv('of int8, grouped and strided', 'int8', [1, 6, 7, 6], [4, 3, 3, 3], { strides: [2, 2], group: 2 }),
  qlinearConv('one-dimensional', 'uint8', [1, 4, 12], [6, 4, 5]),
  integers('QLinearMatMul by a constant', 'QLinearMatMul', bytesOf('uint8', [3, 20], 1), [
    ...matMulScales, ['b', weightsOf([20, 6], 2)], ['bs', floats([], 0.008)], ['bz', zero('int8', 0)], ['ys', floats([], 0.05)], ['yz', zero('uint8', 120)],
  ], { type: 'uint8' }),
  integers('QLinearMatMul of two inputs', 'QLinearMatMul', bytesOf('uint8', [2, 3, 20], 1), [
    ...matMulScales, ['b', bytesOf('uint8', [2, 20, 6], 2)], ['bs', floats([], 0.008)], ['bz', zero('uint8', 130)], ['ys', floats([], 0.07)], ['yz', zero('uint8', 120)],
  ], { live: ['b'], type: 'uint8' }),
  integers('MatMulInteger by a constant, more than a block deep', 'MatMulInteger', bytesOf('uint8', [5, 600], 1), [['b', weightsOf([600, 7], 2)], ['az', zero('uint8', 117)]]),
  integers('MatMulInteger, a zero-point for each column', 'MatMulInteger', bytesOf('uint8', [2, 3, 9], 1), [['b', bytesOf('uint8', [9, 4], 2)], ['az', zero('uint8', 3)], ['bz', randomInts('uint8', [4], 3, 100, 140)]]),
  integers('MatMulInteger of three inputs', 'MatMulInteger', bytesOf('uint8', [2, 33, 300], 1), [['b', bytesOf('uint8', [2, 300, 5], 2)], ['az', zero('uint8', 200)]], { live: ['b', 'az'] }),
  integers('ConvInteger', 'ConvInteger', bytesOf('uint8', [1, 3, 7, 6], 1), [['w', bytesOf('uint8', [4, 3, 3, 3], 2)], ['xz', zero('uint8', 99)]], { attributes: { pads: [1, 1, 1, 1], strides: [2, 1] } }),
  integers('ConvInteger, its zero-point an input, grouped', 'ConvInteger', bytesOf('uint8', [1, 4, 6, 6], 1), [['w', bytesOf('uint8', [6, 2, 2, 3], 2)], ['xz', zero('uint8', 99)]], { attributes: { pads: [0, 1, 0, 1], group: 2 }, live: ['xz'] }),
  integers('MaxPool of bytes', 'MaxPool', bytesOf('uint8', [1, 3, 7, 6], 1), [], { attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }, type: 'uint8' }),
  dynamic('DynamicQuantizeLinear', -3, 1),
  dynamic('DynamicQuantizeLinear of positive numbers', 0.5, 3),
  dynamicLayers('dynamic layers on one quantization', [2, 5, 40], [
    { w: weightsOf([40, 24], 1), scale: floats([], 0.01), bias: true },
    { w: weightsOf([40, 7], 2), scale: randomTensor([7], 3, 0.004, 0.01), zero: fromNumbers('int8', [7], [0, 0, 0, 0, 0, 0, 0]), bias: true },
    { w: weightsOf([40, 65], 4), scale: floats([1], 0.02) },
  ]),
  dynamicLayers('dynamic layers whose weights need more than 8 bits less their zero-point', [3, 37], [
    { w: bytesOf('uint8', [37, 9], 1), scale: floats([], 0.01), zero: zero('uint8', 0), bias: true },
    { w: bytesOf('uint8', [37, 9], 2), scale: floats([], 0.01), zero: zero('uint8', 255) },
    { w: bytesOf('uint8', [37, 33], 3), scale: randomTensor([33], 3, 0.004, 0.01), zero: bytesOf('uint8', [33], 4), bias: true },
  ]),
];

interface Blocks {
  readonly rows: number;
  readonly depth: number;
  readonly block: number;
  readonly zeroPoints?: boolean;
  /** Scales that binary16 holds, as the engine's kernel for such weights wants them. */
  readonly halves: boolean;
  /** A Gemm with weights [N, K] and a bias, instead of a MatMul. */
  readonly gemm?: boolean;
}

/** x [rows, depth] by int4 weights [depth, 6] with a scale for every `block` along the depth, as weight-only quantizers write them. */
function blockedWeights(name: string, { rows, depth, block, zeroPoints = false, halves, gemm = false }: Blocks): Case {
  const along = (length: number): number[] => (gemm ? [6, length] : [length, 6]);
  const count = Math.ceil(depth / block);
  const scales = randomTensor(along(count), 4, 0.01, 0.2);
  const constants = {
    w: randomInts('int4', along(depth), 3, -8, 7),
    s: halves ? fromNumbers('float32', scales.dims, Float64Array.from(scales.data as Float32Array, (s) => Math.round(s * 4096) / 4096)) : scales,
    ...(zeroPoints ? { z: randomInts('int4', along(count), 5, -3, 3) } : {}), ...(gemm ? { b: randomTensor([6], 6) } : {}),
  };
  const product = gemm ? node('Gemm', ['x', 'wd', 'b'], ['y'], { transB: 1 }) : node('MatMul', ['x', 'wd'], ['y']);
  return {
    name,
    spec: {
      opset: 21, inputs: { x: [rows, depth] }, constants, outputs: ['y'],
      nodes: [node('DequantizeLinear', ['w', 's', ...(zeroPoints ? ['z'] : [])], ['wd'], { axis: gemm ? 1 : 0, block_size: block }), product],
    },
    feeds: { x: randomTensor([rows, depth], 7) },
  };
}

/** Those that run with their weights as codes. */
export const int4Cases: readonly Case[] = [
  ...[32, 64, 128].map((block) => blockedWeights(`MatMul by int4 in blocks of ${block}`, { rows: 1, depth: 256, block, halves: true })),
  blockedWeights('MatMul of four rows by int4 in blocks', { rows: 4, depth: 96, block: 32, halves: true }),
  blockedWeights('Gemm by int4 in blocks', { rows: 2, depth: 128, block: 64, halves: true, gemm: true }),
];
const floatBlocks: readonly Case[] = [
  blockedWeights('MatMul of five rows by int4 in blocks', { rows: 5, depth: 96, block: 32, halves: true }),
  blockedWeights('MatMul by int4, the last block shorter', { rows: 4, depth: 70, block: 32, halves: true }),
  blockedWeights('MatMul by int4 in blocks of 16', { rows: 4, depth: 64, block: 16, halves: true }),
  blockedWeights('MatMul by int4 in blocks, scales of 32 bits', { rows: 4, depth: 64, block: 32, halves: false }),
  blockedWeights('MatMul by int4 in blocks, with zero-points', { rows: 4, depth: 64, block: 32, halves: true, zeroPoints: true }),
];

export const layerCases: readonly Case[] = [...int4Cases, ...floatBlocks, ...resizes, ...integerCases, ...functions, ...pools, ...normalizations, ...transposedConvolutions, ...recurrents];
