import { floatAttribute, notConstant, requiredInt, requiredInts, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, optionalOperand, outputOf } from '../../graph/operands.js';
import { elementCount, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { fusedUnary } from '../../ops/convolution.js';
import { coreBinaryKind, coreReduceKind, coreSoftmaxMode } from '../../ops/core.js';
import { scaledProductOperands } from '../../ops/dynamic-quantization.js';
import { matMulShape } from '../../ops/linear.js';
import { gatherElements } from '../../ops/movement.js';
import { attentionOrders, attentionScale } from '../../ops/rows.js';
import * as views from '../../ops/views.js';
import type { Lowering, LoweringContext } from '../context.js';
import { binaryCodes, reduceCodes, softmaxCodes, unaryCodes } from '../program-format.js';

const unaryF32: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  const { kind, alpha, beta } = fusedUnary(node);
  context.emit(node, 'UnaryF32', [context.tensor(x)], context.tensor(output), { kind: unaryCodes[kind], alpha, beta });
};

const binaryF32: Lowering = (context, node) => {
  const { a, b, output } = views.pair(node);
  const { kind, alpha, beta } = fusedUnary(node);
  const attributes = { kind: binaryCodes[coreBinaryKind(node)], unary: unaryCodes[kind], alpha, beta };
  context.emit(node, 'BinaryF32', [context.tensor(a), context.tensor(b)], context.tensor(output), attributes);
};

const binaryQ8: Lowering = (context, node) => {
  const { a, b, output, kind, arithmetic: { aZp, bZp, yZp, yLo, yHi, aMul, bMul } } = views.binaryQ8(node);
  const at = (q: number) => context.stored8(output, q);
  context.emit(node, 'BinaryQ8', [context.tensor(a), context.tensor(b)], context.tensor(output), {
    kind: binaryCodes[kind], a_zp: context.stored8(a, aZp), b_zp: context.stored8(b, bZp), y_zp: at(yZp), y_lo: at(yLo), y_hi: at(yHi), a_mul: aMul, b_mul: bMul,
  });
};

/** Tables are in the order of values, lowest first; their entries are activations. */
const lutQ8: Lowering = (context, node) => {
  const { x, table, output } = views.lutQ8(node);
  const constant = context.constant(table);
  const entries = context.arrivesUnflipped(x) && constant !== undefined ? swapHalves(context, table, constant) : context.tensor(table);
  context.emit(node, 'LutQ8', [context.tensor(x), entries], context.tensor(output), {});
};

/** A table for bytes whose sign is not the program's: the halves of the range change places. */
function swapHalves(context: LoweringContext, name: string, table: TensorValue): number {
  const stored = fromNumbers(context.activation, table.dims, mapNumbers(toNumbers(table), (entry) => context.stored8(name, entry)));
  const swapped = gatherElements(stored, Int32Array.from({ length: stored.data.length }, (_, i) => i ^ 128), stored.dims);
  return context.raw(context.activation, swapped.dims, swapped.data);
}

/** Scale and zero-point of a QuantizeLinear or DequantizeLinear; `quantized` is its 8-bit side. */
function quantizeFields(context: LoweringContext, node: Node, quantized: string) {
  const { scale: scaleName, zeroPoint: zeroName } = views.quantization(node);
  const [scale, zeroPoint] = [context.constant(scaleName), context.constant(zeroName)];
  if (scale?.data.length !== 1) throw unsupported(node, 'Expected one scale for the whole tensor', 'axis');
  if (zeroPoint === undefined && zeroName !== undefined) throw notConstant(node, 2, 'zero_point');
  return { scale: Number(scale.data[0]), zp: context.stored8(quantized, Number(zeroPoint?.data[0] ?? 0)) };
}

const threshold: Lowering = (context, node) => {
  const { x, lower, upper, output, yZp } = views.threshold(node);
  context.emit(node, 'Threshold', [context.tensor(x), context.tensor(lower), context.tensor(upper)], context.tensor(output), { zp: context.stored8(output, yZp) });
};

const quantize: Lowering = (context, node) => {
  const { x, output } = views.quantization(node);
  context.emit(node, 'Quantize', [context.tensor(x)], context.tensor(output), quantizeFields(context, node, output));
};
const dequantize: Lowering = (context, node) => {
  const { x, output } = views.quantization(node);
  context.emit(node, 'Dequantize', [context.tensor(x)], context.tensor(output), quantizeFields(context, node, x));
};

const normalizeU8: Lowering = (context, node) => {
  const { pixels, mul, add, output } = views.normalizeU8(node);
  context.emit(node, 'NormalizeU8', [context.tensor(pixels), context.tensor(mul), context.tensor(add)], context.tensor(output), {});
};

