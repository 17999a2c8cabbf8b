import type { Node } from '../../graph/graph.js';
import { elementCount, type Shape } from '../../graph/tensor-value.js';
import { fusedUnary, nhwcGeometry, type ConvGeometry } from '../../ops/convolution.js';
import * as views from '../../ops/views.js';
import type { Lowering, LoweringContext } from '../context.js';
import { unaryCodes } from '../program-format.js';

const geometryFields = ({ strides, pads, dilations, group }: ConvGeometry) => ({
  stride_h: strides[0], stride_w: strides[1],
  pad_top: pads[0], pad_left: pads[1], pad_bottom: pads[2], pad_right: pads[3],
  dilation_h: dilations[0], dilation_w: dilations[1], group,
});

/** Multiplications of a convolution: one for each output and each weight that reaches it. */
const convMacs = (output: Shape, weights: Shape): number => elementCount(output) * elementCount(weights.slice(1));

const geometryOf = (context: LoweringContext, node: Node, x: string, weights: string): ReturnType<typeof geometryFields> =>
  geometryFields(nhwcGeometry(node, context.shape(x), context.shape(weights)));

const optionalPixels = (context: LoweringContext, value: string | undefined): number | undefined => (value === undefined ? undefined : context.pixels(value));

const convF32: Lowering = (context, node) => {
  const { x, weights, bias, slope, residual, output, residualFirst } = views.nhwcConv(node);
  const unary = fusedUnary(node);
  context.emit(
    { node, macs: convMacs(context.shape(output), context.shape(weights)) }, 'ConvF32',
    [context.pixels(x), context.tensor(weights), context.optional(bias), context.optional(slope), optionalPixels(context, residual)],
    context.pixels(output),
    { ...geometryOf(context, node, x, weights), unary: unaryCodes[unary.kind], alpha: unary.alpha, beta: unary.beta, residual_first: residualFirst ? 1 : 0 },
  );
};

const convQ8: Lowering = (context, node) => {
  const { x, weights, bias, scale, scaleNeg, table, residual, output, epilogue: e } = views.convQ8(node);
  const at = (q: number) => context.stored8(output, q);
  context.emit(
    { node, macs: convMacs(context.shape(output), context.shape(weights)) }, 'ConvQ8',
    [
      context.pixels(x), context.weights8(weights), context.optional(bias), context.optional(scale), context.optional(scaleNeg), context.optional(table),
      optionalPixels(context, residual),
    ],
    context.pixels(output),
    {
      ...geometryOf(context, node, x, weights),
      x_zp: context.stored8(x, e.xZp),
      mid_zp: at(e.midZp), mid_lo: at(e.midLo), mid_hi: at(e.midHi),
      res_zp: residual === undefined ? 0 : context.stored8(residual, e.resZp),
      y_zp: at(e.yZp), y_lo: at(e.yLo), y_hi: at(e.yHi),
      mid_mul: e.midMul, res_mul: e.resMul,
    },
  );
};

const convQ8F32: Lowering = (context, node) => {
  const { x, weights, scale, bias, output, xZp } = views.convQ8F32(node);
  context.emit(
    { node, macs: convMacs(context.shape(output), context.shape(weights)) }, 'ConvQ8F32',
    [context.pixels(x), context.weights8(weights), context.tensor(scale), context.optional(bias)],
    context.pixels(output),
    { ...geometryOf(context, node, x, weights), x_zp: context.stored8(x, xZp) },
  );
};

export const convolutionLowerings: Readonly<Record<string, Lowering>> = { NhwcConv: convF32, ConvQ8: convQ8, ConvQ8F32: convQ8F32 };
