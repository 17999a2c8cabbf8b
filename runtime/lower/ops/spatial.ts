import { requiredInt } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { isByte } from '../../graph/tensor-value.js';
import { nhwcPool } from '../../ops/pooling.js';
import { rangeOf } from '../../ops/quantization.js';
import { nhwcResize } from '../../ops/resize.js';
import * as views from '../../ops/views.js';
import type { Lowering, LoweringContext } from '../context.js';
import { coordinateCodes, nearestCodes, poolCodes, resizeCodes } from '../program-format.js';

function poolFields(context: LoweringContext, node: Node) {
  const pool = nhwcPool(node, context.shape(operand(node, 0)));
  return {
    kind: poolCodes[pool.kind],
    kernel_h: pool.kernel[0], kernel_w: pool.kernel[1],
    stride_h: pool.strides[0], stride_w: pool.strides[1],
    pad_top: pool.pads[0], pad_left: pool.pads[1], pad_bottom: pool.pads[2], pad_right: pool.pads[3],
    dilation_h: pool.dilations[0], dilation_w: pool.dilations[1],
    count_include_pad: pool.includePad ? 1 : 0,
  };
}

/** Bytes that no scale is known of have a maximum all the same. */
function poolBytes(context: LoweringContext, node: Node): void {
  const { x, output } = views.single(node);
  const [lowest, highest] = rangeOf(context.activation);
  const fields = { ...poolFields(context, node), x_zp: lowest, y_zp: lowest, y_lo: lowest, y_hi: highest, mul: 1 };
  context.emit(node, 'PoolQ8', [context.tensor(x)], context.tensor(output), fields);
}

const poolF32: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  if (isByte(context.dtype(x))) return poolBytes(context, node);
  const fields = { ...poolFields(context, node), x_zp: 0, y_zp: 0, y_lo: 0, y_hi: 0, mul: 1 };
  context.emit(node, 'PoolF32', [context.tensor(x)], context.tensor(output), fields);
};

const poolQ8: Lowering = (context, node) => {
  const { x, output, arithmetic: { xZp, yZp, yLo, yHi, mul } } = views.poolQ8(node);
  const at = (q: number) => context.stored8(output, q);
  context.emit(node, 'PoolQ8', [context.tensor(x)], context.tensor(output), {
    ...poolFields(context, node), x_zp: context.stored8(x, xZp), y_zp: at(yZp), y_lo: at(yLo), y_hi: at(yHi), mul,
  });
};

function resizeFields(node: Node) {
  const resize = nhwcResize(node);
  return {
    mode: resizeCodes[resize.mode], coordinates: coordinateCodes[resize.coordinates], nearest: nearestCodes[resize.nearest],
    scale_h: resize.scales[0], scale_w: resize.scales[1],
  };
}

const resizeF32: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  context.emit(node, 'ResizeF32', [context.tensor(x)], context.tensor(output), { ...resizeFields(node), zp: 0 });
};

const resizeQ8: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  const zp = context.stored8(x, requiredInt(node, 'zp'));
  context.emit(node, 'ResizeQ8', [context.tensor(x)], context.tensor(output), { ...resizeFields(node), zp });
};

const resample: Lowering = (context, node) => {
  const { x, indices, weights, output } = views.resampleAxis(node);
  context.emit(node, 'ResampleF32', [context.tensor(x), context.tensor(indices), context.tensor(weights)], context.tensor(output), { axis: requiredInt(node, 'axis') });
};

export const spatialLowerings: Readonly<Record<string, Lowering>> = { NhwcPool: poolF32, PoolQ8: poolQ8, NhwcResize: resizeF32, ResizeQ8: resizeQ8, ResampleAxis: resample };
