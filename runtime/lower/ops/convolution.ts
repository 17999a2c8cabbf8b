import { floatAttribute, intAttribute, requiredInt } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { elementCount, type Shape } from '../../graph/tensor-value.js';
import { convOperands, fusedUnary, nhwcGeometry, type ConvGeometry } from '../../ops/convolution.js';
import { convQ8Operands } from '../../ops/quantized.js';
import type { Lowering, LoweringContext } from '../context.js';
import { unaryCodes } from '../program-format.js';

const geometryFields = ({ strides, pads, dilations, group }: ConvGeometry) => ({
  stride_h: strides[0], stride_w: strides[1],
  pad_top: pads[0], pad_left: pads[1], pad_bottom: pads[2], pad_right: pads[3],
  dilation_h: dilations[0], dilation_w: dilations[1], group,
});

/** Multiplications of a convolution: one for each output and each weight that reaches it. */
const convMacs = (output: Shape, weights: Shape): number => elementCount(output) * elementCount(weights.slice(1));

const geometryOf = (context: LoweringContext, node: Node): ConvGeometry =>
  nhwcGeometry(node, context.shape(node.inputs[0] ?? ''), context.shape(node.inputs[1] ?? ''));

const convF32: Lowering = (context, node) => {
  const operand = (index: number) => node.inputs[index] ?? '';
  const output = node.outputs[0] ?? '';
  const unary = fusedUnary(node);
  const residual = operand(convOperands.residual);
  context.emit(
    node, 'ConvF32',
    [
      context.pixels(operand(convOperands.x)), context.tensor(operand(convOperands.weights)), context.optional(operand(convOperands.bias)),
      context.optional(operand(convOperands.slope)), residual === '' ? undefined : context.pixels(residual),
    ],
    context.pixels(output),
    {
      ...geometryFields(geometryOf(context, node)),
      unary: unaryCodes[unary.kind], alpha: unary.alpha, beta: unary.beta, residual_first: intAttribute(node, 'residual_first', 0),
    },
    convMacs(context.shape(output), context.shape(operand(convOperands.weights))),
  );
};

const convQ8: Lowering = (context, node) => {
  const operand = (index: number) => node.inputs[index] ?? '';
  const [x, weights, output] = [operand(convQ8Operands.x), operand(convQ8Operands.weights), node.outputs[0] ?? ''];
  const residual = operand(convQ8Operands.residual);
  const w = context.constant(weights);
  const at = (value: string, name: string) => context.stored8(value, requiredInt(node, name));
  context.emit(
    node, 'ConvQ8',
    [
      context.pixels(x), w === undefined ? undefined : context.raw('int8', w.dims, w.data), context.optional(operand(convQ8Operands.bias)),
      context.optional(operand(convQ8Operands.scale)), context.optional(operand(convQ8Operands.scaleNeg)), context.optional(operand(convQ8Operands.table)),
      residual === '' ? undefined : context.pixels(residual),
    ],
    context.pixels(output),
    {
      ...geometryFields(geometryOf(context, node)),
      x_zp: at(x, 'x_zp'),
      mid_zp: at(output, 'mid_zp'), mid_lo: at(output, 'mid_lo'), mid_hi: at(output, 'mid_hi'),
      res_zp: residual === '' ? 0 : at(residual, 'res_zp'),
      y_zp: at(output, 'y_zp'), y_lo: at(output, 'y_lo'), y_hi: at(output, 'y_hi'),
      mid_mul: floatAttribute(node, 'mid_mul', 1), res_mul: floatAttribute(node, 'res_mul', 1),
    },
    convMacs(context.shape(output), context.shape(weights)),
  );
};

const convQ8F32: Lowering = (context, node) => {
  const [x = '', weights = '', scale = '', bias = ''] = node.inputs;
  const output = node.outputs[0] ?? '';
  const w = context.constant(weights);
  context.emit(
    node, 'ConvQ8F32',
    [context.pixels(x), w === undefined ? undefined : context.raw('int8', w.dims, w.data), context.tensor(scale), context.optional(bias)],
    context.pixels(output),
    { ...geometryFields(geometryOf(context, node)), x_zp: context.stored8(x, requiredInt(node, 'x_zp')) },
    convMacs(context.shape(output), context.shape(weights)),
  );
};

export const convolutionLowerings: Readonly<Record<string, Lowering>> = { NhwcConv: convF32, ConvQ8: convQ8, ConvQ8F32: convQ8F32 };
