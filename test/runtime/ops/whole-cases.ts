import { fromNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { wireOfDtype } from '../../../runtime/onnx/tensor-data.js';
import { floats, ints64, node, randomInts, randomTensor } from '../support/models.js';
import type { Case } from './cases.js';

type Values = Readonly<Record<string, TensorValue>>;
type Attributes = Parameters<typeof node>[3];

/** One node; its operands are inputs of the model, but for those of `constants`, which come after them. */
function fed(name: string, op: string, feeds: Values, type: DType, options: { attributes?: Attributes; constants?: Values; opset?: number; outputs?: Readonly<Record<string, DType>> } = {}): Case {
  const { attributes, constants = {}, opset = 17, outputs = { y: type } } = options;
  return {
    name,
    spec: {
      opset, constants, outputs: Object.keys(outputs), outputTypes: outputs,
      inputs: Object.fromEntries(Object.entries(feeds).map(([input, { dims }]) => [input, dims])),
      types: Object.fromEntries(Object.entries(feeds).map(([input, { dtype }]) => [input, dtype])),
      nodes: [node(op, [...Object.keys(feeds), ...Object.keys(constants)], Object.keys(outputs), attributes)],
    },
    feeds,
  };
}

const shape = [2, 3, 4, 5] as const;
const ints = (dtype: DType, dims: readonly number[], seed: number, low = -9, high = 9): TensorValue => randomInts(dtype, dims, seed, low, high);
const bools = (dims: readonly number[], seed: number): TensorValue => randomInts('bool', dims, seed, 0, 1);
const wholeTypes: readonly DType[] = ['int32', 'int64'];

const arithmetic: Case[] = wholeTypes.flatMap((type) => [
  ...['Add', 'Sub', 'Mul', 'Min', 'Max'].map((op) => fed(`${op} of ${type}`, op, { a: ints(type, shape, 1), b: ints(type, shape, 2) }, type)),
  fed(`Add of ${type}, broadcast both ways`, 'Add', { a: ints(type, [2, 1, 4, 1], 1), b: ints(type, [3, 1, 5], 2) }, type),
  fed(`Sub of ${type} from a scalar`, 'Sub', { a: ints(type, [], 1), b: ints(type, shape, 2) }, type),
  fed(`Div of ${type}, towards zero`, 'Div', { a: ints(type, shape, 1, -99, 99), b: ints(type, [5], 2, 1, 7) }, type),
  fed(`Mod of ${type}, the divisor's sign`, 'Mod', { a: ints(type, shape, 1, -99, 99), b: fromNumbers(type, [5], [3, -3, 7, -7, 1]) }, type),
  fed(`Mod of ${type}, the dividend's sign`, 'Mod', { a: ints(type, shape, 1, -99, 99), b: fromNumbers(type, [5], [3, -3, 7, -7, 1]) }, type, { attributes: { fmod: 1 } }),
  fed(`Pow of ${type}`, 'Pow', { a: ints(type, shape, 1), b: ints(type, [5], 2, 0, 5) }, type),
  fed(`Max of three ${type}`, 'Max', { a: ints(type, shape, 1), b: ints(type, [5], 2), c: ints(type, [4, 1], 3) }, type),
  ...['Abs', 'Neg', 'Sign'].map((op) => fed(`${op} of ${type}`, op, { x: ints(type, shape, 4) }, type)),
  fed(`Clip of ${type}`, 'Clip', { x: ints(type, shape, 4) }, type, { constants: { low: fromNumbers(type, [], [-3]), high: fromNumbers(type, [], [5]) } }),
]);

const ofFloats: Case[] = [
  fed('Mod of floats', 'Mod', { a: randomTensor(shape, 1, -9, 9), b: randomTensor([5], 2, 1, 3) }, 'float32', { attributes: { fmod: 1 } }),
  fed('Mean of three', 'Mean', { a: randomTensor(shape, 1), b: randomTensor([5], 2), c: randomTensor([4, 1], 3) }, 'float32'),
  fed('Sum of one', 'Sum', { a: randomTensor(shape, 1) }, 'float32'),
  fed('Pow with whole exponents', 'Pow', { a: randomTensor(shape, 1, 0.5, 2), b: ints('int64', [5], 2, -2, 3) }, 'float32'),
  fed('Relu of int32', 'Relu', { x: ints('int32', shape, 4) }, 'int32'),
  fed('Clip of int8', 'Clip', { x: ints('int8', shape, 4, -128, 127) }, 'int8', { constants: { low: fromNumbers('int8', [], [-100]), high: fromNumbers('int8', [], [50]) } }),
  fed('Max of uint8', 'Max', { a: ints('uint8', shape, 1, 0, 255), b: ints('uint8', [5], 2, 0, 255) }, 'uint8', { opset: 13 }),
  fed('Min of int8', 'Min', { a: ints('int8', shape, 1, -128, 127), b: ints('int8', [5], 2, -128, 127) }, 'int8', { opset: 13 }),
];

const comparisons: Case[] = ['Equal', 'Less', 'Greater', 'LessOrEqual', 'GreaterOrEqual'].flatMap((op) => [
  fed(`${op} of floats`, op, { a: fromNumbers('float32', [6], [1, NaN, -0, 3, Infinity, 2]), b: fromNumbers('float32', [6], [2, 1, 0, 3, Infinity, -2]) }, 'bool'),
  ...wholeTypes.map((type) => fed(`${op} of ${type}, broadcast`, op, { a: ints(type, shape, 1, 0, 3), b: ints(type, [5], 2, 0, 3) }, 'bool')),
]);

const logic: Case[] = [
  ...['And', 'Or', 'Xor'].flatMap((op) => [
    fed(op, op, { a: bools(shape, 1), b: bools(shape, 2) }, 'bool'),
    fed(`${op}, broadcast`, op, { a: bools([2, 1, 4, 1], 1), b: bools([3, 1, 5], 2) }, 'bool'),
  ]),
  fed('Not', 'Not', { x: bools(shape, 1) }, 'bool'),
  fed('Equal of booleans', 'Equal', { a: bools(shape, 1), b: bools([5], 2) }, 'bool'),
  ...(['float32', 'int32', 'int64', 'uint8'] as const).map((type) =>
    fed(`Where of ${type}`, 'Where', { c: bools([4, 1], 1), a: ints(type, shape, 2, 0, 99), b: ints(type, [5], 3, 0, 99) }, type)),
  fed('Where with a constant', 'Where', { c: bools(shape, 1), a: randomTensor(shape, 2) }, 'float32', { constants: { b: floats([], -1e9) } }),
];

const cast = (name: string, x: TensorValue, to: DType): Case => fed(`Cast ${name}`, 'Cast', { x }, to, { attributes: { to: wireOfDtype(to) } });
const fractions = fromNumbers('float32', [8], [-2.7, -1, -0.5, 0, 0.5, 1.9, 100.2, 127]);
const casts: Case[] = [
  ...(['int32', 'int64', 'int8', 'bool'] as const).map((to) => cast(`floats to ${to}`, fractions, to)),
  cast('floats to uint8', fromNumbers('float32', [4], [0, 0.9, 200.5, 255]), 'uint8'),
  ...(['float32', 'int64', 'bool'] as const).flatMap((to) => (['uint8', 'int8', 'int32', 'bool'] as const).map((from) => cast(`${from} to ${to}`, from === 'bool' ? bools(shape, 1) : ints(from, shape, 1, from === 'uint8' ? 0 : -100, 100), to))),
  ...(['uint8', 'int8', 'int32'] as const).map((to) => cast(`int64 to ${to}, modulo its range`, ints('int64', shape, 1, -1000, 1000), to)),
  cast('uint8 to int8', ints('uint8', shape, 1, 0, 255), 'int8'),
];

const gathers: Case[] = [
  ...[0, 1, -1].map((axis) => fed(`GatherElements along ${axis}`, 'GatherElements', { x: randomTensor([3, 4, 3], 1), i: ints('int64', [3, 4, 3], 2, -3, 2) }, 'float32', { attributes: { axis } })),
  fed('GatherElements, fewer indices, of bytes', 'GatherElements', { x: ints('uint8', [3, 4, 20], 1, 0, 255), i: ints('int32', [2, 3, 7], 2, 0, 19) }, 'uint8', { attributes: { axis: 2 } }),
  fed('GatherND of elements', 'GatherND', { x: randomTensor([3, 4, 5], 1), i: ints('int64', [2, 6, 3], 2, -3, 2) }, 'float32'),
  fed('GatherND of slices', 'GatherND', { x: randomTensor([3, 4, 5], 1), i: ints('int64', [7, 1], 2, 0, 2) }, 'float32'),
  fed('GatherND in batches', 'GatherND', { x: ints('int32', [2, 4, 5, 3], 1), i: ints('int64', [2, 6, 1], 2, -4, 3) }, 'int32', { attributes: { batch_dims: 1 } }),
];

const extremes: Case[] = ['ArgMax', 'ArgMin'].flatMap((op) => [
  fed(op, op, { x: randomTensor(shape, 1) }, 'int64'),
  fed(`${op} along an inner axis, without it`, op, { x: randomTensor(shape, 1) }, 'int64', { attributes: { axis: 2, keepdims: 0 } }),
  fed(`${op}, the first of equals`, op, { x: ints('int32', [6, 9], 1, 0, 2) }, 'int64', { attributes: { axis: -1 } }),
  fed(`${op}, the last of equals`, op, { x: fromNumbers('float32', [2, 5], [1, 3, 3, 0, 0, -0, 0, -1, -1, -1]) }, 'int64', { attributes: { axis: 1, select_last_index: 1 } }),
  fed(`${op} of uint8`, op, { x: ints('uint8', [3, 40], 1, 0, 255) }, 'int64', { attributes: { axis: 1 } }),
]);

const best = (type: DType): { outputs: Readonly<Record<string, DType>> } => ({ outputs: { values: type, indices: 'int64' } });
const rankings: Case[] = [
  fed('TopK', 'TopK', { x: randomTensor([3, 20], 1) }, 'float32', { ...best('float32'), constants: { k: ints64(5) } }),
  fed('TopK, smallest, along an inner axis', 'TopK', { x: randomTensor([2, 7, 4], 1) }, 'float32', { ...best('float32'), constants: { k: ints64(7) }, attributes: { axis: 1, largest: 0 } }),
  fed('TopK of int64 with equals', 'TopK', { x: ints('int64', [4, 30], 1, -3, 3) }, 'int64', { ...best('int64'), constants: { k: ints64(11) } }),
  fed('TopK as an attribute', 'TopK', { x: randomTensor([3, 20], 1) }, 'float32', { ...best('float32'), opset: 9, attributes: { k: 3 } }),
  ...[[0, 0], [1, 0], [0, 1], [1, 1]].map(([exclusive = 0, reverse = 0]) =>
    fed(`CumSum, exclusive ${exclusive}, reverse ${reverse}`, 'CumSum', { x: randomTensor(shape, 1) }, 'float32', { constants: { axis: fromNumbers('int32', [], [1]) }, attributes: { exclusive, reverse } })),
  fed('CumSum of int64', 'CumSum', { x: ints('int64', [7, 3], 1) }, 'int64', { constants: { axis: fromNumbers('int64', [], [-2]) } }),
];

function suppression(name: string, boxes: TensorValue, scores: TensorValue, [limit, iou, score]: readonly [number, number, number], attributes: Attributes = {}): Case {
  return fed(`NonMaxSuppression ${name}`, 'NonMaxSuppression', { boxes, scores }, 'int64', { constants: { limit: ints64(limit), iou: floats([1], iou), score: floats([1], score) }, attributes });
}
const suppressions: Case[] = [
  suppression('of corners in any order', randomTensor([2, 40, 4], 1, 0, 4), randomTensor([2, 3, 40], 2, 0, 1), [6, 0.4, 0.3]),
  suppression('of centres', randomTensor([1, 50, 4], 3, 0.5, 3), randomTensor([1, 2, 50], 4, 0, 1), [50, 0.3, 0], { center_point_box: 1 }),
  suppression('that nothing passes', randomTensor([1, 5, 4], 3, 0.5, 3), randomTensor([1, 1, 5], 4, 0, 1), [5, 0.5, 2]),
  suppression('of equal boxes', fromNumbers('float32', [1, 4, 4], [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3]), fromNumbers('float32', [1, 1, 4], [0.9, 0.9, 0.9, 0.9]), [3, 0.5, 0]),
];

const rearrangements: Case[] = [
  ...['DCR', 'CRD'].map((mode) => fed(`DepthToSpace ${mode}`, 'DepthToSpace', { x: randomTensor([2, 12, 3, 4], 1) }, 'float32', { attributes: { blocksize: 2, mode } })),
  fed('SpaceToDepth', 'SpaceToDepth', { x: randomTensor([2, 3, 4, 6], 1) }, 'float32', { attributes: { blocksize: 2 } }),
];

const reductions: Case[] = [
  ...['ReduceL1', 'ReduceLogSumExp'].map((op) => fed(op, op, { x: randomTensor(shape, 1, -3, 3) }, 'float32', { attributes: { axes: [1, 3], keepdims: 0 } })),
  fed('ReduceLogSum', 'ReduceLogSum', { x: randomTensor(shape, 1, 0.1, 3) }, 'float32', { attributes: { axes: [-1] } }),
  fed('ReduceLogSumExp of large numbers', 'ReduceLogSumExp', { x: randomTensor(shape, 1, 200, 300) }, 'float32', { attributes: { axes: [2] } }),
  ...['ReduceMax', 'ReduceMin', 'ReduceProd', 'ReduceL1', 'ReduceSumSquare'].map((op) => fed(`${op} of int32`, op, { x: ints('int32', shape, 1, -4, 4) }, 'int32', { attributes: { axes: [1, 2] } })),
  fed('ReduceSum of int64', 'ReduceSum', { x: ints('int64', shape, 1) }, 'int64', { constants: { axes: ints64(0, 3) }, attributes: { keepdims: 0 } }),
  fed('ReduceMax of uint8', 'ReduceMax', { x: ints('uint8', shape, 1, 0, 255) }, 'uint8', { attributes: { axes: [3] } }),
];

/** Several operators together, and layouts that only a graph makes. */
const graphs: Case[] = [
  {
    name: 'a mask from a comparison, at the output and in a Where',
    spec: {
      inputs: { x: [1, 3, 4, 5] }, constants: { zero: floats([], 0), half: floats([], 0.5) }, outputs: ['mask', 'y'], outputTypes: { mask: 'bool' },
      nodes: [node('Greater', ['x', 'zero'], ['mask']), node('Mul', ['x', 'half'], ['small']), node('Where', ['mask', 'x', 'small'], ['y'])],
    },
    feeds: { x: randomTensor([1, 3, 4, 5], 1) },
  },
  {
    name: 'the class of each pixel, after a convolution',
    spec: {
      inputs: { x: [1, 3, 6, 5] }, constants: { w: randomTensor([7, 3, 3, 3], 2) }, outputs: ['y'], outputTypes: { y: 'int64' },
      nodes: [node('Conv', ['x', 'w'], ['c'], { pads: [1, 1, 1, 1] }), node('ArgMax', ['c'], ['y'], { axis: 1, keepdims: 0 })],
    },
    feeds: { x: randomTensor([1, 3, 6, 5], 1) },
  },
  {
    name: 'pixels shuffled after a convolution',
    spec: {
      inputs: { x: [1, 3, 6, 5] }, constants: { w: randomTensor([8, 3, 1, 1], 2) }, outputs: ['y'],
      nodes: [node('Conv', ['x', 'w'], ['c']), node('DepthToSpace', ['c'], ['y'], { blocksize: 2, mode: 'CRD' })],
    },
    feeds: { x: randomTensor([1, 3, 6, 5], 1) },
  },
  {
    name: 'the boxes of the best scores',
    spec: {
      inputs: { boxes: [1, 30, 4], scores: [1, 30] }, constants: { k: ints64(6), last: ints64(-1), to: ints64(1, 6, 4) }, outputs: ['y', 'best'],
      nodes: [
        node('TopK', ['scores', 'k'], ['best', 'at']), node('Unsqueeze', ['at', 'last'], ['column']), node('Expand', ['column', 'to'], ['index']),
        node('GatherElements', ['boxes', 'index'], ['y'], { axis: 1 }),
      ],
    },
    feeds: { boxes: randomTensor([1, 30, 4], 1), scores: randomTensor([1, 30], 2) },
  },
  {
    name: 'a mask that is concatenated, sliced and cast',
    spec: {
      inputs: { a: [2, 5], b: [2, 6] }, types: { a: 'bool', b: 'bool' }, constants: { from: ints64(3), to: ints64(9), axis: ints64(1) }, outputs: ['y'],
      nodes: [node('Concat', ['a', 'b'], ['ab'], { axis: 1 }), node('Slice', ['ab', 'from', 'to', 'axis'], ['part']), node('Not', ['part'], ['other']), node('Cast', ['other'], ['y'], { to: 1 })],
    },
    feeds: { a: bools([2, 5], 1), b: bools([2, 6], 2) },
  },
  {
    name: 'ConstantOfShape of more elements than are folded',
    spec: {
      inputs: { x: [200, 200] }, constants: { shape: ints64(200, 200) }, outputs: ['y'],
      nodes: [node('ConstantOfShape', ['shape'], ['filled'], { value: { type: 'tensor', value: floats([1], 2.5) } }), node('Add', ['x', 'filled'], ['y'])],
    },
    feeds: { x: randomTensor([200, 200], 1) },
  },
  {
    name: 'Dropout and its mask',
    spec: { opset: 13, inputs: { x: [2, 3] }, nodes: [node('Dropout', ['x'], ['y', 'mask'])], outputs: ['y', 'mask'], outputTypes: { mask: 'bool' } },
    feeds: { x: randomTensor([2, 3], 1) },
  },
];

const scales = floats([3], 0.02, 0.05, 0.011);
const quantizations: Case[] = (['uint8', 'int8'] as const).flatMap((dtype) => {
  const zeros = fromNumbers(dtype, [3], dtype === 'uint8' ? [128, 0, 200] : [0, -100, 90]);
  return [
    fed(`QuantizeLinear to ${dtype} by channel`, 'QuantizeLinear', { x: randomTensor([2, 3, 4, 5], 1, -3, 3) }, dtype, { constants: { scales, zeros } }),
    fed(`DequantizeLinear of ${dtype} by channel`, 'DequantizeLinear', { x: ints(dtype, [2, 3, 4, 5], 1, dtype === 'uint8' ? 0 : -128, dtype === 'uint8' ? 255 : 127) }, 'float32', { constants: { scales, zeros } }),
    fed(`QuantizeLinear to ${dtype} with parameters that are fed`, 'QuantizeLinear', { x: randomTensor([2, 30], 1, -3, 3), s: floats([], 0.013), z: fromNumbers(dtype, [], [7]) }, dtype),
  ];
});

const further: Case[] = [
  fed('DequantizeLinear of int32', 'DequantizeLinear', { x: ints('int32', shape, 1, -5000, 5000) }, 'float32', { constants: { scale: floats([], 0.02) } }),
  fed('Tile of four axes', 'Tile', { x: randomTensor([2, 3, 1, 2], 1) }, 'float32', { constants: { repeats: ints64(2, 3, 4, 2) } }),
];

/** Whole numbers, booleans, and the operators that select by them. */
export const wholeCases: readonly Case[] = [
  ...arithmetic, ...ofFloats, ...comparisons, ...logic, ...casts, ...gathers, ...extremes, ...rankings, ...suppressions, ...rearrangements, ...reductions, ...quantizations, ...further, ...graphs,
];
