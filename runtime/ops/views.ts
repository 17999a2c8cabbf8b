import { floatAttribute, intAttribute, oneOf, requiredInt, requiredInts } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { operand, optionalOperand, outputOf } from '../graph/operands.js';
import { convOperands } from './convolution.js';
import { convQ8Operands } from './quantized.js';
import { recurrenceOperands } from './recurrent.js';

// What passes, planning and lowering read of nodes: operands and attributes by name instead of by position. A view is of one operator, or of
// some with the same operands; it does not check the node's operator. Operands are those of program.h, `output` is the first output.
// Accessors throw E_MODEL_SHAPE for an operand that must be there, and E_MODEL_OP for such an attribute.

/** Operators of one operand: Unary, View, Reduce, AxisSoftmax, Cast and others; the first operand of any. */
export const single = (node: Node) => ({ x: operand(node, 0), output: outputOf(node) });

/** Operators of two operands that are broadcast, and products: Add, Mul, BinaryF32, BinaryS32, Compare, MatMul. */
export const pair = (node: Node) => ({ a: operand(node, 0), b: operand(node, 1), output: outputOf(node) });

/** Transpose: result axis i is axis perm[i] of x. */
export const transpose = (node: Node) => ({ ...single(node), perm: requiredInts(node, 'perm') });

/** QuantizeLinear, DequantizeLinear; scales for one axis of the data, or for blocks of `blockSize` elements along it. */
export const quantization = (node: Node) => ({
  x: operand(node, 0), scale: operand(node, 1), zeroPoint: optionalOperand(node, 2), output: outputOf(node),
  get blockSize() { return intAttribute(node, 'block_size', 0); },
});

/** What Conv, ConvTranspose, NhwcConv and ConvQ8 have in common. */
export const convolution = (node: Node) => ({ x: operand(node, 0), weights: operand(node, 1), bias: optionalOperand(node, 2), output: outputOf(node) });

/** Gemm of ONNX. */
export const gemm = (node: Node) => ({ a: operand(node, 0), b: operand(node, 1), c: optionalOperand(node, 2), output: outputOf(node) });

/** NhwcConv. */
export const nhwcConv = (node: Node) => ({
  x: operand(node, convOperands.x), weights: operand(node, convOperands.weights),
  bias: optionalOperand(node, convOperands.bias), slope: optionalOperand(node, convOperands.slope), residual: optionalOperand(node, convOperands.residual),
  output: outputOf(node),
  /** Whether the residual is added before the activation. */
  get residualFirst() { return intAttribute(node, 'residual_first', 0) === 1; },
});

/** ConvQ8. */
export const convQ8 = (node: Node) => ({
  x: operand(node, convQ8Operands.x), weights: operand(node, convQ8Operands.weights), bias: optionalOperand(node, convQ8Operands.bias),
  scale: operand(node, convQ8Operands.scale), scaleNeg: optionalOperand(node, convQ8Operands.scaleNeg),
  table: optionalOperand(node, convQ8Operands.table), residual: optionalOperand(node, convQ8Operands.residual),
  output: outputOf(node),
  /** Zero-points and bounds in the model's own numbers: of the input, of the product, of the residual, of the sum. */
  get epilogue() {
    const at = (name: string) => requiredInt(node, name);
    return {
      xZp: at('x_zp'), midZp: at('mid_zp'), midLo: at('mid_lo'), midHi: at('mid_hi'), resZp: at('res_zp'), yZp: at('y_zp'), yLo: at('y_lo'), yHi: at('y_hi'),
      midMul: floatAttribute(node, 'mid_mul', 1), resMul: floatAttribute(node, 'res_mul', 1),
    };
  },
});

/** ConvQ8F32. */
export const convQ8F32 = (node: Node) => ({
  x: operand(node, 0), weights: operand(node, 1), scale: operand(node, 2), bias: optionalOperand(node, 3), output: outputOf(node),
  get xZp() { return requiredInt(node, 'x_zp'); },
});

/** BinaryQ8. */
export const binaryQ8 = (node: Node) => ({
  ...pair(node),
  get kind() { return oneOf(node, 'kind', ['add', 'sub', 'mul'], 'add'); },
  /** Zero-points, bounds of the result, and factors of the operands. */
  get arithmetic() {
    const at = (name: string) => requiredInt(node, name);
    return {
      aZp: at('a_zp'), bZp: at('b_zp'), yZp: at('y_zp'), yLo: at('y_lo'), yHi: at('y_hi'),
      aMul: floatAttribute(node, 'a_mul', 1), bMul: floatAttribute(node, 'b_mul', 1),
    };
  },
});

/** LutQ8. */
export const lutQ8 = (node: Node) => ({ x: operand(node, 0), table: operand(node, 1), output: outputOf(node) });

/** PoolQ8. */
export const poolQ8 = (node: Node) => ({
  ...single(node),
  get arithmetic() {
    const at = (name: string) => requiredInt(node, name);
    return { xZp: at('x_zp'), yZp: at('y_zp'), yLo: at('y_lo'), yHi: at('y_hi'), mul: floatAttribute(node, 'mul', 1) };
  },
});

/** Threshold. */
export const threshold = (node: Node) => ({
  x: operand(node, 0), lower: operand(node, 1), upper: operand(node, 2), output: outputOf(node),
  get yZp() { return requiredInt(node, 'y_zp'); },
});

/** NormalizeU8. */
export const normalizeU8 = (node: Node) => ({ pixels: operand(node, 0), mul: operand(node, 1), add: operand(node, 2), output: outputOf(node) });

/** MatMulW4. */
export const matMulW4 = (node: Node) => ({
  a: operand(node, 0), codes: operand(node, 1), scales: operand(node, 2), bias: optionalOperand(node, 3), output: outputOf(node),
  get group() { return requiredInt(node, 'group'); },
});

/** Gather, GatherElements and GatherND. */
export const gather = (node: Node) => ({ x: operand(node, 0), indices: operand(node, 1), output: outputOf(node) });

/** Recurrence. */
export const recurrence = (node: Node) => ({
  gates: operand(node, recurrenceOperands.gates), weights: operand(node, recurrenceOperands.weights),
  newBias: optionalOperand(node, recurrenceOperands.newBias), hidden: optionalOperand(node, recurrenceOperands.hidden), cell: optionalOperand(node, recurrenceOperands.cell),
  peephole: optionalOperand(node, recurrenceOperands.peephole), lengths: optionalOperand(node, recurrenceOperands.lengths),
  output: outputOf(node),
});

/** ResampleAxis. */
export const resampleAxis = (node: Node) => ({ x: operand(node, 0), indices: operand(node, 1), weights: operand(node, 2), output: outputOf(node) });
