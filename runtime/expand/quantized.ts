import { intAttribute, misshapen, notConstant, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, toNumbers, type DType } from '../graph/tensor-value.js';
import { type AttributeRecord, type Builder, type Expansion, input, Notation } from './builder.js';
import { absent } from '../graph/operands.js';

// The quantized operators of onnxruntime (domain com.microsoft) as DequantizeLinear, operator, QuantizeLinear: the form in which later passes
// compute them in integers.

const without = (node: Node, ...names: string[]): AttributeRecord => Object.fromEntries([...node.attributes].filter(([name]) => !names.includes(name)));

/** One number, of whatever rank the model has it. */
function parameter(m: Notation, value: string): string {
  return value !== '' && elementCount(m.shape(value)) === 1 ? m.reshape(value, []) : value;
}

/** The values that the operands from `at` on stand for: data, scale, zero-point. */
function dequantized(b: Builder, node: Node, at: number, axis = 1): string {
  const m = new Notation(b);
  const [x, scale, zero] = [input(node, at), parameter(m, input(node, at + 1)), parameter(m, input(node, at + 2))];
  return b.emit('DequantizeLinear', zero === '' ? [x, scale] : [x, scale, zero], { axis: { type: 'int', value: axis } });
}

/** `value` in the scale and zero-point of the operands from `at` on; without a zero-point it is 0 of `dtype`. */
function quantized(b: Builder, node: Node, value: string, at: number, dtype: DType): string[] {
  const m = new Notation(b);
  const zero = parameter(m, input(node, at + 1));
  return [b.emit('QuantizeLinear', [value, parameter(m, input(node, at)), zero === '' ? m.number(0, dtype) : zero])];
}

const typeOf = (b: Builder, node: Node, at = 0): DType => b.type(input(node, at)).dtype;

/** Two operands of three parts each, and what the result is quantized to. */
const binary = (op: 'Add' | 'Mul'): Expansion => (b, node) =>
  quantized(b, node, b.emit(op, [dequantized(b, node, 0), dequantized(b, node, 3)]), 6, typeOf(b, node));

/** One operand, then what the result is quantized to. */
const unary = (op: string, ...dropped: string[]): Expansion => (b, node) =>
  quantized(b, node, b.emit(op, [dequantized(b, node, 0)], without(node, ...dropped)), 3, typeOf(b, node));

/** A pool over channels that may be the last axis. */
const pool = (op: string): Expansion => (b, node) => {
  const m = new Notation(b);
  const x = dequantized(b, node, 0);
  const rank = m.shape(x).length;
  const last = intAttribute(node, 'channels_last', 0) === 1;
  const toFirst = [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)];
  const toLast = [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1];
  const y = b.emit(op, [last ? m.transpose(x, toFirst) : x], without(node, 'channels_last'));
  return quantized(b, node, last ? m.transpose(y, toLast) : y, 3, typeOf(b, node));
};

const concat: Expansion = (b, node) => {
  const count = Math.floor((node.inputs.length - 2) / 3);
  const parts = Array.from({ length: count }, (_, i) => dequantized(b, node, 2 + 3 * i));
  return quantized(b, node, b.emit('Concat', parts, without(node)), 0, typeOf(b, node, 2));
};

/** Before operator set 13 a softmax runs over everything from its axis on. */
const softmax: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = dequantized(b, node, 0);
  const shape = m.shape(x);
  const given = intAttribute(node, 'axis', -1);
  const axis = given < 0 ? given + shape.length : given;
  if (intAttribute(node, 'opset', 13) >= 13) return quantized(b, node, m.softmax(x, axis), 3, typeOf(b, node));
  const rows = elementCount(shape.slice(0, axis));
  return quantized(b, node, m.reshape(m.softmax(m.reshape(x, [rows, elementCount(shape) / Math.max(rows, 1)]), 1), shape), 3, typeOf(b, node));
};

const where: Expansion = (b, node) =>
  quantized(b, node, b.emit('Where', [input(node, 0), dequantized(b, node, 1), dequantized(b, node, 4)]), 7, typeOf(b, node, 1));

/** y = alpha * A B + C, C in steps of a_scale * b_scale. */
const gemm: Expansion = (b, node) => {
  const m = new Notation(b);
  const transposed = intAttribute(node, 'transB', 0) !== 0;
  const [a, w] = [dequantized(b, node, 0), dequantized(b, node, 3, transposed ? 0 : 1)];
  const bias = input(node, 6);
  const step = m.mul(parameter(m, input(node, 1)), parameter(m, input(node, 4)));
  const alpha = node.attributes.get('alpha');
  const scaled = alpha?.type === 'float' && alpha.value !== 1 ? m.scale(step, alpha.value) : step;
  const c = bias === '' ? [] : [m.mul(m.cast(bias, 'float32'), scaled)];
  const y = b.emit('Gemm', [a, w, ...c], without(node));
  if (input(node, 7) === '') return [y];
  return quantized(b, node, y, 7, typeOf(b, node));
};

/** Whole numbers multiplied exactly, then scaled. */
export function scaledProduct(b: Builder, [a, w, aZero, bZero]: readonly [string, string, string, string], scale: string, bias: string): string {
  const m = new Notation(b);
  const product = m.cast(b.emit('MatMulInteger', [a, w, aZero, bZero === '' ? m.number(0, b.type(w).dtype) : bZero]), 'float32');
  const y = m.mul(product, scale);
  return bias === '' ? y : m.add(y, bias);
}

