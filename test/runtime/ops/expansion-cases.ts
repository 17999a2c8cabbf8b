import { fromNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { OnnxGraph, OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, ints64, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import type { Case } from './cases.js';

// Operators that runtime/expand defines by others: control flow, sequences, functions, other domains.

type Values = Readonly<Record<string, TensorValue>>;
type Attributes = Parameters<typeof node>[3];

const scalar = (dtype: DType, value: number): TensorValue => fromNumbers(dtype, [], [value]);
const contrib = (op: string, inputs: readonly string[], outputs: readonly string[], attributes?: Attributes): OnnxNode => ({ ...node(op, inputs, outputs, attributes), domain: 'com.microsoft' });

function graph(inputs: Readonly<Record<string, DType>>, nodes: readonly OnnxNode[], outputs: Readonly<Record<string, DType>>, constants: Values = {}): OnnxGraph {
  return {
    name: 'body', nodes, initializers: new Map(Object.entries(constants)), valueInfo: [],
    inputs: Object.entries(inputs).map(([name, dtype]) => (dtype === 'float32' ? { name, dtype } : { name, dtype, dims: [] })), outputs: Object.entries(outputs).map(([name, dtype]) => ({ name, dtype })),
  };
}
const body = (value: OnnxGraph) => ({ type: 'graph', value }) as const;

/** Nodes over fed values. */
function network(name: string, feeds: Values, nodes: readonly OnnxNode[], options: Partial<ModelSpec> = {}): Case {
  const outputs = options.outputs ?? ['y'];
  return {
    name,
    spec: {
      opset: 18, nodes, ...options, outputs,
      inputs: Object.fromEntries(Object.entries(feeds).map(([input, { dims }]) => [input, dims])), types: Object.fromEntries(Object.entries(feeds).map(([input, { dtype }]) => [input, dtype])),
    },
    feeds,
  };
}
const x = randomTensor([2, 3, 4], 1);
const one = (name: string, op: string, feeds: Values, options: Partial<ModelSpec> & { attributes?: Attributes } = {}): Case =>
  network(name, feeds, [node(op, [...Object.keys(feeds), ...Object.keys(options.constants ?? {})], options.outputs ?? ['y'], options.attributes)], options);

const branches = { then_branch: body(graph({}, [node('Relu', ['x'], ['t'])], { t: 'float32' })), else_branch: body(graph({}, [node('Neg', ['x'], ['e'])], { e: 'float32' })) };
const counting = body(graph({ i: 'int64', c: 'bool', s: 'float32' }, [node('Add', ['s', 'x'], ['next']), node('Identity', ['c'], ['on']), node('ReduceMean', ['next'], ['mean'], { keepdims: 0 })], { on: 'bool', next: 'float32', mean: 'float32' }));
/** The same, with the shapes of what it gives. */
const stating = body({ ...counting.value, outputs: counting.value.outputs.map((value) => ({ ...value, dims: value.name === 'next' ? [2, 3, 4] : [] })) });

const control: Case[] = [
  network('If of a constant', { x }, [node('If', ['c'], ['y'], branches)], { constants: { c: scalar('bool', 0) } }),
  network('If by a shape', { x }, [node('Shape', ['x'], ['s']), node('Gather', ['s', 'one'], ['d']), node('Equal', ['d', 'three'], ['c']), node('If', ['c'], ['y'], branches)], { constants: { one: scalar('int64', 1), three: scalar('int64', 3) } }),
  ...[0, 1].map((c) => network(`If of a condition that is fed ${c}`, { x, c: scalar('bool', c) }, [node('If', ['c'], ['y'], branches)])),
  network('If of a condition that is computed', { x }, [node('ReduceSum', ['x'], ['sum'], { keepdims: 0 }), node('Less', ['sum', 'zero'], ['c']), node('If', ['c'], ['y'], branches)], { constants: { zero: scalar('float32', 0) } }),
  network('If within If', { x }, [node('If', ['c'], ['y'], { ...branches, else_branch: body(graph({}, [node('Abs', ['x'], ['a']), node('If', ['c2'], ['e'], { then_branch: body(graph({}, [node('Sqrt', ['a'], ['q'])], { q: 'float32' })), else_branch: body(graph({}, [node('Neg', ['a'], ['w'])], { w: 'float32' })) })], { e: 'float32' })) })],
    { constants: { c: scalar('bool', 0), c2: scalar('bool', 1) } }),
  network('Loop of three, with rows', { x }, [node('Loop', ['m', 'c', 'x'], ['y', 'rows'], { body: counting })], { constants: { m: scalar('int64', 3), c: scalar('bool', 1) }, outputs: ['y', 'rows'] }),
  network('Loop of no step, with rows', { x }, [node('Loop', ['m', 'c', 'x'], ['y', 'rows'], { body: stating })], { constants: { m: scalar('int64', 0), c: scalar('bool', 1) }, outputs: ['y', 'rows'], outputTypes: { y: 'float32', rows: 'float32' } }),
  network('Loop without a condition', { x }, [node('Loop', ['m', '', 'x'], ['y', 'rows'], { body: counting })], { constants: { m: scalar('int64', 2) }, outputs: ['y', 'rows'] }),
  network('Scan, and backwards', { a: randomTensor([4, 3], 2), s: randomTensor([3], 3) }, [node('Scan', ['s', 'a'], ['y', 'rows'], {
    body: body(graph({ p: 'float32', q: 'float32' }, [node('Add', ['p', 'q'], ['n']), node('Tanh', ['n'], ['r'])], { n: 'float32', r: 'float32' })), num_scan_inputs: 1, scan_input_directions: [1],
  })], { outputs: ['y', 'rows'] }),
];

const pixelCodes = randomInts('uint8', [1, 2, 5, 4], 5, 0, 255);
const resizes: Case[] = [
  ...(['uint8', 'int8', 'int32'] as const).map((dtype) => network(`Resize of ${dtype}, linear`, { c: randomInts(dtype, [1, 2, 5, 4], 6, -100, 100) }, [node('Resize', ['c', '', '', 'z'], ['y'], { mode: 'linear' })], { constants: { z: ints64(1, 2, 10, 8) } })),
  network('Resize of int32, nearest', { c: randomInts('int32', [1, 2, 5, 4], 7, -(2 ** 30), 2 ** 30) }, [node('Resize', ['c', '', '', 'z'], ['y'])], { constants: { z: ints64(1, 2, 9, 3) } }),
  network('Upsample of uint8', { c: pixelCodes }, [node('Upsample', ['c', 's'], ['y'])], { opset: 9, constants: { s: floats([4], 1, 1, 2, 3) } }),
];

/** Each row sees the columns up to its own, as exporters of language models store it. */
const triangle = fromNumbers('float32', [5, 5], Array.from({ length: 25 }, (_, i) => (i % 5 > Math.floor(i / 5) ? -Infinity : 0)));
const masks: Case[] = [
  network('a mask of -Infinity that is stored', { q: randomTensor([1, 2, 5, 8], 1), k: randomTensor([1, 2, 8, 5], 2), v: randomTensor([1, 2, 5, 8], 3) }, [
    node('MatMul', ['q', 'k'], ['s']), node('Add', ['s', 'mask'], ['m']), node('Softmax', ['m'], ['p'], { axis: -1 }), node('MatMul', ['p', 'v'], ['y']),
  ], { constants: { mask: triangle } }),
  network('rows of a mask of -Infinity', { x: randomTensor([2, 5], 4), i: ints64(3, 1) }, [node('Gather', ['mask', 'i'], ['m']), node('Add', ['x', 'm'], ['s']), node('Softmax', ['s'], ['y'], { axis: -1 })], { constants: { mask: triangle } }),
];

const sequences: Case[] = [
  network('SplitToSequence, SequenceAt', { x }, [node('SplitToSequence', ['x'], ['s'], { axis: 1 }), node('SequenceAt', ['s', 'at'], ['y'])], { constants: { at: scalar('int64', -1) } }),
  network('a sequence put together', { x, z: randomTensor([2, 3, 4], 2) }, [
    node('SequenceConstruct', ['x', 'z'], ['s']), node('SequenceInsert', ['s', 'z', 'at'], ['t']), node('SequenceErase', ['t', 'at2'], ['u']), node('ConcatFromSequence', ['u'], ['y'], { axis: 1 }), node('SequenceLength', ['u'], ['n'])],
    { constants: { at: scalar('int64', 0), at2: scalar('int64', 1) }, outputs: ['y', 'n'], outputTypes: { n: 'int64' } }),
  network('a sequence that starts empty', { x }, [node('SequenceEmpty', [], ['s']), node('SequenceInsert', ['s', 'x'], ['t']), node('SequenceAt', ['t', 'at'], ['y'])], { constants: { at: scalar('int64', 0) } }),
  network('ConcatFromSequence on a new axis', { x }, [node('SplitToSequence', ['x', 'two'], ['s'], { axis: 2 }), node('ConcatFromSequence', ['s'], ['y'], { axis: 0, new_axis: 1 })], { constants: { two: scalar('int64', 2) } }),
];

const local = { name: 'Scaled', domain: 'loc', overload: '', inputs: ['v', 'f'], outputs: ['w'], defaults: new Map([['alpha', { type: 'float', value: 0.25 } as const]]),
  nodes: [{ ...node('LeakyRelu', ['v'], ['l']), attributes: new Map([['alpha', { type: 'reference', value: 'alpha' } as const]]) }, node('Mul', ['l', 'f'], ['w'])] };
const functions: Case[] = [
  network('a function of the model', { x }, [{ ...node('Scaled', ['x', 'k'], ['m'], { alpha: { float: 0.5 } }), domain: 'loc' }, { ...node('Scaled', ['m', 'k'], ['y']), domain: 'loc' }],
    { functions: [local], domains: { loc: 1 }, constants: { k: floats([], 1.5) } }),
];

const elements: Case[] = [
  one('IsNaN', 'IsNaN', { x: floats([4], 1, NaN, Infinity, 0) }, { outputTypes: { y: 'bool' } }),
  ...[[1, 1], [1, 0], [0, 1]].map(([p = 1, n = 1]) => one(`IsInf ${p} ${n}`, 'IsInf', { x: floats([4], 1, -Infinity, Infinity, NaN) }, { outputTypes: { y: 'bool' }, attributes: { detect_positive: p, detect_negative: n } })),
  ...[-1, 0, 2].flatMap((k) => [0, 1].map((upper) => one(`Trilu ${upper} ${k}`, 'Trilu', { x }, { constants: { k: scalar('int64', k) }, attributes: { upper } }))),
  one('Trilu by a diagonal that is fed', 'Trilu', { x, k: scalar('int64', 1) }),
  one('OneHot', 'OneHot', { i: randomInts('int64', [2, 3], 3, -5, 4) }, { constants: { d: scalar('int64', 5), v: floats([2], -1, 2) } }),
  one('OneHot on an inner axis', 'OneHot', { i: randomInts('int64', [2, 3], 3, 0, 4) }, { constants: { d: scalar('int64', 5), v: floats([2], 0, 1) }, attributes: { axis: 1 } }),
  one('EyeLike', 'EyeLike', { x: randomTensor([3, 5], 1) }, { attributes: { k: 1 } }),
  one('ReverseSequence', 'ReverseSequence', { x: randomTensor([4, 3, 2], 1), n: randomInts('int64', [3], 2, 1, 4) }),
  one('Clip by bounds that are fed', 'Clip', { x, low: scalar('float32', -0.2), high: scalar('float32', 0.4) }),
  network('Clip by a bound that is computed', { x }, [node('ReduceMax', ['x'], ['top'], { keepdims: 0 }), node('Sub', ['top', 'k'], ['low']), node('Clip', ['x', 'low'], ['y'])], { constants: { k: floats([], 0.5) } }),
  one('BatchNormalization by parameters that are fed', 'BatchNormalization', { x, s: randomTensor([3], 2), b: randomTensor([3], 3), m: randomTensor([3], 4), v: randomTensor([3], 5, 0.2, 1) }),
  one('CastLike', 'CastLike', { x, like: ints64(1) }, { opset: 15, outputTypes: { y: 'int64' } }),
];

const newer: Case[] = [
  one('Swish', 'Swish', { x }, { opset: 24, attributes: { alpha: { float: 1.5 } } }),
  one('RMSNormalization', 'RMSNormalization', { x }, { opset: 23, constants: { s: randomTensor([4], 2) }, attributes: { axis: -1, epsilon: { float: 1e-4 } } }),
];

const pools: Case[] = [
  one('MaxPool with indices', 'MaxPool', { x: randomTensor([2, 3, 7, 6], 1) }, { attributes: { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 1, 1] }, outputs: ['y', 'i'], outputTypes: { i: 'int64' } }),
  one('MaxPool with indices by column', 'MaxPool', { x: randomTensor([1, 2, 5, 6], 1) }, { attributes: { kernel_shape: [2, 2], storage_order: 1 }, outputs: ['y', 'i'], outputTypes: { i: 'int64' } }),
  one('MaxPool over three axes', 'MaxPool', { x: randomTensor([1, 2, 5, 6, 7], 1) }, { attributes: { kernel_shape: [2, 3, 2], strides: [2, 1, 2], pads: [1, 1, 0, 0, 1, 1] } }),
  ...[0, 1].flatMap((count_include_pad) => [0, 1].map((ceil_mode) => one(`AveragePool over three axes ${count_include_pad} ${ceil_mode}`, 'AveragePool', { x: randomTensor([1, 2, 5, 6, 7], 1) }, { opset: 19, attributes: { kernel_shape: [2, 3, 2], strides: [2, 2, 2], pads: [1, 1, 0, 0, 1, 1], count_include_pad, ceil_mode } }))),
  one('AveragePool with dilations over three axes', 'AveragePool', { x: randomTensor([1, 2, 7, 6, 8], 1) }, { opset: 19, attributes: { kernel_shape: [2, 3, 2], strides: [2, 1, 2], dilations: [2, 1, 3], pads: [1, 1, 0, 0, 1, 1], ceil_mode: 1 } }),
  ...[1, 2, 3].map((p) => one(`LpPool ${p} over three axes`, 'LpPool', { x: randomTensor([1, 2, 7, 6, 8], 1) }, { opset: 18, attributes: { p, kernel_shape: [2, 3, 2], strides: [2, 1, 2], dilations: [2, 1, 1], pads: [1, 1, 0, 0, 1, 1] } })),
  one('GlobalAveragePool over three axes', 'GlobalAveragePool', { x: randomTensor([1, 2, 3, 4, 5], 1) }),
  one('GlobalMaxPool over three axes', 'GlobalMaxPool', { x: randomTensor([1, 2, 3, 4, 5], 1) }),
];

const convolutions: Case[] = [
  one('Conv over three axes', 'Conv', { x: randomTensor([2, 4, 5, 6, 7], 1) }, { constants: { w: randomTensor([6, 2, 3, 2, 3], 2), b: randomTensor([6], 3) }, attributes: { group: 2, strides: [2, 1, 2], pads: [1, 0, 1, 1, 1, 1], dilations: [1, 2, 1] } }),
  one('ConvTranspose over three axes', 'ConvTranspose', { x: randomTensor([1, 2, 3, 3, 4], 1) }, { constants: { w: randomTensor([2, 3, 3, 2, 3], 2), b: randomTensor([3], 3) }, attributes: { strides: [2, 1, 2], pads: [1, 0, 1, 0, 0, 1], output_padding: [1, 0, 0] } }),
  one('Conv by weights that are fed', 'Conv', { x: randomTensor([2, 4, 6, 5], 1), w: randomTensor([6, 2, 3, 2], 2), b: randomTensor([6], 3) }, { attributes: { group: 2, pads: [1, 0, 1, 1], strides: [2, 1] } }),
  one('Conv along one axis by weights that are fed', 'Conv', { x: randomTensor([1, 3, 9], 1), w: randomTensor([3, 1, 3], 2) }, { attributes: { group: 3, pads: [1, 1] } }),
];

const movements: Case[] = [
  one('Pad of less than nothing', 'Pad', { x: randomTensor([1, 2, 5, 5], 1) }, { constants: { p: ints64(0, 0, -1, 2, 0, 1, -2, -1) } }),
  one('Pad around the edge', 'Pad', { x: randomTensor([1, 2, 5, 4], 1) }, { opset: 19, constants: { p: ints64(0, 0, 2, 1, 0, 0, 1, 3) }, attributes: { mode: 'wrap' } }),
  one('ScatterND at places that are known', 'ScatterND', { x: randomTensor([4, 5, 2], 1) }, { constants: { i: fromNumbers('int64', [3, 2], [0, 1, 3, -1, 2, 2]), u: randomTensor([3, 2], 2) } }),
  one('Compress by what is known', 'Compress', { x: randomTensor([4, 3], 1) }, { constants: { c: fromNumbers('bool', [4], [1, 0, 1, 0]) }, attributes: { axis: 0 } }),
];

const labels = (...dims: number[]): TensorValue => randomInts('int64', dims, 5, 0, 4);
const weights = floats([5], 0.5, 1, 2, 0.25, 3);
const losses: Case[] = [
  one('SoftmaxCrossEntropyLoss, with logarithms', 'SoftmaxCrossEntropyLoss', { x: randomTensor([3, 5, 2, 2], 1), t: labels(3, 2, 2) }, { opset: 13, constants: { w: weights }, outputs: ['y', 'p'], attributes: { ignore_index: 1 } }),
  one('SoftmaxCrossEntropyLoss of rows', 'SoftmaxCrossEntropyLoss', { x: randomTensor([3, 5], 1), t: labels(3) }, { opset: 12, attributes: { reduction: 'none' } }),
  one('NegativeLogLikelihoodLoss, summed', 'NegativeLogLikelihoodLoss', { x: randomTensor([3, 5, 4], 1), t: labels(3, 4) }, { opset: 13, constants: { w: weights }, attributes: { reduction: 'sum' } }),
  one('NegativeLogLikelihoodLoss, the mean', 'NegativeLogLikelihoodLoss', { x: randomTensor([3, 5, 4], 1), t: labels(3, 4) }, { opset: 13, attributes: { ignore_index: 2 } }),
];

const added = (name: string, op: string, constants: Values, attributes: Attributes = {}): Case => {
  const { spec, feeds } = network(name, { x: floats([], 1) }, [node(op, Object.keys(constants), ['w'], attributes), node('Add', ['x', 'w'], ['y'])], { constants });
  return { name, spec, feeds };
};
const whole = (value: number): TensorValue => scalar('int64', value);
const spectra: Case[] = [
  ...['HannWindow', 'HammingWindow', 'BlackmanWindow'].flatMap((op) => [0, 1].map((periodic) => added(`${op} ${periodic}`, op, { n: whole(10) }, { periodic }))),
  added('MelWeightMatrix', 'MelWeightMatrix', { n: whole(8), l: whole(64), r: whole(8192), low: floats([], 0), high: floats([], 4096) }),
  one('DFT of real numbers, one side', 'DFT', { x: randomTensor([2, 7, 3, 1], 1) }, { opset: 17, attributes: { axis: 1, onesided: 1 } }),
  one('DFT of complex numbers, cut and inverse', 'DFT', { x: randomTensor([2, 9, 2], 1) }, { opset: 17, constants: { n: whole(6) }, attributes: { axis: 1, inverse: 1 } }),
  one('DFT of operator set 20, filled up', 'DFT', { x: randomTensor([2, 3, 5, 2], 1) }, { opset: 20, constants: { n: whole(8), a: whole(-3) } }),
  one('STFT', 'STFT', { x: randomTensor([2, 40, 1], 1) }, { opset: 17, constants: { s: whole(6), w: randomTensor([16], 2) } }),
];

const bytesShifted: Case[] = ['LEFT', 'RIGHT'].map((direction) => one(`BitShift ${direction}`, 'BitShift', { x: randomInts('uint8', [3, 4], 1, 0, 255), n: randomInts('uint8', [4], 2, 0, 7) }, { attributes: { direction }, outputTypes: { y: 'uint8' } }));

const unpooled: Case[] = [
  network('MaxUnpool of what MaxPool found', { x: randomTensor([1, 2, 4, 6], 1) }, [node('MaxPool', ['x'], ['p', 'i'], { kernel_shape: [2, 2], strides: [2, 2] }), node('MaxUnpool', ['p', 'i'], ['y'], { kernel_shape: [2, 2], strides: [2, 2] })]),
];

const mapped: Case[] = [
  network('SequenceMap', { x, z: randomTensor([3, 4], 2) }, [
    node('SplitToSequence', ['x'], ['s'], { axis: 0, keepdims: 0 }), node('SequenceMap', ['s', 'z'], ['t'], { body: body(graph({ a: 'float32', b: 'float32' }, [node('Mul', ['a', 'b'], ['c'])], { c: 'float32' })) }), node('ConcatFromSequence', ['t'], ['y'], { axis: 0 }),
  ]),
];

const u8 = (dims: readonly number[], seed: number): TensorValue => randomInts('uint8', dims, seed, 0, 255);
const q = (scale: number, zero: number, at: string): Values => ({ [`${at}s`]: floats([], scale), [`${at}z`]: scalar('uint8', zero) });
const ms = (name: string, op: string, feeds: Values, inputs: readonly string[], constants: Values, attributes: Attributes = {}, options: Partial<ModelSpec> = {}, made?: readonly string[]): Case =>
  network(name, feeds, [contrib(op, inputs, made ?? options.outputs ?? ['y'], attributes)], { opset: 17, domains: { 'com.microsoft': 1 }, constants, ...options });
const bytes = { outputTypes: { y: 'uint8' } } as const;
const map = [1, 4, 6, 5] as const;
const two = ['a', 'as', 'az', 'b', 'bs', 'bz', 'ys', 'yz'];
const twice = { ...q(0.05, 120, 'a'), ...q(0.03, 100, 'b'), ...q(0.09, 110, 'y') };
const once = { ...q(0.05, 120, 'a'), ...q(0.04, 90, 'y') };

const quantized: Case[] = [
  ...['QLinearAdd', 'QLinearMul'].map((op) => ms(op, op, { a: u8(map, 1), b: u8(map, 2) }, two, twice, {}, bytes)),
  ms('QLinearAdd, broadcast', 'QLinearAdd', { a: u8(map, 1), b: u8([1, 4, 1, 1], 2) }, two, twice, {}, bytes),
  ms('QLinearSigmoid', 'QLinearSigmoid', { a: u8(map, 1) }, ['a', 'as', 'az', 'ys', 'yz'], { ...q(0.05, 120, 'a'), ...q(1 / 256, 0, 'y') }, {}, bytes),
  ms('QLinearLeakyRelu', 'QLinearLeakyRelu', { a: u8(map, 1) }, ['a', 'as', 'az', 'ys', 'yz'], once, { alpha: { float: 0.1 } }, bytes),
  ms('QLinearGlobalAveragePool', 'QLinearGlobalAveragePool', { a: u8(map, 1) }, ['a', 'as', 'az', 'ys', 'yz'], once, {}, bytes),
  ms('QLinearAveragePool', 'QLinearAveragePool', { a: u8(map, 1) }, ['a', 'as', 'az', 'ys', 'yz'], { ...q(0.05, 120, 'a'), ...q(0.0413, 90, 'y') }, { kernel_shape: [2, 3], strides: [2, 1] }, bytes),
  ms('QLinearConcat', 'QLinearConcat', { a: u8(map, 1), b: u8(map, 2) }, ['ys', 'yz', 'a', 'as', 'az', 'b', 'bs', 'bz'], twice, { axis: 1 }, bytes),
  ms('QLinearSoftmax', 'QLinearSoftmax', { a: u8([3, 8], 1) }, ['a', 'as', 'az', 'ys', 'yz'], { ...q(0.05, 120, 'a'), ...q(1 / 256, 0, 'y') }, { axis: -1, opset: 13 }, bytes),
  ms('QLinearWhere', 'QLinearWhere', { c: randomInts('bool', map, 3, 0, 1), a: u8(map, 1), b: u8(map, 2) }, ['c', ...two], twice, {}, bytes),
  ms('MatMulIntegerToFloat', 'MatMulIntegerToFloat', { a: u8([3, 8], 1) }, ['a', 'w', 'as', 'bs', 'az', 'bz', 'bias'], { w: u8([8, 5], 2), as: floats([], 0.02), bs: floats([], 0.01), az: scalar('uint8', 120), bz: scalar('uint8', 128), bias: randomTensor([5], 4) }),
  ms('MatMulNBits', 'MatMulNBits', { a: randomTensor([6, 64], 1) }, ['a', 'w', 's'], { w: u8([8, 2, 16], 2), s: randomTensor([16], 3, 0.01, 0.1) }, { K: 64, N: 8, bits: 4, block_size: 32 }),
  ms('MatMulNBits with zero-points', 'MatMulNBits', { a: randomTensor([6, 64], 1) }, ['a', 'w', 's', 'z'], { w: u8([8, 2, 16], 2), s: randomTensor([16], 3, 0.01, 0.1), z: u8([8], 4) }, { K: 64, N: 8, bits: 4, block_size: 32 }),
];

const fused: Case[] = [
  ms('FusedConv', 'FusedConv', { x: randomTensor(map, 1) }, ['x', 'w', 'b'], { w: randomTensor([3, 4, 3, 3], 2), b: randomTensor([3], 3) }, { activation: 'Relu' }),
  ms('FusedMatMul', 'FusedMatMul', { a: randomTensor([2, 4, 3], 1), b: randomTensor([2, 5, 4], 2) }, ['a', 'b'], {}, { transA: 1, transB: 1, alpha: { float: 0.5 } }),
  ms('FusedGemm', 'FusedGemm', { a: randomTensor([3, 4], 1) }, ['a', 'w', 'b'], { w: randomTensor([4, 5], 2), b: randomTensor([5], 3) }, { activation: 'LeakyRelu', activation_alpha: { float: 0.2 } }),
  ms('BiasGelu', 'BiasGelu', { x: randomTensor([2, 8], 1) }, ['x', 'b'], { b: randomTensor([8], 2) }),
  ms('FastGelu', 'FastGelu', { x: randomTensor([2, 8], 1) }, ['x', 'b'], { b: randomTensor([8], 2) }),
  ms('QuickGelu', 'QuickGelu', { x: randomTensor([2, 8], 1) }, ['x'], {}, { alpha: { float: 1.702 } }),
  ms('SkipLayerNormalization', 'SkipLayerNormalization', { x: randomTensor([1, 3, 8], 1), s: randomTensor([1, 3, 8], 2) }, ['x', 's', 'g', 'b', 'c'], { g: randomTensor([8], 3), b: randomTensor([8], 4), c: randomTensor([8], 5) }, { epsilon: { float: 1e-5 } }, { outputs: ['y', 'sum'] }, ['y', '', '', 'sum']),
  ms('SkipSimplifiedLayerNormalization', 'SkipSimplifiedLayerNormalization', { x: randomTensor([1, 3, 8], 1), s: randomTensor([1, 3, 8], 2) }, ['x', 's', 'g'], { g: randomTensor([8], 3) }, { epsilon: { float: 1e-5 } }),
  network('SimplifiedLayerNormalization', { x: randomTensor([2, 3, 8], 1) }, [node('SimplifiedLayerNormalization', ['x', 'g'], ['y'], { axis: -1, epsilon: { float: 1e-5 } })], { constants: { g: randomTensor([8], 2) } }),
];

const narrow = (name: 'uint16' | 'int16', zero: number): TensorValue => ({ ...scalar('int32', zero), narrow: name });
const integers: Case[] = [
  ms('QGemm', 'QGemm', { a: u8([3, 8], 1) }, ['a', 'as', 'az', 'w', 'bs', 'bz', 'c', 'ys', 'yz'], { ...q(0.02, 120, 'a'), ...q(0.01, 128, 'b'), ...q(0.0513, 128, 'y'), w: u8([5, 8], 2), c: randomInts('int32', [5], 3, -900, 900) }, { transB: 1 }, bytes),
  ms('DynamicQuantizeMatMul', 'DynamicQuantizeMatMul', { a: randomTensor([3, 8], 1) }, ['a', 'w', 'bs', 'bz', 'c'], { w: u8([8, 5], 2), bs: floats([], 0.01), bz: scalar('uint8', 128), c: randomTensor([5], 3) }),
];

const codes: Case[] = [
  ...(['uint16', 'int16'] as const).map((type) => network(`activations of ${type}`, { x }, [node('QuantizeLinear', ['x', 's', 'z'], ['q']), node('DequantizeLinear', ['q', 's', 'z'], ['y'])], { opset: 21, constants: { s: floats([], 1e-5), z: narrow(type, type === 'uint16' ? 32_768 : 0) } })),
];

export const expansionCases: readonly Case[] = [
  ...control, ...sequences, ...functions, ...elements, ...newer, ...pools, ...convolutions, ...movements, ...quantized, ...fused, ...integers, ...codes,
  ...losses, ...spectra, ...bytesShifted, ...unpooled, ...mapped, ...resizes, ...masks,
];
