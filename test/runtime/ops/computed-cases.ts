import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { floats, ints64, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import type { Case } from './cases.js';

// Operators that read or write at computed places, and products that an equation or a name describes: runtime/expand writes them out.

type Values = Readonly<Record<string, TensorValue>>;
type Attributes = Parameters<typeof node>[3];

/** One node over fed values; '' is an operand that is left out. */
function one(name: string, op: string, feeds: Values, attributes: Attributes = {}, options: Partial<ModelSpec> & { operands?: readonly string[] } = {}): Case {
  const { operands = [...Object.keys(feeds), ...Object.keys(options.constants ?? {})], outputs = ['y'], ...rest } = options;
  return {
    name,
    spec: {
      opset: 18, ...rest, outputs, nodes: [node(op, operands, outputs, attributes)],
      inputs: Object.fromEntries(Object.entries(feeds).map(([input, { dims }]) => [input, dims])), types: Object.fromEntries(Object.entries(feeds).map(([input, { dtype }]) => [input, dtype])),
    },
    feeds,
  };
}

const einsum = (equation: string, ...shapes: readonly (readonly number[])[]): Case =>
  one(`Einsum ${equation}`, 'Einsum', Object.fromEntries(shapes.map((dims, i) => [`x${i}`, randomTensor(dims, i + 1)])), { equation });

const equations: Case[] = [
  einsum('ij,jk->ik', [3, 4], [4, 5]), einsum('bhwc,hkc->bhwk', [2, 3, 4, 5], [3, 6, 5]), einsum('bij,bjk', [2, 3, 4], [2, 4, 5]), einsum('ij->ji', [3, 4]), einsum('ij->i', [3, 4]),
  einsum('ii->i', [4, 4]), einsum('ii', [4, 4]), einsum('...ij,...jk->...ik', [2, 3, 4], [1, 4, 5]), einsum('i,j->ij', [3], [4]), einsum('ij,ij->', [3, 4], [3, 4]),
  einsum('ab,bc,cd->ad', [2, 3], [3, 4], [4, 5]), einsum('nchw,nvhw->nvc', [1, 3, 2, 2], [1, 4, 2, 2]), einsum('...ii->...i', [2, 3, 3]),
];

const grid = (seed: number, ...dims: number[]): TensorValue => randomTensor(dims, seed, -1.6, 1.6);
const samples: Case[] = [
  ...['bilinear', 'nearest', 'bicubic'].flatMap((mode) => ['zeros', 'border', 'reflection'].flatMap((padding) => [0, 1].map((corners) =>
    one(`GridSample ${mode} ${padding} ${corners}`, 'GridSample', { x: randomTensor([2, 3, 4, 5], 1), grid: grid(2, 2, 3, 6, 2) }, { mode, padding_mode: padding, align_corners: corners })))),
  ...['zeros', 'border', 'reflection'].map((padding) => one(`GridSample cubic ${padding} of operator set 20`, 'GridSample', { x: randomTensor([1, 2, 3, 4], 1), grid: grid(2, 1, 4, 5, 2) }, { mode: 'cubic', padding_mode: padding }, { opset: 20 })),
  one('GridSample of operator set 20', 'GridSample', { x: randomTensor([1, 2, 4, 4], 1), grid: grid(2, 1, 3, 3, 2) }, { mode: 'linear' }, { opset: 20 }),
  one('GridSample of volumes', 'GridSample', { x: randomTensor([1, 2, 3, 4, 5], 1), grid: grid(2, 1, 2, 3, 2, 3) }, { mode: 'linear', padding_mode: 'border' }, { opset: 20 }),
  ...(['avg', 'max'] as const).flatMap((mode) => [1, 2].map((ratio) => one(`RoiAlign ${mode} of ${ratio} samples`, 'RoiAlign',
    { x: randomTensor([2, 3, 8, 9], 1), rois: floats([3, 4], 0, 0, 7, 5, 2, 1, 12, 14, 3.3, 2.1, 3.5, 6), batch: ints64(0, 1, 1) }, { mode, output_height: 3, output_width: 2, sampling_ratio: ratio, spatial_scale: { float: 0.5 } }))),
  one('RoiAlign of operator set 10', 'RoiAlign', { x: randomTensor([1, 2, 6, 6], 1), rois: floats([1, 4], 1, 1, 9, 8), batch: ints64(0) }, { output_height: 2, output_width: 2, sampling_ratio: 2, spatial_scale: { float: 0.5 } }, { opset: 10 }),
];

const x = randomTensor([3, 4, 5], 1);
const elements = (dims: readonly number[], low: number, high: number, seed: number): Values => ({ x, i: randomInts('int64', dims, seed, low, high), u: randomTensor(dims, seed + 1) });
const distinct: Values = { x, i: fromNumbers('int64', [1, 2, 5], [0, 1, 2, 3, -1, 3, -1, 0, 1, 2]), u: randomTensor([1, 2, 5], 4) };
const tuples: Values = { x, i: fromNumbers('int64', [3, 2], [0, 1, 2, -1, 1, 0]), u: randomTensor([3, 5], 3) };
const repeats: Values = { x, i: fromNumbers('int64', [4, 1], [0, 2, 0, -1]), u: randomTensor([4, 4, 5], 3) };
const scatters: Case[] = [
  one('ScatterElements', 'ScatterElements', distinct, { axis: 1 }),
  one('ScatterElements of a constant order', 'ScatterElements', { x, u: distinct['u'] ?? x }, { axis: 1 }, { operands: ['x', 'i', 'u'], constants: { i: distinct['i'] ?? x } }),
  ...['add', 'mul', 'min', 'max'].map((reduction) => one(`ScatterElements ${reduction}`, 'ScatterElements', elements([3, 2, 4], -3, 2, 5), { axis: 0, reduction })),
  one('ScatterElements of whole numbers', 'ScatterElements', { x: randomInts('int64', [6], 1, -9, 9), i: ints64(1, 4), u: ints64(70, 80) }, {}, { outputTypes: { y: 'int64' } }),
  one('Scatter', 'Scatter', distinct, { axis: 1 }, { opset: 10 }),
  one('ScatterND at computed places', 'ScatterND', tuples),
  ...['add', 'mul', 'min', 'max'].map((reduction) => one(`ScatterND ${reduction}`, 'ScatterND', repeats, { reduction })),
];

const heads = (seed: number, ...dims: number[]): TensorValue => randomTensor(dims, seed);
const qkv = { q: heads(1, 2, 4, 3, 8), k: heads(2, 2, 4, 5, 8), v: heads(3, 2, 4, 5, 6) };
const attention = (name: string, feeds: Values, attributes: Attributes = {}, options: Partial<ModelSpec> & { operands?: readonly string[] } = {}): Case => one(`Attention ${name}`, 'Attention', feeds, attributes, { opset: 23, ...options });
const flat = { q: heads(1, 2, 3, 32), k: heads(2, 2, 5, 16), v: heads(3, 2, 5, 16) };
const attentions: Case[] = [
  attention('of heads', qkv), attention('of a scale', qkv, { scale: { float: 0.1 } }), attention('that is causal', qkv, { is_causal: 1 }), attention('with softcap', qkv, { softcap: { float: 0.5 } }),
  attention('with a mask', { ...qkv, mask: heads(4, 3, 5) }), attention('with a mask of booleans', { ...qkv, mask: fromNumbers('bool', [3, 5], [1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1]) }),
  attention('of shared keys', flat, { q_num_heads: 4, kv_num_heads: 2 }),
  attention('with as many keys as count', { ...qkv, n: ints64(3, 5) }, {}, { opset: 24, operands: ['q', 'k', 'v', '', '', '', 'n'] }),
  attention('with a past', { ...qkv, pk: heads(5, 2, 4, 2, 8), pv: heads(6, 2, 4, 2, 6) }, {}, { operands: ['q', 'k', 'v', '', 'pk', 'pv'], outputs: ['y', 'keys', 'values'] }),
];
const cache = (seed: number, ...dims: number[]): TensorValue => randomTensor(dims, seed);
const rotations: Case[] = [
  ...[0, 1].map((interleaved) => one(`RotaryEmbedding ${interleaved}`, 'RotaryEmbedding', { x: heads(1, 2, 3, 4, 8), c: cache(2, 10, 4), s: cache(3, 10, 4), p: randomInts('int64', [2, 4], 4, 0, 9) }, { interleaved }, { opset: 23 })),
  one('RotaryEmbedding of a part', 'RotaryEmbedding', { x: heads(1, 2, 3, 4, 8), c: cache(2, 10, 2), s: cache(3, 10, 2), p: randomInts('int64', [2, 4], 4, 0, 9) }, { rotary_embedding_dim: 4, num_heads: 3 }, { opset: 23 }),
  one('RotaryEmbedding without positions', 'RotaryEmbedding', { x: heads(1, 2, 4, 24), c: cache(2, 2, 4, 4), s: cache(3, 2, 4, 4) }, { num_heads: 3 }, { opset: 23 }),
];

/** Weights that the file does not store, with more elements than shape arithmetic evaluates. */
const filled = (name: string, op: string, dims: readonly number[], shape: readonly number[]): Case => ({
  name: `${name} by weights of ConstantOfShape`, feeds: { x: randomTensor(dims, 1) },
  spec: { inputs: { x: dims }, constants: { shape: ints64(...shape) }, outputs: ['y'], outputTypes: { y: 'float32' }, nodes: [node('ConstantOfShape', ['shape'], ['w'], { value: { type: 'tensor', value: floats([1], 0.01) } }), node(op, ['x', 'w'], ['y'])] },
});
const fills: Case[] = [filled('Conv', 'Conv', [1, 32, 5, 5], [32, 32, 3, 3]), filled('ConvTranspose', 'ConvTranspose', [1, 32, 5, 5], [32, 32, 3, 3]), filled('MatMul', 'MatMul', [2, 80], [80, 80])];

const deformed = { x: randomTensor([2, 4, 5, 6], 1), w: randomTensor([4, 2, 3, 2], 2), o: randomTensor([2, 24, 5, 6], 3, -2, 2), b: randomTensor([4], 4), m: randomTensor([2, 12, 5, 6], 5, 0, 1) };
const placements: Case[] = [
  one('Col2Im', 'Col2Im', { x: randomTensor([2, 12, 12], 1) }, {}, { constants: { image: ints64(4, 5), block: ints64(2, 2) } }),
  one('Col2Im with strides, dilations and pads', 'Col2Im', { x: randomTensor([1, 12, 4], 1) }, { strides: [2, 1], dilations: [1, 2], pads: [1, 0, 1, 0] }, { constants: { image: ints64(6, 5), block: ints64(2, 3) } }),
  one('CenterCropPad that cuts and adds', 'CenterCropPad', { x: randomTensor([5, 4, 3], 1) }, {}, { constants: { s: ints64(2, 7, 3) } }),
  one('CenterCropPad of an axis', 'CenterCropPad', { x: randomTensor([5, 4, 3], 1) }, { axes: [-2] }, { constants: { s: ints64(1) } }),
  ...[0, 1].flatMap((corners) => [
    one(`AffineGrid ${corners}`, 'AffineGrid', { t: randomTensor([2, 2, 3], 1) }, { align_corners: corners }, { opset: 20, constants: { s: ints64(2, 3, 4, 5) } }),
    one(`AffineGrid of volumes ${corners}`, 'AffineGrid', { t: randomTensor([1, 3, 4], 1) }, { align_corners: corners }, { opset: 20, constants: { s: ints64(1, 2, 2, 3, 4) } }),
  ]),
  one('DeformConv in groups, with a mask', 'DeformConv', deformed, { group: 2, offset_group: 2, pads: [1, 0, 1, 1] }, { opset: 19 }),
  one('DeformConv', 'DeformConv', { x: randomTensor([1, 2, 6, 6], 1), w: randomTensor([3, 2, 2, 2], 2), o: randomTensor([1, 8, 3, 3], 3) }, { strides: [2, 2] }, { opset: 19 }),
];

export const computedCases: readonly Case[] = [...placements, ...fills, ...equations, ...samples, ...scatters, ...attentions, ...rotations];
