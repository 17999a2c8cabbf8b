import { fromNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { OnnxGraph, OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, ints64, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';

// Models that cannot be one program: sizes follow from data, or the engine has no kernel or no tensor for a node.

type Values = Readonly<Record<string, TensorValue>>;

export interface Example {
  readonly name: string;
  readonly spec: ModelSpec;
  /** Fresh data of a run. */
  readonly feeds: (seed: number) => Values;
}

const scalar = (dtype: DType, value: number): TensorValue => fromNumbers(dtype, [], [value]);

function example(name: string, feeds: (seed: number) => Values, nodes: readonly OnnxNode[], options: Partial<ModelSpec> = {}): Example {
  const first = Object.entries(feeds(1));
  return {
    name, feeds,
    spec: { opset: 18, nodes, outputs: ['y'], inputs: Object.fromEntries(first.map(([input, { dims }]) => [input, dims])), types: Object.fromEntries(first.map(([input, { dtype }]) => [input, dtype])), outputTypes: { y: 'float32' }, ...options },
  };
}

/** A graph of a node: the body of a loop, or a branch. */
export function graph(inputs: Readonly<Record<string, DType>>, nodes: readonly OnnxNode[], outputs: Readonly<Record<string, DType>>, constants: Values = {}) {
  const value: OnnxGraph = {
    name: 'body', nodes, initializers: new Map(Object.entries(constants)), valueInfo: [],
    inputs: Object.entries(inputs).map(([name, dtype]) => (dtype === 'float32' ? { name, dtype } : { name, dtype, dims: [] })), outputs: Object.entries(outputs).map(([name, dtype]) => ({ name, dtype })),
  };
  return { type: 'graph', value } as const;
}

const x34 = (seed: number): Values => ({ x: randomTensor([3, 4], seed) });
export const total = (from: string, to: string): OnnxNode => node('ReduceSum', [from], [to], { keepdims: 0 });
/** A number between 1 and 3 that follows from x. */
const count: readonly OnnxNode[] = [total('x', 'total'), node('Sigmoid', ['total'], ['share']), node('Mul', ['share', 'two'], ['some']), node('Floor', ['some'], ['whole']), node('Cast', ['whole'], ['less'], { to: 7 }), node('Add', ['less', 'one'], ['n']), node('Reshape', ['n', 'list'], ['count'])];
const counting: Values = { two: floats([], 2.99), one: scalar('int64', 1), list: ints64(1) };
const boxes = (seed: number): Values => {
  const corner = randomTensor([1, 20, 2], seed, 0, 8);
  const size = randomTensor([1, 20, 2], seed + 50, 1, 5);
  const data = Float64Array.from({ length: 80 }, (_, i) => { const at = 2 * Math.floor(i / 4) + (i % 2); return Number(corner.data[at]) + (i % 4 < 2 ? 0 : Number(size.data[at])); });
  return { boxes: fromNumbers('float32', [1, 20, 4], data), scores: randomTensor([1, 2, 20], seed + 90, 0, 1) };
};
/** Four regions, some of them beyond the map; behind the numbers of their pictures where there is a column for these. */
const regions = (seed: number, columns = 0): TensorValue => {
  const [from, to] = [randomTensor([4, 2], seed, -2, 9), randomTensor([4, 2], seed + 7, 1, 14)];
  const rows = Array.from({ length: 4 }, (_, i) => [...(columns === 1 ? [i % 2] : []), ...[0, 1].map((j) => Number(from.data[2 * i + j])), ...[0, 1].map((j) => Number(from.data[2 * i + j]) + Number(to.data[2 * i + j]))]);
  return fromNumbers('float32', [4, 4 + columns], rows.flat());
};
const threshold: Values = { most: ints64(5), iou: floats([1], 0.4), least: floats([1], 0.3) };
const step = graph({ i: 'int64', on: 'bool', s: 'float32' }, [node('Add', ['s', 's'], ['next']), total('next', 'sum'), node('Less', ['sum', 'bound'], ['again'])], { again: 'bool', next: 'float32', sum: 'float32' }, { bound: floats([], 500) });

export const examples: readonly Example[] = [
  example('suppression, and the rows of the boxes that are left', boxes, [
    node('NonMaxSuppression', ['boxes', 'scores', 'most', 'iou', 'least'], ['selected']), node('Gather', ['selected', 'column'], ['rows'], { axis: 1 }), node('Squeeze', ['boxes', 'first'], ['flat']), node('Gather', ['flat', 'rows'], ['y']),
  ], { constants: { ...threshold, column: scalar('int64', 2), first: ints64(0) } }),
  example('the places of what is above 0', x34, [node('Relu', ['x'], ['r']), node('NonZero', ['r'], ['places']), node('Transpose', ['places'], ['tuples']), node('GatherND', ['x', 'tuples'], ['y'])]),
  example('a choice of rows by what they hold', x34, [node('ReduceSum', ['x', 'last'], ['sums'], { keepdims: 0 }), node('Greater', ['sums', 'zero'], ['keep']), node('Compress', ['x', 'keep'], ['y'], { axis: 0 })], { constants: { last: ints64(1), zero: floats([], 0) } }),
  example('Unique, with its lists', (seed) => ({ x: randomInts('int64', [3, 4], seed, 0, 5) }), [node('Unique', ['x'], ['y', 'first', 'inverse', 'counts'])], { outputs: ['y', 'first', 'inverse', 'counts'], outputTypes: { y: 'int64', first: 'int64', inverse: 'int64', counts: 'int64' } }),
  example('Unique along an axis, in the order of the first', (seed) => ({ x: randomInts('int64', [2, 6], seed, 0, 1) }), [node('Unique', ['x'], ['y'], { axis: 1, sorted: 0 })], { outputTypes: { y: 'int64' } }),
  example('a loop of one step that is fed, with a row of one number', (seed) => ({ x: randomTensor([3, 4], seed), m: scalar('int64', 1) }), [node('Loop', ['m', '', 'x'], ['y', 'rows'], { body: graph({ i: 'int64', on: 'bool', s: 'float32' }, [node('Neg', ['s'], ['next']), node('ReduceMax', ['next'], ['most'], { keepdims: 0 }), node('Identity', ['on'], ['again'])], { again: 'bool', next: 'float32', most: 'float32' }) })], { outputs: ['y', 'rows'], outputTypes: { y: 'float32', rows: 'float32' } }),
  example('a loop that ends when a sum is large', (seed) => ({ x: randomTensor([3, 4], seed, 0.1, 1) }), [node('Loop', ['', 'yes', 'x'], ['y', 'rows'], { body: step })], { constants: { yes: scalar('bool', 1) }, outputs: ['y', 'rows'], outputTypes: { y: 'float32', rows: 'float32' } }),
  example('a loop of a computed number of steps', x34, [...count, node('Loop', ['n', '', 'x'], ['y'], { body: graph({ i: 'int64', on: 'bool', s: 'float32' }, [node('Tanh', ['s'], ['next']), node('Identity', ['on'], ['again'])], { again: 'bool', next: 'float32' }) })], { constants: counting }),
  example('branches of different shapes', x34, [total('x', 'sum'), node('Less', ['sum', 'zero'], ['c']), node('If', ['c'], ['y'], { then_branch: graph({}, [node('ReduceMax', ['x'], ['t'], { keepdims: 0 })], { t: 'float32' }), else_branch: graph({}, [node('Neg', ['x'], ['e'])], { e: 'float32' }) })], { constants: { zero: floats([], 0) } }),
  example('Slice, TopK and Pad by computed numbers, and a layer behind them', x34, [
    ...count, node('Slice', ['x', 'none', 'count'], ['rows']), node('TopK', ['rows', 'count'], ['best', 'places'], { axis: 1 }), node('Mul', ['count', 'pads'], ['wide']), node('Pad', ['best', 'wide'], ['padded']), node('Exp', ['padded'], ['y']),
  ], { constants: { ...counting, none: ints64(0), pads: ints64(0, 1, 1, 0) } }),
  example('Resize to a computed size', (seed) => ({ x: randomTensor([1, 2, 3, 3], seed) }), [...count, node('Add', ['count', 'three'], ['height']), node('Concat', ['plane', 'height', 'height'], ['size'], { axis: 0 }), node('Resize', ['x', '', '', 'size'], ['y'], { mode: 'linear' })], { constants: { ...counting, three: ints64(3), plane: ints64(1, 2) } }),
  example('OneHot and Range of a computed length', x34, [...count, node('Range', ['zero', 'n', 'one'], ['ids']), node('OneHot', ['ids', 'count', 'values'], ['y'])], { constants: { ...counting, zero: scalar('int64', 0), values: floats([2], 0, 1) } }),
  example('a recurrent layer by weights that are computed', (seed) => ({ x: randomTensor([5, 1, 3], seed), w: randomTensor([1, 16, 3], seed + 1), r: randomTensor([1, 16, 4], seed + 2) }), [node('Tanh', ['w'], ['wt']), node('LSTM', ['x', 'wt', 'r'], ['all', 'y'], { hidden_size: 4 })]),
  example('a transposed convolution by weights that are fed', (seed) => ({ x: randomTensor([1, 2, 4, 4], seed), w: randomTensor([2, 3, 3, 3], seed + 1) }), [node('ConvTranspose', ['x', 'w'], ['y'], { strides: [2, 2] })]),
  ...(['avg', 'max'] as const).flatMap((mode) => [10, 16].map((opset) => example(`regions with as many samples as they are large, ${mode} of operator set ${opset}`, (seed) => ({ x: randomTensor([2, 3, 9, 8], seed), rois: regions(seed) }), [
    node('Tanh', ['x'], ['t']), node('RoiAlign', ['t', 'rois', 'batch'], ['r'], { mode, output_height: 3, output_width: 2, spatial_scale: { float: 0.5 } }), node('Exp', ['r'], ['y'])], { opset, constants: { batch: ints64(0, 1, 1, 0) } }))),
  example('the largest of regions', (seed) => ({ x: randomTensor([2, 3, 9, 8], seed), rois: regions(seed, 1) }), [node('MaxRoiPool', ['x', 'rois'], ['y'], { pooled_shape: [3, 2], spatial_scale: { float: 0.4 } })]),
  example('determinants between programs', (seed) => ({ x: randomTensor([2, 3, 3], seed) }), [node('Tanh', ['x'], ['t']), node('Det', ['t'], ['d']), node('Exp', ['d'], ['y'])]),
  example('the best of what is left, which may be nothing', (seed) => ({ x: seed % 2 === 0 ? randomTensor([6], seed) : randomTensor([6], seed, -2, -1) }), [
    node('Greater', ['x', 'zero'], ['keep']), node('Compress', ['x', 'keep'], ['left'], { axis: 0 }), node('Shape', ['left'], ['n']), node('Min', ['n', 'three'], ['k']), node('TopK', ['left', 'k'], ['best', 'at']), node('Exp', ['best'], ['y']),
  ], { constants: { zero: floats([], 0), three: ints64(3) }, outputs: ['y', 'at'], outputTypes: { y: 'float32', at: 'int64' } }),
  example('inverses between programs', (seed) => ({ x: randomTensor([2, 3, 3], seed) }), [node('Tanh', ['x'], ['t']), { ...node('Inverse', ['t'], ['i']), domain: 'com.microsoft' }, node('MatMul', ['i', 'x'], ['y'])], { domains: { 'com.microsoft': 1 } }),
  example('values in the order in which they come', (seed) => ({ x: randomInts('int32', [12], seed, 0, 5) }), [node('Cast', ['x'], ['f'], { to: 1 }), { ...node('Unique', ['f'], ['u', 'at', 'counts']), domain: 'com.microsoft' }, node('Exp', ['u'], ['y'])],
    { domains: { 'com.microsoft': 1 }, outputs: ['y', 'at', 'counts'], outputTypes: { y: 'float32', at: 'int64', counts: 'int64' } }),
  example('a part of a sequence that is chosen', (seed) => ({ x: randomTensor([3, 4], seed), at: scalar('int64', seed % 3) }), [node('SplitToSequence', ['x'], ['s'], { keepdims: 0 }), node('Identity', ['s'], ['same']), node('SequenceAt', ['same', 'at'], ['part']), node('SequenceLength', ['s'], ['n']), node('Exp', ['part'], ['y'])],
    { outputs: ['y', 'n'], outputTypes: { y: 'float32', n: 'int64' } }),
  example('counts of n-grams', (seed) => ({ x: randomInts('int64', [2, 12], seed, 2, 8) }), [node('TfIdfVectorizer', ['x'], ['y'], {
    mode: 'TFIDF', min_gram_length: 1, max_gram_length: 2, max_skip_count: 2, ngram_counts: [0, 4], ngram_indexes: [0, 1, 2, 3, 4, 5, 6], pool_int64s: [2, 3, 5, 4, 5, 6, 7, 8, 6, 7], weights: { type: 'floats', value: [0.5, 1, 2, 3, 4, 5, 6] },
  })]),
  example('tensors of seven axes', (seed) => ({ x: randomTensor([1, 2, 1, 2, 3, 1, 2], seed) }), [node('Transpose', ['x'], ['t'], { perm: [6, 5, 4, 3, 2, 1, 0] }), node('Abs', ['t'], ['y'])]),
  example('tensors without elements', (seed) => ({ x: randomTensor([2, 3], seed) }), [node('Slice', ['x', 'end', 'end'], ['none']), node('Exp', ['none'], ['e']), node('Concat', ['e', 'x'], ['y'], { axis: 0 })], { constants: { end: ints64(2) } }),
];
