import { floatAttribute, int, intAttribute, intsAttribute, misshapen, notConstant, requiredInt, stringAttribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { toNumbers, type TensorValue } from '../graph/tensor-value.js';
import { normalizeAxis } from '../ops/op.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';
import { fusedMatMul, gelu } from './contrib.js';
import { groupQueryAttention } from './grouped-attention.js';

// Operators of com.microsoft that are older than their namesakes in ai.onnx, or rare.

const known = (b: Builder, node: Node, index: number, what: string): TensorValue => {
  const value = b.known(input(node, index));
  if (value === undefined) throw notConstant(node, index, what);
  return value;
};

const expandDims: Expansion = (b, node) => {
  const m = new Notation(b);
  const shape = m.shape(input(node));
  const axis = normalizeAxis(node, Number(known(b, node, 1, 'axis').data[0] ?? 0), shape.length + 1);
  return [m.reshape(input(node), [...shape.slice(0, axis), 1, ...shape.slice(axis)])];
};

/** Elements of all differences up to which they are written out: beyond, squares are taken apart, which costs digits, as in onnxruntime. */
const manyDifferences = 2 ** 22;

/** Distances of each row of a from each row of b. */
const cdist: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, y] = [input(node), input(node, 1)];
  const [rows = 0, size = 0] = m.shape(x);
  const [columns = 0] = m.shape(y);
  const squares = (): string => {
    if (rows * columns * size <= manyDifferences) return m.reduce('ReduceSumSquare', m.sub(m.reshape(x, [rows, 1, size]), m.reshape(y, [1, columns, size])), [2], false);
    const length = (value: string, dims: readonly number[]): string => m.reshape(m.reduce('ReduceSumSquare', value, [1]), dims);
    const apart = m.sub(m.add(length(x, [rows, 1]), length(y, [1, columns])), m.scale(m.op('MatMul', x, m.transpose(y, [1, 0])), 2));
    return m.op('Relu', apart);
  };
  return [stringAttribute(node, 'metric', 'sqeuclidean') === 'euclidean' ? m.op('Sqrt', squares()) : squares()];
};

/** Values in the order in which they come, the place of each element among them, and how often each comes. */
const unique: Expansion = (b, node) => {
  const [values = '', , inverse = '', counts = ''] = b.emitAll('Unique', [input(node)], 4, { sorted: int(0) });
  return [values, inverse, counts];
};

/** What the codes of 4 bits stand for (bitsandbytes): floats of 4 bits, and the quantiles of a normal distribution. */
const bnb4: readonly (readonly number[])[] = [
  [0, 5.208333333e-3, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25, -0, -5.208333333e-3, -0.66666667, -1, -0.33333333, -0.5, -0.16666667, -0.25],
  [-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1],
];

/** A product by weights [N, K] (or [K, N]) in blocks of codes of 4 bits, the upper ones first, each with its largest magnitude. */
const matMulBnb4: Expansion = (b, node) => {
  const m = new Notation(b);
  const [k, n, block] = [requiredInt(node, 'K'), requiredInt(node, 'N'), requiredInt(node, 'block_size')];
  const [codes, largest] = [known(b, node, 1, 'B'), toNumbers(known(b, node, 2, 'absmax'))];
  const table = bnb4[requiredInt(node, 'quant_type')];
  if (table === undefined) throw misshapen(node, `Expected a quant_type of 0 or 1 but received ${requiredInt(node, 'quant_type')}`);
  const bytes = toNumbers(codes);
  if (!(k >= 1 && n >= 1 && block >= 1) || bytes.length !== Math.ceil((k * n) / 2) || largest.length !== Math.ceil((k * n) / block)) {
    throw misshapen(node, `${bytes.length} bytes and ${largest.length} magnitudes are not those of ${k} x ${n} weights in blocks of ${block}`);
  }
  m.checkConstant(k * n);
  const values = Float32Array.from({ length: k * n }, (_, i) => (table[((bytes[i >> 1] ?? 0) >> (i % 2 === 0 ? 4 : 0)) & 15] ?? 0) * (largest[Math.floor(i / block)] ?? 0));
  const turned = intAttribute(node, 'transB', 1) !== 0;
  const weights = m.tensor('float32', turned ? [n, k] : [k, n], values);
  return [m.op('MatMul', input(node), turned ? m.transpose(weights, [1, 0]) : weights)];
};

