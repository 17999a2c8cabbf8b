import { floatAttribute, notConstant, oneOf, requiredInt, requiredInts, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { elementCount, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { fusedUnary } from '../../ops/convolution.js';
import { coreBinaryKind, coreReduceKind, coreSoftmaxMode } from '../../ops/core.js';
import { matMulShape } from '../../ops/linear.js';
import { gatherElements } from '../../ops/movement.js';
import type { Lowering, LoweringContext } from '../context.js';
import { binaryCodes, reduceCodes, softmaxCodes, unaryCodes } from '../program-format.js';

const unaryF32: Lowering = (context, node) => {
  const { kind, alpha, beta } = fusedUnary(node);
  context.emit(node, 'UnaryF32', [context.tensor(node.inputs[0] ?? '')], context.tensor(node.outputs[0] ?? ''), { kind: unaryCodes[kind], alpha, beta });
};

const binaryF32: Lowering = (context, node) => {
  const { kind, alpha, beta } = fusedUnary(node);
  const [a = '', b = ''] = node.inputs;
  const attributes = { kind: binaryCodes[coreBinaryKind(node)], unary: unaryCodes[kind], alpha, beta };
  context.emit(node, 'BinaryF32', [context.tensor(a), context.tensor(b)], context.tensor(node.outputs[0] ?? ''), attributes);
};

const binaryQ8: Lowering = (context, node) => {
  const [a = '', b = ''] = node.inputs;
  const y = node.outputs[0] ?? '';
  const at = (value: string, name: string) => context.stored8(value, requiredInt(node, name));
  context.emit(node, 'BinaryQ8', [context.tensor(a), context.tensor(b)], context.tensor(y), {
    kind: binaryCodes[oneOf(node, 'kind', ['add', 'sub', 'mul'], 'add')],
    a_zp: at(a, 'a_zp'), b_zp: at(b, 'b_zp'), y_zp: at(y, 'y_zp'), y_lo: at(y, 'y_lo'), y_hi: at(y, 'y_hi'),
    a_mul: floatAttribute(node, 'a_mul', 1), b_mul: floatAttribute(node, 'b_mul', 1),
  });
};

/** Tables are in the order of values, lowest first; their entries are activations. */
const lutQ8: Lowering = (context, node) => {
  const [x = '', table = ''] = node.inputs;
  const constant = context.constant(table);
  const entries = context.arrivesUnflipped(x) && constant !== undefined ? swapHalves(context, table, constant) : context.tensor(table);
  context.emit(node, 'LutQ8', [context.tensor(x), entries], context.tensor(node.outputs[0] ?? ''), {});
};

/** A table for bytes whose sign is not the program's: the halves of the range change places. */
function swapHalves(context: LoweringContext, name: string, table: TensorValue): number {
  const stored = fromNumbers(context.activation, table.dims, mapNumbers(toNumbers(table), (entry) => context.stored8(name, entry)));
  const swapped = gatherElements(stored, Int32Array.from({ length: stored.data.length }, (_, i) => i ^ 128), stored.dims);
  return context.raw(context.activation, swapped.dims, swapped.data);
}

/** Scale and zero-point of a QuantizeLinear or DequantizeLinear; `quantized` is its 8-bit side. */
function quantizeFields(context: LoweringContext, node: Node, quantized: string) {
  const scale = context.constant(node.inputs[1]);
  const zeroPoint = context.constant(node.inputs[2]);
  if (scale?.data.length !== 1) throw unsupported(node, 'Expected one scale for the whole tensor', 'axis');
  if (zeroPoint === undefined && (node.inputs[2] ?? '') !== '') throw notConstant(node, 2, 'zero_point');
  return { scale: Number(scale.data[0]), zp: context.stored8(quantized, Number(zeroPoint?.data[0] ?? 0)) };
}

const threshold: Lowering = (context, node) => {
  const [x = '', lower = '', upper = ''] = node.inputs;
  const y = node.outputs[0] ?? '';
  context.emit(node, 'Threshold', [context.tensor(x), context.tensor(lower), context.tensor(upper)], context.tensor(y), { zp: context.stored8(y, requiredInt(node, 'y_zp')) });
};

const quantize: Lowering = (context, node) => {
  const y = node.outputs[0] ?? '';
  context.emit(node, 'Quantize', [context.tensor(node.inputs[0] ?? '')], context.tensor(y), quantizeFields(context, node, y));
};
const dequantize: Lowering = (context, node) => {
  const x = node.inputs[0] ?? '';
  context.emit(node, 'Dequantize', [context.tensor(x)], context.tensor(node.outputs[0] ?? ''), quantizeFields(context, node, x));
};

const normalizeU8: Lowering = (context, node) => {
  const [x = '', mul = '', add = ''] = node.inputs;
  context.emit(node, 'NormalizeU8', [context.tensor(x), context.tensor(mul), context.tensor(add)], context.tensor(node.outputs[0] ?? ''), {});
};

const matMul: Lowering = (context, node) => {
  const [a = '', b = ''] = node.inputs;
  const shape = matMulShape(node, context.shape(a), context.shape(b));
  const macs = elementCount(shape) * (context.shape(a).at(-1) ?? 1);
  const attributes = { transpose_a: 0, transpose_b: 0, alpha: 1 };
  context.emit(node, 'MatMulF32', [context.tensor(a), context.tensor(b)], context.tensor(node.outputs[0] ?? ''), attributes, macs);
};

const matMulW4: Lowering = (context, node) => {
  const [a = '', codes = '', scales = '', bias = ''] = node.inputs;
  const y = node.outputs[0] ?? '';
  const w = context.constant(codes);
  const operands = [context.tensor(a), w === undefined ? undefined : context.raw('int8', w.dims, w.data), context.tensor(scales), context.optional(bias)];
  context.emit(node, 'MatMulW4', operands, context.tensor(y), { group: requiredInt(node, 'group') }, elementCount(context.shape(y)) * (w?.dims[1] ?? 1));
};

/** Absent operands keep their place: a float `a` has no zero-point. */
const matMulS32: Lowering = (context, node) => {
  const y = node.outputs[0] ?? '';
  const operands = [0, 1, 2, 3].map((index) => context.optional(node.inputs[index]));
  const macs = elementCount(context.shape(y)) * (context.shape(node.inputs[0] ?? '').at(-1) ?? 1);
  context.emit(node, 'MatMulS32', operands, context.tensor(y), {}, macs);
};

const reduce: Lowering = (context, node) => {
  const mask = requiredInts(node, 'axes').reduce((bits, axis) => bits | (1 << axis), 0);
  const attributes = { kind: reduceCodes[coreReduceKind(node)], axes_mask: mask };
  context.emit(node, 'ReduceF32', [context.tensor(node.inputs[0] ?? '')], context.tensor(node.outputs[0] ?? ''), attributes);
};

const softmax: Lowering = (context, node) => {
  const attributes = { axis: requiredInt(node, 'axis'), mode: softmaxCodes[coreSoftmaxMode(node)] };
  context.emit(node, 'SoftmaxF32', [context.tensor(node.inputs[0] ?? '')], context.tensor(node.outputs[0] ?? ''), attributes);
};

export const elementwiseLowerings: Readonly<Record<string, Lowering>> = {
  Unary: unaryF32, BinaryF32: binaryF32, BinaryQ8: binaryQ8, LutQ8: lutQ8, QuantizeLinear: quantize, DequantizeLinear: dequantize,
  Threshold: threshold, NormalizeU8: normalizeU8, MatMul: matMul, MatMulW4: matMulW4, MatMulS32: matMulS32, Reduce: reduce, AxisSoftmax: softmax,
};

