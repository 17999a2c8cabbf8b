import { floatAttribute, intAttribute, requiredInt } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { outputOf } from '../../graph/operands.js';
import type { Shape } from '../../graph/tensor-value.js';
import { corePadding, coreSlice } from '../../ops/core.js';
import { coreInterleave } from '../../ops/transposed-convolution.js';
import * as views from '../../ops/views.js';
import type { Lowering, LoweringContext } from '../context.js';
import { padCodes } from '../program-format.js';

const zeros = (shape: Shape): number[] => shape.map(() => 0);
const ones = (shape: Shape): number[] => shape.map(() => 1);

/** Copies all of `value` to the tensor `y` at `start`. */
function copyInto(context: LoweringContext, node: Node, value: string, y: number, start?: readonly number[]): void {
  const shape = context.shape(value);
  const attributes = { extent: shape, x_start: zeros(shape), x_step: ones(shape), y_start: start ?? zeros(shape), y_step: ones(shape) };
  context.emit({ node, filled: start === undefined ? value : '' }, 'Copy', [context.tensor(value)], y, attributes);
}

/** A view that storage could not alias: the elements are copied without gaps, seen under the input's shape. */
const view: Lowering = (context, node) => {
  const { x, output: y } = views.single(node);
  const shape = context.shape(x);
  copyInto(context, node, x, context.shape(y).at(-1) === shape.at(-1) ? context.tensor(y, shape) : context.dense(y, shape));
};

const transpose: Lowering = (context, node) => {
  const { x, output, perm } = views.transpose(node);
  context.emit(node, 'Transpose', [context.tensor(x)], context.tensor(output), { perm });
};

const slice: Lowering = (context, node) => {
  const { x, output } = views.single(node);
  const { starts, steps, extent } = coreSlice(node);
  const attributes = { extent, x_start: starts, x_step: steps, y_start: zeros(extent), y_step: ones(extent) };
  context.emit(node, 'Copy', [context.tensor(x)], context.tensor(output), attributes);
};

/** The parts that are not written in place already. */
const concat: Lowering = (context, node) => {
  const y = outputOf(node);
  const axis = intAttribute(node, 'axis', 0);
  const inPlace = context.plan.inPlaceInputs.get(node);
  let start = 0;
  node.inputs.forEach((part, i) => {
    const shape = context.shape(part);
    if (inPlace?.has(i) !== true) {
      // Into a tensor of the part alone where there can be one: other parts, in place already, may be what is copied.
      const target = context.part(y, axis, start, shape);
      if (target !== undefined) copyInto(context, node, part, target);
      else copyInto(context, node, part, context.tensor(y), shape.map((_, a) => (a === axis ? start : 0)));
    }
    start += shape[axis] ?? 0;
  });
};

/** A step of 0 reads the same element again. */
const broadcastTo: Lowering = (context, node) => {
  const { x, output: y } = views.single(node);
  const [from, to] = [context.shape(x), context.shape(y)];
  const attributes = { extent: to, x_start: zeros(to), x_step: to.map((_, i) => (from[i] === 1 ? 0 : 1)), y_start: zeros(to), y_step: ones(to) };
  context.emit(node, 'Copy', [context.tensor(x)], context.tensor(y), attributes);
};

const pad: Lowering = (context, node) => {
  const { x, output: y } = views.single(node);
  const { mode, before } = corePadding(node);
  const value = context.stored8(x, floatAttribute(node, 'fill', 0));
  context.emit(node, 'Pad', [context.tensor(x)], context.tensor(y), { mode: padCodes[mode], before, value });
};

const gather: Lowering = (context, node) => {
  const { x, indices, output } = views.gather(node);
  context.emit(node, 'Gather', [context.tensor(x), context.tensor(indices)], context.tensor(output), { axis: requiredInt(node, 'axis') });
};

/** Each phase is a group of channels that goes to every stride-th pixel of every stride-th row. */
const interleave: Lowering = (context, node) => {
  const { x, output: y } = views.single(node);
  const { strides, skips } = coreInterleave(node);
  const [batch = 1, height = 1, width = 1, channels = 1] = context.shape(y);
  const along = (axis: 0 | 1, phase: number, size: number) => {
    const from = Math.max(0, Math.ceil((skips[axis] - phase) / strides[axis]));
    const to = from * strides[axis] + phase - skips[axis];
    return { from, to, count: Math.floor((size - 1 - to) / strides[axis]) + 1 };
  };
  for (let phase = 0; phase < strides[0] * strides[1]; phase++) {
    const rows = along(0, Math.floor(phase / strides[1]), height);
    const columns = along(1, phase % strides[1], width);
    if (rows.count < 1 || columns.count < 1) continue;
    context.emit({ node, filled: '' }, 'Copy', [context.tensor(x)], context.tensor(y), {
      extent: [batch, rows.count, columns.count, channels],
      x_start: [0, rows.from, columns.from, phase * channels], x_step: [1, 1, 1, 1],
      y_start: [0, rows.to, columns.to, 0], y_step: [1, strides[0], strides[1], 1],
    });
  }
};

export const movementLowerings: Readonly<Record<string, Lowering>> = {
  View: view, Transpose: transpose, StridedSlice: slice, Concat: concat, BroadcastTo: broadcastTo, PadNd: pad, Gather: gather, Interleave: interleave,
};
