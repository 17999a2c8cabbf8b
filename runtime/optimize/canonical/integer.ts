import { int, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { absent, hasOperand, operand, optionalOperand, optionalOutput, outputOf } from '../../graph/operands.js';
import { elementCount, float32s, fromNumbers, mapNumbers, reshaped, scalar, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { convGeometry, type ConvGeometry } from '../../ops/convolution.js';
import { padAttributes, sliceAttributes, viewAttributes } from '../../ops/core.js';
import { rangeAttributes } from '../../ops/dynamic-quantization.js';
import { qlinearConvOperands, qlinearMatMulOperands } from '../../ops/integer.js';
import { transposeValue } from '../../ops/movement.js';
import { convolution, pair } from '../../ops/views.js';
import type { Rewriter } from '../rewriter.js';
import { matMul } from './linear.js';
import { Arithmetic } from './normalization.js';
import { conv, fromChannelsLast, toChannelsLast } from './spatial.js';
import { requiredConstant, type Canonical } from './types.js';

function dequantize(editor: Rewriter, node: Node, [x, scale, zero]: readonly [x: string, scale: string, zero?: string | undefined], axis = 0): string {
  return editor.emit({ name: node.name, op: 'DequantizeLinear', inputs: zero === undefined ? [x, scale] : [x, scale, zero], attributes: { axis: int(axis) } });
}

/** One scale for each output channel, or one for all: as DequantizeLinear has them. */
function vectorOrScalar(editor: Rewriter, value: string): string {
  const constant = editor.constant(value);
  if (constant === undefined || constant.dims.length === 1) return value;
  return editor.addConstant(value, reshaped(constant, constant.data.length === 1 ? [] : [constant.data.length]));
}

const optionalVector = (editor: Rewriter, value: string | undefined): string | undefined => (value === undefined ? undefined : vectorOrScalar(editor, value));

/** The bias of QLinearConv: whole steps of x_scale * w_scale. */
function dequantizedBias(editor: Rewriter, node: Node): string {
  const at = qlinearConvOperands;
  const [xScale, wScale] = [requiredConstant(editor, node, at.xScale, 'x_scale'), requiredConstant(editor, node, at.wScale, 'w_scale')];
  requiredConstant(editor, node, at.bias, 'B');
  const steps = mapNumbers(toNumbers(wScale), (scale) => Math.fround(scale * Number(xScale.data[0])));
  const scale = editor.addConstant(`${node.name}.bias_scale`, steps.length === 1 ? scalar('float32', steps[0] ?? 1) : float32s(steps));
  return dequantize(editor, node, [operand(node, at.bias), scale]);
}

/** Scales and zero-points of the QLinear operators are known when the model is compiled. @throws RuntimeError E_MODEL_OP */
function requireParameters(editor: Rewriter, node: Node, operands: Readonly<Record<string, number>>): void {
  for (const [name, index] of Object.entries(operands)) {
    if (/Scale|Zero/.test(name) && hasOperand(node, index)) requiredConstant(editor, node, index, name);
  }
}

/** As if the model had DequantizeLinear, Conv and QuantizeLinear, which later passes compute in integers. */
const qlinearConv: Canonical = (editor, node) => {
  const at = qlinearConvOperands;
  requireParameters(editor, node, at);
  requiredConstant(editor, node, at.w, 'w');
  const x = dequantize(editor, node, [operand(node, at.x), operand(node, at.xScale), optionalOperand(node, at.xZero)]);
  const weights = dequantize(editor, node, [operand(node, at.w), vectorOrScalar(editor, operand(node, at.wScale)), optionalVector(editor, optionalOperand(node, at.wZero))]);
  const bias = hasOperand(node, at.bias) ? [dequantizedBias(editor, node)] : [];
  editor.remove(node);
  const result = editor.emit({ name: node.name, op: 'Conv', inputs: [x, weights, ...bias], attributes: Object.fromEntries(node.attributes) });
  editor.emitTo(outputOf(node), { name: node.name, op: 'QuantizeLinear', inputs: [result, operand(node, at.yScale), operand(node, at.yZero)] });
  const emitted = editor.producer(result);
  if (emitted !== undefined) conv(editor, emitted);
};

/** A product with constants as QLinearConv; else the product of whole numbers, which is exact, is scaled. */
const qlinearMatMul: Canonical = (editor, node) => {
  const at = qlinearMatMulOperands;
  requireParameters(editor, node, at);
  const output = outputOf(node);
  const value = (index: number) => operand(node, index);
  const fixed = editor.constant(value(at.b)) !== undefined;
  const one = fixed ? undefined : editor.addConstant(`${node.name}.one`, scalar('float32', 1));
  const columns = editor.type(value(at.b)).shape.length - 1;
  const a = dequantize(editor, node, [value(at.a), one ?? value(at.aScale), optionalOperand(node, at.aZero)]);
  const b = dequantize(editor, node, [value(at.b), one ?? vectorOrScalar(editor, value(at.bScale)), optionalVector(editor, optionalOperand(node, at.bZero))], columns);
  editor.remove(node);
  const product = editor.emit({ name: node.name, op: 'MatMul', inputs: [a, b] });
  const scaled = fixed ? product : editor.emit({ name: node.name, op: 'Mul', inputs: [product, productScale(editor, node)] });
  editor.emitTo(output, { name: node.name, op: 'QuantizeLinear', inputs: [scaled, one ?? value(at.yScale), value(at.yZero)] });
  const emitted = editor.producer(product);
  if (emitted !== undefined) matMul(editor, emitted);
};

/** a_scale * b_scale / y_scale, for the product or each of its columns. */
function productScale(editor: Rewriter, node: Node): string {
  const at = qlinearMatMulOperands;
  const constant = (index: number, name: string) => requiredConstant(editor, node, index, name);
  const [aScale, bScale, yScale] = [constant(at.aScale, 'a_scale'), constant(at.bScale, 'b_scale'), constant(at.yScale, 'y_scale')];
  const factors = mapNumbers(toNumbers(bScale), (scale) => Math.fround(Math.fround(Number(aScale.data[0]) * scale) / Number(yScale.data[0])));
  return editor.addConstant(`${node.name}.scale`, fromNumbers('float32', bScale.dims, factors));
}

/** A zero-point, or 0 in the type of what it belongs to: the engine moves both alike. */
function zeroOf(editor: Rewriter, node: Node, value: string, zero: string | undefined): string {
  return zero === undefined ? editor.addConstant(`${node.name}.zero`, scalar(editor.type(value).dtype, 0)) : vectorOrScalar(editor, zero);
}

const matMulInteger: Canonical = (editor, node) => {
  const { a, b, output } = pair(node);
  const [aZero, bZero] = [optionalOperand(node, 2), optionalOperand(node, 3)];
  if (aZero !== undefined && elementCount(editor.type(aZero).shape) !== 1) throw unsupported(node, 'Expected one zero-point of A but received one for each row', 'a_zero_point');
  const raise = (value: string, column: boolean): string => {
    const { shape } = editor.type(value);
    if (shape.length !== 1) return value;
    return new Arithmetic(editor, node.name).view(value, column ? [shape[0] ?? 1, 1] : [1, shape[0] ?? 1]);
  };
  const inputs = [raise(a, false), raise(b, true), zeroOf(editor, node, a, aZero), zeroOf(editor, node, b, bZero)];
  const { shape } = editor.type(output);
  editor.remove(node);
  const product = editor.emit({ name: node.name, op: 'MatMulS32', inputs });
  editor.emitTo(output, { name: node.name, op: 'View', inputs: [product], attributes: viewAttributes(shape) });
};

/** Slices that an unfolded ConvInteger may consist of; beyond it is no edge network's layer. */
const maximumSlices = 1024;

/** x - zero in float32: whole numbers, and 0 is what padding adds. */
function centredData(editor: Rewriter, node: Node): string {
  const [x, zero] = [operand(node, 0), optionalOperand(node, 2)];
  const one = editor.addConstant(`${node.name}.one`, scalar('float32', 1));
  if (zero === undefined || editor.constant(zero) !== undefined) return dequantize(editor, node, [x, one, zero]);
  const shape = editor.type(x).shape.map(() => 1);
  const offset = new Arithmetic(editor, node.name).view(dequantize(editor, node, [zero, one]), shape);
  return editor.emit({ name: node.name, op: 'Sub', inputs: [dequantize(editor, node, [x, one]), offset] });
}

/** The values under every output pixel, [N, OH, OW, KH * KW * C / group], of one group's channels. */
function unfolded(editor: Rewriter, node: Node, padded: string, geometry: ConvGeometry, group: number): string {
  const [batch = 1, , , channels = 1] = editor.type(padded).shape;
  const depth = channels / geometry.group;
  const slices = Array.from({ length: geometry.kernel[0] * geometry.kernel[1] }, (_, tap) => {
    const [ky, kx] = [Math.floor(tap / geometry.kernel[1]), tap % geometry.kernel[1]];
    const range = {
      starts: [0, ky * geometry.dilations[0], kx * geometry.dilations[1], group * depth], steps: [1, ...geometry.strides, 1], extent: [batch, ...geometry.output, depth],
    };
    return editor.emit({ name: node.name, op: 'StridedSlice', inputs: [padded], attributes: sliceAttributes(range) });
  });
  return editor.concatenate(node.name, slices, 3);
}

/** Weights [O, C / group, KH, KW] of a group as a matrix [KH * KW * C / group, O / group]. */
function groupMatrix(w: TensorValue, { group }: ConvGeometry, index: number): TensorValue {
  const [outputs = 1, depth = 1, kh = 1, kw = 1] = w.dims.length === 3 ? [w.dims[0] ?? 1, w.dims[1] ?? 1, 1, w.dims[2] ?? 1] : w.dims;
  const size = w.data.length / group;
  const part = fromNumbers(w.dtype, [outputs / group, depth, kh, kw], toNumbers(w).subarray(index * size, (index + 1) * size));
  return reshaped(transposeValue(part, [2, 3, 1, 0]), [kh * kw * depth, outputs / group]);
}

/** A convolution of bytes into 32 bits: the values under each output pixel side by side, times the weights as a matrix. */
const convInteger: Canonical = (editor, node) => {
  const { x, weights: w } = convolution(node);
  const weights = requiredConstant(editor, node, 1, 'w');
  const geometry = convGeometry(node, editor.type(x).shape, weights.dims);
  if (geometry.group * geometry.kernel[0] * geometry.kernel[1] > maximumSlices) throw unsupported(node, `${geometry.group} groups of ${geometry.kernel.join('x')}`, 'group');
  const zeros = hasOperand(node, 3) ? requiredConstant(editor, node, 3, 'w_zero_point') : undefined;
  const data = toChannelsLast(editor, node, centredData(editor, node));
  const [top, left, bottom, right] = geometry.pads;
  const padding = { mode: 'constant', before: [0, top, left, 0], after: [0, bottom, right, 0] } as const;
  const padded = geometry.pads.every((pad) => pad === 0) ? data : editor.emit({ name: node.name, op: 'PadNd', inputs: [data], attributes: padAttributes(padding, 0) });
  const perGroup = (weights.dims[0] ?? 1) / geometry.group;
  const parts = Array.from({ length: geometry.group }, (_, group) => {
    const matrix = editor.addConstant(`${w}.matrix`, groupMatrix(weights, geometry, group));
    const all = zeros === undefined ? [0] : Array.from(toNumbers(zeros));
    const own = all.length === 1 ? all : all.slice(group * perGroup, (group + 1) * perGroup);
    const zero = editor.addConstant(`${node.name}.zero`, fromNumbers(weights.dtype, own.length === 1 ? [] : [own.length], own));
    return editor.emit({ name: node.name, op: 'MatMulS32', inputs: [unfolded(editor, node, padded, geometry, group), matrix, absent, zero] });
  });
  const sums = editor.concatenate(node.name, parts, 3);
  fromChannelsLast(editor, node, 'View', [sums], viewAttributes(editor.type(sums).shape));
};

/** The range with 0, a scale and a zero-point from it, and the data in them. */
const dynamicQuantize: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const [y, scaleOutput, zeroOutput] = [0, 1, 2].map((index) => optionalOutput(node, index));
  editor.remove(node);
  const range = editor.emit({ name: node.name, op: 'DataRange', inputs: [x], attributes: rangeAttributes(editor.type(x).shape) });
  const made = (op: string, output: string | undefined, inputs: readonly string[]): string => {
    if (output === undefined) return editor.emit({ name: node.name, op, inputs });
    editor.emitTo(output, { name: output, op, inputs });
    return output;
  };
  const [scale, zero] = [made('RangeScale', scaleOutput, [range]), made('RangeZero', zeroOutput, [range])];
  if (y !== undefined) made('QuantizeBy', y, [x, scale, zero]);
};

export const canonicalInteger: Readonly<Record<string, Canonical>> = {
  QLinearConv: qlinearConv, QLinearMatMul: qlinearMatMul, MatMulInteger: matMulInteger, ConvInteger: convInteger, DynamicQuantizeLinear: dynamicQuantize,
};
