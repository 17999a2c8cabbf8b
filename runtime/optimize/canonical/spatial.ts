import { int, ints, type AttributeRecord } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { inverse, nchwToNhwc, nhwcToNchw } from '../../graph/permutation.js';
import { viewAttributes } from '../../ops/core.js';
import { convGeometry, geometryAttributes } from '../../ops/convolution.js';
import { poolAttributes, poolOf } from '../../ops/pooling.js';
import { normExponent } from '../../ops/standardization.js';
import { resamplingOf } from '../../ops/resample.js';
import { resizeAttributes, resizeOf } from '../../ops/resize.js';
import { convolution } from '../../ops/views.js';
import type { Rewriter } from '../rewriter.js';
import type { Canonical } from './types.js';
import { Arithmetic } from './normalization.js';
import { relayWeights } from './weights.js';

/** [N, C, H, W] or [N, C, W] as [N, H, W, C]. */
export function toChannelsLast(editor: Rewriter, node: Node, value: string): string {
  const { shape } = editor.type(value);
  if (shape.length === 4) return editor.emit({ name: `${node.name}.nhwc`, op: 'Transpose', inputs: [value], attributes: { perm: ints(nchwToNhwc) } });
  const [n = 1, c = 1, w = 1] = shape;
  const last = editor.emit({ name: `${node.name}.nwc`, op: 'Transpose', inputs: [value], attributes: { perm: ints([0, 2, 1]) } });
  return editor.emit({ name: `${node.name}.nhwc`, op: 'View', inputs: [last], attributes: viewAttributes([n, 1, w, c]) });
}

/** Puts a channels-last operator in the place of `node`, transposed back. */
export function fromChannelsLast(editor: Rewriter, node: Node, op: string, inputs: readonly string[], attributes: AttributeRecord): void {
  const { shape } = editor.type(outputOf(node));
  editor.remove(node);
  const result = editor.emit({ name: node.name, op, inputs, attributes });
  if (shape.length === 4) {
    editor.emitTo(outputOf(node), { name: `${node.name}.nchw`, op: 'Transpose', inputs: [result], attributes: { perm: ints(nhwcToNchw) } });
    return;
  }
  const [n = 1, c = 1, w = 1] = shape;
  const flat = editor.emit({ name: `${node.name}.nwc`, op: 'View', inputs: [result], attributes: viewAttributes([n, w, c]) });
  editor.emitTo(outputOf(node), { name: `${node.name}.ncw`, op: 'Transpose', inputs: [flat], attributes: { perm: ints([0, 2, 1]) } });
}

export const conv: Canonical = (editor, node) => {
  const { x, weights: w, bias } = convolution(node);
  const weights = editor.type(w).shape;
  const geometry = convGeometry(node, editor.type(x).shape, weights);
  const [o = 1, i = 1, ...kernel] = weights;
  const [height, width] = kernel.length === 1 ? [1, kernel[0] ?? 1] : [kernel[0] ?? 1, kernel[1] ?? 1];
  const ohwi = relayWeights(editor, node, 1, { view: [o, i, height, width], perm: nchwToNhwc, shape: [o, height, width, i], outputAxis: 0 });
  const input = toChannelsLast(editor, node, x);
  fromChannelsLast(editor, node, 'NhwcConv', bias === undefined ? [input, ohwi] : [input, ohwi, bias], geometryAttributes(geometry));
};

const pool: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const attributes = poolAttributes(poolOf(node, editor.type(x).shape));
  fromChannelsLast(editor, node, 'NhwcPool', [toChannelsLast(editor, node, x)], attributes);
};

/** The mean over all of a window, padding included, times its size is the sum. What hangs over is padding here. */
const lpPool: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const p = normExponent(node, (exponent) => exponent >= 1);
  const spec = poolOf(node, editor.type(x).shape);
  const [top, left, bottom, right] = spec.pads;
  const attributes = poolAttributes({ ...spec, includePad: true, pads: [top, left, bottom + spec.hang[0], right + spec.hang[1]], hang: [0, 0] });
  const math = new Arithmetic(editor, node.name);
  const means = editor.emit({ name: node.name, op: 'NhwcPool', inputs: [toChannelsLast(editor, node, math.power(x, p))], attributes });
  const sums = math.binary('Mul', means, math.number(spec.kernel[0] * spec.kernel[1]));
  fromChannelsLast(editor, node, 'View', [math.root(sums, p)], viewAttributes(editor.type(sums).shape));
};

/** Axis by axis, by tables; channels last where the channels stay, so that what is summed up lies together. */
const resample: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const { shape } = editor.type(x);
  const { tables, outside } = resamplingOf(node, editor.opset, shape, (index) => editor.constant(node.inputs[index]));
  const math = new Arithmetic(editor, node.name);
  const last = shape.length > 2 && tables.every(({ axis }) => axis > 1);
  const perm = [0, ...shape.slice(2).map((_, i) => i + 2), 1];
  const data = last ? math.transpose(x, perm) : x;
  const shifted = outside === 0 ? data : math.binary('Sub', data, math.number(outside));
  const y = tables.reduce((value, { axis, size, taps, indices, weights }) => {
    const dims = [size, taps];
    const inputs = [value, editor.addConstant(`${node.name}.indices`, { dtype: 'int32', dims, data: indices }), editor.addConstant(`${node.name}.weights`, { dtype: 'float32', dims, data: weights })];
    return editor.emit({ name: node.name, op: 'ResampleAxis', inputs, attributes: { axis: int(last ? axis - 1 : axis) } });
  }, shifted);
  const filled = outside === 0 ? y : math.binary('Add', y, math.number(outside));
  if (last) editor.substitute(node, { op: 'Transpose', inputs: [filled], attributes: { perm: ints(inverse(perm)) } });
  else editor.substitute(node, { op: 'View', inputs: [filled], attributes: viewAttributes(editor.type(filled).shape) });
};

const resize: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const spec = resizeOf(node, editor.opset, editor.type(x).shape, (index) => editor.constant(node.inputs[index]));
  if (spec === undefined) return resample(editor, node);
  if (spec.channelsLast) editor.substitute(node, { op: 'NhwcResize', inputs: [x], attributes: resizeAttributes(spec) });
  else fromChannelsLast(editor, node, 'NhwcResize', [toChannelsLast(editor, node, x)], resizeAttributes(spec));
};

export const canonicalSpatial: Readonly<Record<string, Canonical>> = {
  Conv: conv, MaxPool: pool, AveragePool: pool, LpPool: lpPool, GlobalMaxPool: pool, GlobalAveragePool: pool, Resize: resize, Upsample: resize,
};
