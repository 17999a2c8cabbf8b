import { int64s } from '../../../runtime/graph/tensor-value.js';
import { floats, ints64, node, randomTensor } from '../support/models.js';
import type { Case } from './cases.js';

// Forms whose result the last bit decides, or that treat an exceptional value in a way of their own.

type Attributes = Parameters<typeof node>[3];

const absent = floats([0]);

/** Nearest resize of a row, by sizes or by scales. */
function nearest(from: number, to: number, coordinates: string, rounding: string, by: 'sizes' | 'scales'): Case {
  const operands = by === 'sizes' ? { roi: absent, scales: absent, sizes: ints64(1, 1, 3, to) } : { roi: absent, scales: floats([4], 1, 1, 1.5, to / from) };
  return {
    name: `Resize ${from} -> ${to}, ${coordinates}, ${rounding}, by ${by}`,
    spec: {
      opset: coordinates.startsWith('tf_half') ? 11 : 19, inputs: { x: [1, 1, 2, from] }, constants: operands, outputs: ['y'],
      nodes: [node('Resize', ['x', ...Object.keys(operands)], ['y'], { mode: 'nearest', coordinate_transformation_mode: coordinates, nearest_mode: rounding })],
    },
    feeds: { x: randomTensor([1, 1, 2, from], 3) },
  };
}

const resizes: Case[] = (['sizes', 'scales'] as const).flatMap((by) => [
  nearest(20, 6, 'half_pixel', 'round_prefer_ceil', by),
  nearest(7, 2, 'asymmetric', 'round_prefer_ceil', by),
  nearest(12, 13, 'tf_half_pixel_for_nn', 'round_prefer_floor', by),
  nearest(6, 22, 'half_pixel_symmetric', 'round_prefer_floor', by),
  nearest(15, 29, 'half_pixel', 'floor', by),
  nearest(7, 17, 'asymmetric', 'floor', by),
]);

/** A scale that makes 29 of 15 pixels in single precision, 28.999.. in double. */
const sizes: Case[] = [
  ['Resize', 13, { roi: absent, scales: floats([4], 1, 1, Math.fround(29 / 15), Math.fround(29 / 15)) }],
  ['Upsample', 9, { scales: floats([4], 1, 1, Math.fround(29 / 15), Math.fround(29 / 15)) }],
].map(([op, opset, operands]) => ({
  name: `${String(op)} by scales to a size that only single precision gives`,
  spec: { opset: Number(opset), inputs: { x: [1, 2, 15, 15] }, constants: operands as Record<string, typeof absent>, nodes: [node(String(op), ['x', ...Object.keys(operands as object)], ['y'], { mode: 'nearest' })], outputs: ['y'] },
  feeds: { x: randomTensor([1, 2, 15, 15], 4) },
}));

const noop: Case[] = ['ReduceSumSquare', 'ReduceL2', 'ReduceL1', 'ReduceSum', 'ReduceMax', 'ReduceLogSum', 'ReduceLogSumExp'].map((op) => ({
  name: `${op} over no axis`,
  spec: { opset: op === 'ReduceSum' ? 13 : 18, inputs: { x: [2, 3] }, constants: { axes: int64s([]) }, nodes: [node(op, ['x', 'axes'], ['y'], { noop_with_empty_axes: 1 })], outputs: ['y'] },
  feeds: { x: randomTensor([2, 3], 5, op === 'ReduceLogSum' ? 0.1 : -1, 1) },
}));

function withNaN(name: string, op: string, attributes: Attributes = {}, operands: Readonly<Record<string, ReturnType<typeof floats>>> = {}, then?: string): Case {
  const dims = [1, 8, 5, 5];
  const x = randomTensor(dims, 6);
  x.data[37] = NaN;
  const first = node(op, ['x', ...Object.keys(operands)], [then === undefined ? 'y' : 'm'], attributes);
  return { name: `${name} keeps NaN`, spec: { opset: 18, inputs: { x: dims }, constants: operands, nodes: then === undefined ? [first] : [first, node(then, ['m'], ['y'])], outputs: ['y'] }, feeds: { x } };
}

const nans: Case[] = [
  withNaN('Conv', 'Conv', {}, { w: randomTensor([8, 8, 3, 3], 1) }),
  withNaN('Conv and Relu', 'Conv', {}, { w: randomTensor([8, 8, 3, 3], 1), b: randomTensor([8], 2) }, 'Relu'),
  withNaN('depthwise Conv and Relu', 'Conv', { group: 8, pads: [1, 1, 1, 1] }, { w: randomTensor([8, 1, 3, 3], 1) }, 'Relu'),
  withNaN('Relu', 'Relu'), withNaN('Clip', 'Clip', {}, { low: floats([], -0.5), high: floats([], 0.5) }),
  withNaN('MaxPool', 'MaxPool', { kernel_shape: [3, 3], strides: [2, 2] }), withNaN('GlobalMaxPool', 'GlobalMaxPool'), withNaN('AveragePool', 'AveragePool', { kernel_shape: [2, 2] }),
  withNaN('Max', 'Max', {}, { b: randomTensor([1, 8, 5, 5], 7) }), withNaN('Min', 'Min', {}, { b: randomTensor([8, 1, 1], 7) }), withNaN('ReduceMin', 'ReduceMin', {}, { axes: ints64(2, 3) }),
  withNaN('ReduceMax', 'ReduceMax', {}, { axes: ints64(1) }), withNaN('Sigmoid', 'Sigmoid'), withNaN('HardSigmoid', 'HardSigmoid'), withNaN('Softmax', 'Softmax', { axis: 3 }),
];

/** Bounds that bind, and states that look at the cell. */
function lstm(name: string, attributes: Attributes, peephole: boolean): Case {
  const constants = { w: randomTensor([1, 16, 3], 1), r: randomTensor([1, 16, 4], 2), b: randomTensor([1, 32], 3), ...(peephole ? { p: randomTensor([1, 12], 4) } : {}) };
  return {
    name: `LSTM ${name}`,
    spec: { opset: 14, inputs: { x: [5, 2, 3] }, constants, nodes: [node('LSTM', ['x', 'w', 'r', 'b', ...(peephole ? ['', '', '', 'p'] : [])], ['y', 'h', 'c'], { hidden_size: 4, ...attributes })], outputs: ['y', 'h', 'c'] },
    feeds: { x: randomTensor([5, 2, 3], 5) },
  };
}

const recurrent: Case[] = [lstm('with a bound', { clip: { float: 0.3 } }, false), lstm('with peepholes', {}, true), lstm('with a bound and peepholes', { clip: { float: 0.3 } }, true)];

const zeros: Case = {
  name: 'DynamicQuantizeLinear of zeros',
  spec: { opset: 11, inputs: { x: [2, 3] }, nodes: [node('DynamicQuantizeLinear', ['x'], ['y', 's', 'z'])], outputs: ['y', 's', 'z'], outputTypes: { y: 'uint8', z: 'uint8' } },
  feeds: { x: floats([2, 3], 0, 0, 0, 0, 0, 0) },
};

export const roundingCases: readonly Case[] = [...resizes, ...sizes, ...noop, ...nans, ...recurrent, zeros];
