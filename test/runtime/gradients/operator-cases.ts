/** Operators that the cases of inference have only with fixed numbers or whole ones, as they take part in a gradient. */
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { Case } from '../ops/cases.js';
import { floats, ints64, node, randomTensor, type ModelSpec } from '../support/models.js';

type Nodes = ModelSpec['nodes'];

interface Parts {
  readonly nodes: Nodes;
  readonly constants?: Readonly<Record<string, TensorValue>>;
  readonly inputs?: Readonly<Record<string, TensorValue>>;
  readonly outputs?: readonly string[];
  readonly opset?: number;
}

const x = randomTensor([3, 4], 1, -2, 2);
const float = { to: 1 };

function example(name: string, { nodes, constants = {}, inputs = { x }, outputs = ['y'], opset = 17 }: Parts): Case {
  return { name, spec: { opset, inputs: Object.fromEntries(Object.entries(inputs).map(([input, { dims }]) => [input, dims])), constants, nodes, outputs }, feeds: inputs };
}

/** x times a result that jumps: the gradient is that result, and nothing comes through the jumps. */
const times = (made: string): Nodes => [node('Mul', ['x', made], ['y'])];
const timesCast = (made: string): Nodes => [node('Cast', [made], ['numbers'], float), ...times('numbers')];

const compared = (op: string): Case => example(`x * ${op}(x, 0.3)`, { nodes: [node(op, ['x', 'k'], ['is']), ...timesCast('is')], constants: { k: floats([], 0.3) } });
const logical = (op: string): Case => example(`x * ${op}(x > 0.3, x > -0.4)`, {
  nodes: [node('Greater', ['x', 'k'], ['a']), node('Greater', ['x', 'l'], ['b']), node(op, ['a', 'b'], ['is']), ...timesCast('is')],
  constants: { k: floats([], 0.3), l: floats([], -0.4) },
});
const jumping: readonly Case[] = [
  ...['Floor', 'Ceil', 'Round', 'Sign'].map((op) => example(`x * ${op}(x)`, { nodes: [node(op, ['x'], ['step']), ...times('step')] })),
  example('x * Hardmax(x)', { nodes: [node('Hardmax', ['x'], ['best'], { axis: 1 }), ...times('best')] }),
  ...['ArgMax', 'ArgMin'].map((op) => example(`x * ${op}(x)`, { nodes: [node(op, ['x'], ['at'], { axis: 1 }), ...timesCast('at')] })),
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'].map(compared),
  ...['And', 'Or', 'Xor'].map(logical),
  example('x * Not(x > 0.3)', { nodes: [node('Greater', ['x', 'k'], ['a']), node('Not', ['a'], ['is']), ...timesCast('is')], constants: { k: floats([], 0.3) } }),
  ...['Size', 'Shape'].map((op) => example(`x * ${op}(x)`, { nodes: [node(op, ['x'], ['size']), node('ReduceSum', ['size'], ['sum'], { keepdims: 0 }), ...timesCast('sum')] })),
];

const image = randomTensor([1, 8, 4, 6], 5);
const smooth: readonly Case[] = [
  example('Cast to float32', { nodes: [node('Cast', ['x'], ['y'], float)] }),
  example('Mean of three, broadcast', { nodes: [node('Mean', ['x', 'a', 'b'], ['y'])], inputs: { x, a: randomTensor([4], 2), b: randomTensor([3, 1], 3) } }),
  example('Where by x', { nodes: [node('Greater', ['x', 'k'], ['is']), node('Where', ['is', 'x', 'a'], ['y'])], inputs: { x, a: randomTensor([4], 2) }, constants: { k: floats([], 0.2) } }),
  ...['ReduceL1', 'ReduceLogSumExp'].map((op) => example(op, { nodes: [node(op, ['x'], ['y'], { axes: [1], keepdims: 0 })] })),
  example('ReduceLogSum', { nodes: [node('ReduceLogSum', ['x'], ['y'], { axes: [0] })], inputs: { x: randomTensor([3, 4], 1, 0.2, 2) } }),
  ...[[0, 0], [0, 1], [1, 0], [1, 1]].map(([exclusive = 0, reverse = 0]) => example(`CumSum, exclusive ${exclusive}, reverse ${reverse}`, { nodes: [node('CumSum', ['x', 'axis'], ['y'], { exclusive, reverse })], constants: { axis: fromNumbers('int64', [], [1]) } })),
  ...['DCR', 'CRD'].map((mode) => example(`DepthToSpace ${mode}`, { nodes: [node('DepthToSpace', ['x'], ['y'], { blocksize: 2, mode })], inputs: { x: image } })),
  example('SpaceToDepth', { nodes: [node('SpaceToDepth', ['x'], ['y'], { blocksize: 2 })], inputs: { x: image } }),
  ...[0, 1].map((axis) => example(`GatherElements along ${axis}, elements twice`, { nodes: [node('GatherElements', ['x', 'i'], ['y'], { axis })], constants: { i: fromNumbers('int64', [2, 4], [0, 2, 1, 1, 0, 1, -1, 0]) } })),
  example('GatherND of elements', { nodes: [node('GatherND', ['x', 'i'], ['y'])], constants: { i: fromNumbers('int64', [3, 2], [0, 1, 2, 3, 0, 1]) } }),
  example('GatherND of slices', { nodes: [node('GatherND', ['x', 'i'], ['y'])], constants: { i: fromNumbers('int64', [3, 1], [2, 0, 2]) } }),
  ...[0, 1].map((largest) => example(`TopK, largest ${largest}`, { nodes: [node('TopK', ['x', 'k'], ['y', 'at'], { axis: 1, largest })], constants: { k: ints64(2) } })),
  example('TopK along the first axis, indices dropped', { nodes: [node('TopK', ['x', 'k'], ['y', ''], { axis: 0 })], constants: { k: ints64(2) } }),
  example('DequantizeLinear by its scale', { nodes: [node('DequantizeLinear', ['q', 's', 'z'], ['d']), node('Mul', ['d', 'x'], ['y'])], constants: { q: fromNumbers('uint8', [3, 4], [0, 3, 9, 255, 17, 128, 127, 1, 2, 90, 40, 41]), s: floats([], 0.2), z: fromNumbers('uint8', [], [7]) } }),
];

export const operatorCases: readonly Case[] = [...smooth, ...jumping];