/** The mean of what codes stand for, as codes of another grid. */
const qlinearReduceMean: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, scale, zero, outScale, outZero] = [0, 1, 2, 3, 4].map((i) => input(node, i)) as [string, string, string, string, string];
  const rank = m.shape(x).length;
  const axes = (intsAttribute(node, 'axes') ?? Array.from({ length: rank }, (_, i) => i)).map((axis) => normalizeAxis(node, axis, rank));
  const mean = m.reduce('ReduceMean', b.emit('DequantizeLinear', zero === '' ? [x, scale] : [x, scale, zero]), axes, intAttribute(node, 'keepdims', 1) !== 0);
  return [b.emit('QuantizeLinear', [mean, outScale, outZero === '' ? m.number(0, m.dtype(x)) : outZero])];
};

/** The first half by the Gelu of the second. */
const biasSplitGelu: Expansion = (b, node) => {
  const m = new Notation(b);
  const sum = m.add(input(node), input(node, 1));
  const [axis, half] = [m.shape(sum).length - 1, (m.shape(sum).at(-1) ?? 0) / 2];
  if (!Number.isInteger(half)) throw misshapen(node, `${2 * half} columns have no half`);
  return [m.mul(m.slice(sum, axis, 0, half), gelu(m, m.slice(sum, axis, half, 2 * half)))];
};

/** Groups of channels, which are the last axis unless the attribute says otherwise, normalized; the sum before that is the second output. */
const groupNorm = (skip: boolean): Expansion => (b, node) => {
  const m = new Notation(b);
  const [x, added, bias] = skip ? [input(node), input(node, 3), input(node, 4)] : [input(node), '', ''];
  const shape = m.shape(x);
  const rank = shape.length;
  const last = intAttribute(node, 'channels_last', 1) !== 0;
  const axis = last ? rank - 1 : 1;
  const [channels, groups] = [shape[axis] ?? 0, requiredInt(node, 'groups')];
  if (!(groups >= 1) || channels % groups !== 0) throw misshapen(node, `${channels} channels do not divide into ${groups} groups`);
  const along = (value: string): string => m.reshape(value, shape.map((_, i) => (i === axis ? channels : 1)));
  const sum = [...(added === '' ? [] : [added]), ...(bias === '' ? [] : [along(bias)])].reduce(m.add, x);
  const parts = [...shape.slice(0, axis), groups, channels / groups, ...shape.slice(axis + 1)];
  const grouped = m.reshape(sum, parts);
  const axes = parts.map((_, i) => i).filter((i) => i !== 0 && i !== axis);
  const centred = m.sub(grouped, m.reduce('ReduceMean', grouped, axes));
  const deviation = m.op('Sqrt', m.add(m.reduce('ReduceMean', m.mul(centred, centred), axes), m.number(floatAttribute(node, 'epsilon', 1e-5))));
  const y = m.add(m.mul(m.reshape(m.div(centred, deviation), shape), along(input(node, 1))), along(input(node, 2)));
  return [intAttribute(node, 'activation', 0) === 0 ? y : m.mul(y, m.op('Sigmoid', y)), sum];
};

export const contribOthers: Readonly<Record<string, Expansion>> = {
  GroupQueryAttention: groupQueryAttention, TransposeMatMul: fusedMatMul, ExpandDims: expandDims, CDist: cdist, Unique: unique, MatMulBnb4: matMulBnb4,
  QLinearReduceMean: qlinearReduceMean, BiasSplitGelu: biasSplitGelu, GroupNorm: groupNorm(false), SkipGroupNorm: groupNorm(true),
  BiasAdd: (b, node) => {
    const m = new Notation(b);
    return [m.add(m.add(input(node), input(node, 1)), input(node, 2))];
  },
  GridSample: (b, node) => {
    const mode = stringAttribute(node, 'mode', 'bilinear');
    const name = b.opset < 20 ? mode : (({ bilinear: 'linear', bicubic: 'cubic' } as Readonly<Record<string, string>>)[mode] ?? mode);
    return [b.emit('GridSample', [input(node), input(node, 1)], { ...Object.fromEntries(node.attributes), mode: { type: 'string', value: name } })];
  },
  Range: (b, node) => [b.emit('Range', [input(node), input(node, 1), input(node, 2) === '' ? new Notation(b).like(input(node), 1) : input(node, 2)])],
};