const matMul: Lowering = (context, node) => {
  const { a, b, output } = views.pair(node);
  const shape = matMulShape(node, context.shape(a), context.shape(b));
  const macs = elementCount(shape) * (context.shape(a).at(-1) ?? 1);
  const attributes = { transpose_a: 0, transpose_b: 0, alpha: 1 };
  context.emit({ node, macs }, 'MatMulF32', [context.tensor(a), context.tensor(b)], context.tensor(output), attributes);
};

const matMulW4: Lowering = (context, node) => {
  const { a, codes, scales, bias, output, group } = views.matMulW4(node);
  const operands = [context.tensor(a), context.weights8(codes), context.tensor(scales), context.optional(bias)];
  const macs = elementCount(context.shape(output)) * (context.shape(codes)[1] ?? 1);
  context.emit({ node, macs }, 'MatMulW4', operands, context.tensor(output), { group });
};

/** Absent operands keep their place: a float `a` has no zero-point. */
const matMulS32: Lowering = (context, node) => {
  const { a, output } = views.pair(node);
  const operands = [0, 1, 2, 3].map((index) => context.optional(optionalOperand(node, index)));
  const macs = elementCount(context.shape(output)) * (context.shape(a).at(-1) ?? 1);
  context.emit({ node, macs }, 'MatMulS32', operands, context.tensor(output), {});
};

/** ScaledProduct; constant operands but the bias are all there. */
const scaledProduct: Lowering = (context, node) => {
  const { a, output } = views.pair(node);
  const operands = Object.values(scaledProductOperands).map((index) => context.optional(optionalOperand(node, index)));
  const macs = elementCount(context.shape(output)) * (context.shape(a).at(-1) ?? 1);
  context.emit({ node, macs }, 'MatMulQ8F32', operands, context.tensor(output), {});
};

/** An op without attributes that reads the node's inputs and writes its output. */
const plain = (opcode: 'RangeF32' | 'RangeScale' | 'QuantizeBy'): Lowering => (context, node) => {
  context.emit(node, opcode, node.inputs.map((input) => context.tensor(input)), context.tensor(outputOf(node)), {});
};

const reduce: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  const mask = requiredInts(node, 'axes').reduce((bits, axis) => bits | (1 << axis), 0);
  context.emit(node, 'ReduceF32', [context.tensor(x)], context.tensor(output), { kind: reduceCodes[coreReduceKind(node)], axes_mask: mask });
};

const softmax: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  context.emit(node, 'SoftmaxF32', [context.tensor(x)], context.tensor(output), { axis: requiredInt(node, 'axis'), mode: softmaxCodes[coreSoftmaxMode(node)] });
};

const normalizeRows: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  const operands = [context.tensor(x), ...[1, 2].map((index) => context.optional(optionalOperand(node, index)))];
  context.emit(node, 'NormalizeF32', operands, context.tensor(output), { epsilon: floatAttribute(node, 'epsilon', 1e-5) });
};

const attention: Lowering = (context, node) => {
  const { q, k, v, y } = attentionOrders(node);
  const operands = [0, 1, 2, 3].map((index) => context.optional(optionalOperand(node, index)));
  const { x, output } = views.single(node);
  const depth = context.shape(x).at(-1) ?? 1; // of the queries, whose last axis is the last
  const columns = context.shape(operand(node, 1))[k.at(-2) ?? 0] ?? 1;
  const macs = (elementCount(context.shape(x)) + (elementCount(context.shape(x)) / depth) * (context.shape(output).at(-1) ?? 1)) * columns;
  context.emit({ node, macs }, 'AttentionF32', operands, context.tensor(output), { scale: attentionScale(node), q_perm: q, k_perm: k, v_perm: v, y_perm: y });
};

export const elementwiseLowerings: Readonly<Record<string, Lowering>> = {
  Unary: unaryF32, BinaryF32: binaryF32, BinaryQ8: binaryQ8, LutQ8: lutQ8, QuantizeLinear: quantize, DequantizeLinear: dequantize,
  Threshold: threshold, NormalizeU8: normalizeU8, MatMul: matMul, MatMulW4: matMulW4, MatMulS32: matMulS32, ScaledProduct: scaledProduct,
  DataRange: plain('RangeF32'), RangeScale: plain('RangeScale'), RangeZero: plain('RangeScale'), QuantizeBy: plain('QuantizeBy'), Reduce: reduce, AxisSoftmax: softmax, NormalizeRows: normalizeRows,
  FusedAttention: attention,
};