const integerToFloat: Expansion = (b, node) => {
  const m = new Notation(b);
  const zero = input(node, 4) === '' ? m.number(0, typeOf(b, node)) : input(node, 4);
  return [scaledProduct(b, [input(node, 0), input(node, 1), zero, input(node, 5)], m.mul(input(node, 2), input(node, 3)), input(node, 6))];
};

const dynamicMatMul: Expansion = (b, node) => {
  const m = new Notation(b);
  const [codes = absent, scale = absent, zero = absent] = b.emitAll('DynamicQuantizeLinear', [input(node, 0)], 3);
  return [scaledProduct(b, [codes, input(node, 1), zero, input(node, 3)], m.mul(scale, input(node, 2)), input(node, 4))];
};

/** Codes of 4 or 8 bits (or 2), in blocks of the rows of B transposed, as [K, N]. Low bits come first. */
function blockedCodes(node: Node, bytes: ArrayLike<number>, [k, n, bits, block]: readonly [number, number, number, number]): Float64Array {
  const blocks = Math.ceil(k / block);
  const [perByte, mask] = [8 / bits, (1 << bits) - 1];
  const rowBytes = (blocks * block * bits) / 8;
  if (bytes.length !== n * rowBytes) throw misshapen(node, `Expected ${n * rowBytes} bytes of weights but received ${bytes.length}`);
  return Float64Array.from({ length: k * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    return ((bytes[column * rowBytes + Math.floor(row / perByte)] ?? 0) >> ((row % perByte) * bits)) & mask;
  });
}

/** The zero-point of every block: packed like the codes, or floats, or the middle of the range. */
function blockedZeros(b: Builder, node: Node, count: readonly [number, number], bits: number): (block: number, column: number) => number {
  const [blocks] = count;
  const name = input(node, 3);
  if (name === '') return () => 1 << (bits - 1);
  const value = b.known(name);
  if (value === undefined) throw notConstant(node, 3, 'zero_points');
  const numbers = toNumbers(value);
  if (value.dtype === 'float32') return (block, column) => numbers[column * blocks + block] ?? 0;
  const [perByte, mask] = [8 / bits, (1 << bits) - 1];
  const rowBytes = Math.ceil(blocks / perByte);
  return (block, column) => ((numbers[column * rowBytes + Math.floor(block / perByte)] ?? 0) >> ((block % perByte) * bits)) & mask;
}

/** x by weights of a few bits with a scale for each block of a column (and an order of the rows, g_idx). */
const matMulNBits: Expansion = (b, node) => {
  const m = new Notation(b);
  const [k, n] = [intAttribute(node, 'K', 0), intAttribute(node, 'N', 0)];
  const [bits, block] = [intAttribute(node, 'bits', 4), intAttribute(node, 'block_size', 0)];
  const [codes, scales] = [b.known(input(node, 1)), b.known(input(node, 2))];
  if (codes === undefined) throw notConstant(node, 1, 'B');
  if (scales === undefined) throw notConstant(node, 2, 'scales');
  if (![2, 4, 8].includes(bits) || block < 16 || k < 1 || n < 1) throw unsupported(node, `${bits} bits in blocks of ${block} for ${k} x ${n}`, 'bits');
  const blocks = Math.ceil(k / block);
  const numbers = blockedCodes(node, toNumbers(codes), [k, n, bits, block]);
  const zero = blockedZeros(b, node, [blocks, n], bits);
  const scale = toNumbers(scales);
  if (scale.length !== blocks * n) throw misshapen(node, `Expected ${blocks * n} scales but received ${scale.length}`);
  const order = input(node, 4) === '' ? undefined : b.known(input(node, 4));
  if (input(node, 4) !== '' && order === undefined) throw notConstant(node, 4, 'g_idx');
  const blockOf = (row: number): number => (order === undefined ? Math.floor(row / block) : Number(order.data[row] ?? 0));
  // Codes stay codes where a kernel multiplies by them: 4 bits around the middle, whole blocks.
  if (bits === 4 && input(node, 3) === '' && order === undefined && k % block === 0) {
    const w = b.constant(fromNumbers('int4', [k, n], numbers.map((code) => code - 8)));
    const s = m.tensor('float32', [blocks, n], Float64Array.from({ length: blocks * n }, (_, i) => scale[(i % n) * blocks + Math.floor(i / n)] ?? 0));
    const weights = b.emit('DequantizeLinear', [w, s], { axis: { type: 'int', value: 0 }, block_size: { type: 'int', value: block } });
    return [withBias(m, m.op('MatMul', input(node, 0), weights), input(node, 5))];
  }
  const weights = m.tensor('float32', [k, n], numbers.map((code, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    return (code - zero(blockOf(row), column)) * (scale[column * blocks + blockOf(row)] ?? 0);
  }));
  return [withBias(m, m.op('MatMul', input(node, 0), weights), input(node, 5))];
};

const withBias = (m: Notation, y: string, bias: string): string => (bias === '' ? y : m.add(y, bias));

export const quantizedContrib: Readonly<Record<string, Expansion>> = {
  QLinearAdd: binary('Add'), QLinearMul: binary('Mul'), QLinearSigmoid: unary('Sigmoid'), QLinearLeakyRelu: unary('LeakyRelu'),
  QLinearGlobalAveragePool: pool('GlobalAveragePool'), QLinearAveragePool: pool('AveragePool'), QLinearConcat: concat, QLinearSoftmax: softmax,
  QLinearWhere: where, QGemm: gemm, MatMulIntegerToFloat: integerToFloat,
  DynamicQuantizeMatMul: dynamicMatMul, MatMulNBits: matMulNBits,
};
