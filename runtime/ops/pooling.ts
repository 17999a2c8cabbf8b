import { int, intAttribute, ints, intsAttribute, misshapen, oneOf, requiredInts, string, unsupported, type Attribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { fromNumbers, isByte, mapNumbers, reshaped, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { throughWindow } from './cell-flow.js';
import { transposeValue } from './movement.js';
import { expectType, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { needsOfFirst, wholeSpan, windowRegion, type Needs } from './regions.js';
import { tapsInside, windowOf, type HangingWindow } from './spatial.js';
import { normExponent } from './standardization.js';

export interface Pool extends HangingWindow {
  readonly kind: 'max' | 'average';
  readonly includePad: boolean;
}

/** The pool of an ONNX MaxPool, AveragePool, GlobalMaxPool or GlobalAveragePool over x [N, C, spatial...]. */
export function poolOf(node: Node, x: Shape): Pool {
  const spatial = x.slice(2);
  const kind = node.op.endsWith('MaxPool') ? 'max' : 'average';
  const kernel = node.op.startsWith('Global') ? spatial : requiredInts(node, 'kernel_shape');
  if (node.outputs.length > 1 && node.outputs[1] !== '') throw unsupported(node, 'the indices of a pool are not available', 'storage_order');
  const window = windowOf(node, spatial, kernel);
  const { kernel: size, pads } = window;
  if (pads.some((pad, i) => pad >= (size[i % 2] ?? 1))) throw misshapen(node, `pads ${pads.join(', ')} are not smaller than the kernel ${size.join('x')}: a window would see nothing but padding`);
  return { ...window, kind, includePad: intAttribute(node, 'count_include_pad', 0) === 1 };
}

/** Attributes of NhwcPool and PoolQ8. */
export function poolAttributes(pool: Pool): Record<string, Attribute> {
  return {
    kind: string(pool.kind),
    kernel: ints(pool.kernel),
    strides: ints(pool.strides),
    pads: ints(pool.pads),
    hang: ints(pool.hang),
    dilations: ints(pool.dilations),
    count_include_pad: int(pool.includePad ? 1 : 0),
  };
}

/** The pool of NhwcPool or PoolQ8 over x [N, H, W, C]. */
export function nhwcPool(node: Node, x: Shape): Pool {
  const two = (name: string): [number, number] => {
    const [a = 1, b = 1] = requiredInts(node, name);
    return [a, b];
  };
  const [kernel, strides, dilations] = [two('kernel'), two('strides'), two('dilations')];
  const [top = 0, left = 0, bottom = 0, right = 0] = requiredInts(node, 'pads');
  const [below = 0, beside = 0] = intsAttribute(node, 'hang') ?? [];
  const size = (axis: 0 | 1, pads: number) =>
    Math.floor(((x[axis + 1] ?? 1) + pads - (kernel[axis] - 1) * dilations[axis] - 1) / strides[axis]) + 1;
  const kind = oneOf(node, 'kind', ['max', 'average'], 'max');
  const output: [number, number] = [size(0, top + bottom + below), size(1, left + right + beside)];
  if (output.some((n) => n < 1)) throw misshapen(node, 'the kernel does not fit the input');
  const includePad = intAttribute(node, 'count_include_pad', 0) === 1;
  return { kind, kernel, strides, dilations, pads: [top, left, bottom, right], hang: [below, beside], output, includePad };
}

/** Sum (average) or maximum of each window, and how many elements it divides by. x: [N, H, W, C], less `zeroPoint`. */
export function poolWindows(x: TensorValue, pool: Pool, zeroPoint = 0): { values: Float64Array; counts: Float64Array } {
  const [batch = 1, height = 1, width = 1, channels = 1] = x.dims;
  const data = toNumbers(x);
  const [outHeight, outWidth] = pool.output;
  const [bottom, right] = [height + pool.pads[2], width + pool.pads[3]];
  const values = new Float64Array(batch * outHeight * outWidth * channels);
  const counts = new Float64Array(values.length);
  let at = 0;
  for (let n = 0; n < batch; n++) for (let oy = 0; oy < outHeight; oy++) for (let ox = 0; ox < outWidth; ox++) for (let c = 0; c < channels; c++, at++) {
    let value = pool.kind === 'max' ? -Infinity : 0;
    let count = 0;
    const [top, left] = [oy * pool.strides[0] - pool.pads[0], ox * pool.strides[1] - pool.pads[1]];
    const [firstRow, lastRow] = tapsInside(top, height, pool.kernel[0], pool.dilations[0]);
    const [firstColumn, lastColumn] = tapsInside(left, width, pool.kernel[1], pool.dilations[1]);
    for (let ky = firstRow; ky < lastRow; ky++) for (let kx = firstColumn; kx < lastColumn; kx++) {
      const y = top + ky * pool.dilations[0];
      const column = left + kx * pool.dilations[1];
      const element = (data[((n * height + y) * width + column) * channels + c] ?? 0) - zeroPoint;
      value = pool.kind === 'max' ? Math.max(value, element) : value + element;
      count++;
    }
    values[at] = value;
    // Padding counts, what hangs beyond it does not.
    counts[at] = pool.includePad ? tapsInside(top, bottom, pool.kernel[0], pool.dilations[0])[1] * tapsInside(left, right, pool.kernel[1], pool.dilations[1])[1] : count;
  }
  return { values, counts };
}

function pooled(x: TensorValue, pool: Pool): TensorValue {
  const { values, counts } = poolWindows(x, pool);
  const result = pool.kind === 'max' ? values : values.map((sum, i) => sum / (counts[i] ?? 1));
  return fromNumbers(x.dtype, [x.dims[0] ?? 1, ...pool.output, x.dims[3] ?? 1], result);
}

const pool: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    const { output } = poolOf(context.node, shape);
    return [{ dtype, shape: [shape[0] ?? 1, shape[1] ?? 1, ...(shape.length === 3 ? [output[1]] : output)] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const [n = 1, c = 1] = x.dims;
    const flat = x.dims.length === 3 ? reshaped(x, [n, c, 1, x.dims[2] ?? 1]) : x;
    const nhwc = pooled(transposeValue(flat, [0, 2, 3, 1]), poolOf(context.node, x.dims));
    return [reshaped(transposeValue(nhwc, [0, 3, 1, 2]), outputType(context).shape)];
  },
};

/** Of NhwcPool and PoolQ8. */
export const needsPooled: Needs = needsOfFirst(({ node }, region, x) => windowRegion(nhwcPool(node, x), x, region, region[3] ?? wholeSpan(x[3] ?? 1)));

const nhwc: OperatorRecord = {
  needs: needsPooled, cells: throughWindow, pixels: 'any',
  format: (x) => (isByte(x) ? 'int8' : 'float32'), // bytes that no scale is known of have a maximum all the same
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: [shape[0] ?? 1, ...nhwcPool(context.node, shape).output, shape[3] ?? 1] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    return [pooled(x, nhwcPool(context.node, x.dims))];
  },
};

/** The p-norm of each window. */
const lpPool: OperatorRecord = {
  infer(context) {
    expectType(context, 0, ['float32']);
    normExponent(context.node, (p) => p >= 1);
    return pool.infer(context);
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const p = normExponent(context.node, (exponent) => exponent >= 1);
    const [n = 1, c = 1] = x.dims;
    const powers = fromNumbers('float32', x.dims.length === 3 ? [n, c, 1, x.dims[2] ?? 1] : x.dims, mapNumbers(toNumbers(x), (value) => Math.abs(value) ** p));
    const spec = poolOf(context.node, x.dims);
    const { values } = poolWindows(transposeValue(powers, [0, 2, 3, 1]), spec);
    const nhwc = fromNumbers('float32', [n, ...spec.output, c], values.map((sum) => sum ** (1 / p)));
    return [reshaped(transposeValue(nhwc, [0, 3, 1, 2]), outputType(context).shape)];
  },
};

export const poolingOps: OpTable = {
  LpPool: lpPool,
  MaxPool: pool, AveragePool: pool, GlobalMaxPool: pool, GlobalAveragePool: pool, NhwcPool: nhwc,
};
