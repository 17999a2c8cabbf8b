import { float, floatAttribute, floatsAttribute, int, intAttribute, intsAttribute, misshapen, notConstant, oneOf, string, stringAttribute, type Attribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { hasOperand } from '../graph/operands.js';
import { fromNumbers, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { throughWindow } from './cell-flow.js';
import { inputType, inputValue, normalizeAxis, outputType, type OperatorRecord, type OpTable } from './op.js';
import { clipped, needsOfFirst, wholeRegion, wholeSpan, type Needs, type Span } from './regions.js';

export const resizeModes = ['nearest', 'linear'] as const;
export const coordinateModes = ['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'] as const;
export const nearestModes = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'] as const;

/** A resize of the two spatial axes. */
export interface Resize {
  readonly mode: (typeof resizeModes)[number];
  readonly coordinates: (typeof coordinateModes)[number];
  readonly nearest: (typeof nearestModes)[number];
  /** Output size over input size, as the model states it. */
  readonly scales: readonly [number, number];
  readonly output: readonly [number, number];
  /** Whether the channels are the last axis already (spatial axes 1 and 2), else 2 and 3. */
  readonly channelsLast: boolean;
}

export type Values = (index: number) => TensorValue | undefined;

/** Scales and output size along every axis, from wherever this operator set keeps them. */
export function scalesAndSizes(node: Node, shape: Shape, values: Values): { scales: number[]; sizes: number[]; axes: number[] } {
  const old = node.op === 'Upsample' || node.inputs.length === 2;
  const list = (index: number) => {
    const value = values(index);
    if (value === undefined && hasOperand(node, index)) throw notConstant(node, index, 'scales');
    return value === undefined || value.data.length === 0 ? undefined : Array.from(value.data, Number);
  };
  const axes = (intsAttribute(node, 'axes') ?? shape.map((_, i) => i)).map((axis) => normalizeAxis(node, axis, shape.length));
  const spread = (given: readonly number[], neutral: readonly number[]) => {
    if (given.length !== axes.length) throw misshapen(node, `Expected ${axes.length} scales or sizes but received ${given.length}`);
    const all = [...neutral];
    axes.forEach((axis, i) => (all[axis] = given[i] ?? 1));
    return all;
  };
  const scales = floatsAttribute(node, 'scales') ?? list(old ? 1 : 2);
  if (scales !== undefined) {
    const all = spread(scales, shape.map(() => 1));
    return { scales: all, sizes: shape.map((dim, i) => Math.floor(Math.fround(dim * Math.fround(all[i] ?? 1)))), axes };
  }
  const sizes = list(3);
  if (sizes === undefined) throw misshapen(node, 'Expected scales or sizes but received none');
  const all = spread(sizes, shape);
  const policy = oneOf(node, 'keep_aspect_ratio_policy', ['stretch', 'not_larger', 'not_smaller'], 'stretch');
  const ratios = axes.map((axis) => (all[axis] ?? 1) / (shape[axis] ?? 1));
  if (policy === 'stretch') return { sizes: all, scales: all.map((size, i) => size / (shape[i] ?? 1)), axes };
  const ratio = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
  return {
    sizes: shape.map((dim, i) => (axes.includes(i) ? Math.floor(dim * ratio + 0.5) : dim)), scales: shape.map((_, i) => (axes.includes(i) ? ratio : 1)), axes,
  };
}

/**
 * The resize of an ONNX Resize or Upsample, when it is that of the two spatial axes of a rank-4 tensor, to the nearest or
 * linear; undefined for the other forms, which `resamplingOf` has tables for.
 */
export function resizeOf(node: Node, opset: number, shape: Shape, values: Values): Resize | undefined {
  const { scales, sizes } = scalesAndSizes(node, shape, values);
  const legacy = node.op === 'Upsample' || opset < 11;
  const mode = resizeModes.find((known) => known === stringAttribute(node, 'mode', 'nearest'));
  const special = !legacy && !coordinateModes.some((known) => known === stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel'));
  const weighted = intAttribute(node, 'antialias', 0) !== 0 || (intAttribute(node, 'exclude_outside', 0) !== 0 && mode !== 'nearest');
  const fixed = (axis: number) => sizes[axis] === shape[axis] && scales[axis] === 1;
  if (mode === undefined || special || weighted || shape.length !== 4 || !fixed(0) || !(fixed(1) || fixed(3))) return undefined;
  const channelsLast = !fixed(1);
  // With the corners aligned, ONNX divides by the length before it is rounded down (onnxruntime: by the one after), which tables are made for.
  const fractional = sizes.some((size, axis) => Math.abs((scales[axis] ?? 1) * (shape[axis] ?? 1) - size) > 1e-3);
  if (fractional && stringAttribute(node, 'coordinate_transformation_mode', '') === 'align_corners') return undefined;
  const [h, w] = channelsLast ? [1, 2] : [2, 3];
  return {
    mode,
    coordinates: legacy ? 'asymmetric' : oneOf(node, 'coordinate_transformation_mode', coordinateModes, 'half_pixel'),
    nearest: legacy ? 'floor' : oneOf(node, 'nearest_mode', nearestModes, 'round_prefer_floor'),
    scales: [scales[h ?? 2] ?? 1, scales[w ?? 3] ?? 1],
    output: [sizes[h ?? 2] ?? 1, sizes[w ?? 3] ?? 1],
    channelsLast,
  };
}

/** Attributes of NhwcResize and ResizeQ8. */
export function resizeAttributes(resize: Resize): Record<string, Attribute> {
  return {
    mode: string(resize.mode),
    coordinates: string(resize.coordinates),
    nearest: string(resize.nearest),
    scale_h: float(resize.scales[0]),
    scale_w: float(resize.scales[1]),
    height: int(resize.output[0]),
    width: int(resize.output[1]),
  };
}

/** The resize of NhwcResize or ResizeQ8. */
export function nhwcResize(node: Node): Resize {
  return {
    mode: oneOf(node, 'mode', resizeModes, 'nearest'),
    coordinates: oneOf(node, 'coordinates', coordinateModes, 'half_pixel'),
    nearest: oneOf(node, 'nearest', nearestModes, 'round_prefer_floor'),
    scales: [floatAttribute(node, 'scale_h', 1), floatAttribute(node, 'scale_w', 1)],
    output: [intAttribute(node, 'height', 1), intAttribute(node, 'width', 1)],
    channelsLast: true,
  };
}

/** In single precision after every operation, as other runtimes have it: what lies between two pixels is decided by the last bit. */
const f32 = Math.fround;

/** Position in the input that output index `o` looks at (ONNX, Resize, coordinate_transformation_mode). */
export function sourceCoordinate(o: number, resize: Resize, axis: 0 | 1, input: number): number {
  const scale = f32(resize.scales[axis]);
  const output = resize.output[axis];
  switch (resize.coordinates) {
    case 'asymmetric': return f32(o / scale);
    case 'align_corners': return output === 1 ? 0 : f32(f32(o * (input - 1)) / (output - 1));
    case 'pytorch_half_pixel': return output > 1 ? f32(f32(f32(o + 0.5) / scale) - 0.5) : 0;
    case 'half_pixel': return f32(f32(f32(o + 0.5) / scale) - 0.5);
  }
}

/** What a position may be short of a half by, and is rounded up all the same: single precision has made it so (onnxruntime). */
const almostHalf = 1e-6;

export function nearestIndex(x: number, resize: Resize, input: number): number {
  const rounded = {
    round_prefer_floor: () => Math.ceil(x - 0.5),
    round_prefer_ceil: () => Math.floor(x + almostHalf + 0.5),
    floor: () => Math.floor(x),
    ceil: () => Math.ceil(x),
  }[resize.nearest]();
  return Math.min(Math.max(rounded, 0), input - 1);
}

/** The two inputs that an output lies between, and the weight of the second; nearest has all weight on the first. */
function taps(resize: Resize, axis: 0 | 1, input: number): { low: number; high: number; weight: number }[] {
  return Array.from({ length: resize.output[axis] }, (_, o) => {
    const x = sourceCoordinate(o, resize, axis, input);
    if (resize.mode === 'nearest') {
      const at = nearestIndex(x, resize, input);
      return { low: at, high: at, weight: 0 };
    }
    const inside = Math.min(Math.max(x, 0), input - 1);
    const low = Math.floor(inside);
    return { low, high: Math.min(low + 1, input - 1), weight: inside - low };
  });
}

/** Interpolated values [N, OH, OW, C] of x [N, H, W, C]. */
export function interpolate(x: TensorValue, resize: Resize): Float64Array {
  const [batch = 1, height = 1, width = 1, channels = 1] = x.dims;
  const data = toNumbers(x);
  const rows = taps(resize, 0, height);
  const columns = taps(resize, 1, width);
  const out = new Float64Array(batch * rows.length * columns.length * channels);
  let at = 0;
  for (let n = 0; n < batch; n++) for (const row of rows) for (const column of columns) for (let c = 0; c < channels; c++) {
    const pixel = (y: number, x0: number) => data[((n * height + y) * width + x0) * channels + c] ?? 0;
    const top = pixel(row.low, column.low) * (1 - column.weight) + pixel(row.low, column.high) * column.weight;
    const bottom = pixel(row.high, column.low) * (1 - column.weight) + pixel(row.high, column.high) * column.weight;
    out[at++] = top * (1 - row.weight) + bottom * row.weight;
  }
  return out;
}

export function resized(x: TensorValue, resize: Resize): TensorValue {
  return fromNumbers(x.dtype, [x.dims[0] ?? 1, ...resize.output, x.dims[3] ?? 1], interpolate(x, resize));
}

/** The inputs that a span of outputs along one axis lies between; positions rise with the outputs. */
function resizeSpan(resize: Resize, axis: 0 | 1, size: number, { from, to }: Span): Span {
  const all = taps(resize, axis, size).slice(from, to);
  return clipped({ from: all[0]?.low ?? 0, to: (all.at(-1)?.high ?? -1) + 1 }, size);
}

/** Of NhwcResize and ResizeQ8. */
export const needsResized: Needs = needsOfFirst(({ node }, region, x) => {
  const [n, rows, columns, channels] = x.map((size, axis) => region[axis] ?? wholeSpan(size));
  const resize = nhwcResize(node);
  if (n === undefined || rows === undefined || columns === undefined || channels === undefined) return wholeRegion(x);
  return [n, resizeSpan(resize, 0, x[1] ?? 1, rows), resizeSpan(resize, 1, x[2] ?? 1, columns), channels];
});

const nhwc: OperatorRecord = {
  needs: needsResized, cells: throughWindow, pixels: 'any', format: 'float32',
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: [shape[0] ?? 1, ...nhwcResize(context.node).output, shape[3] ?? 1] }];
  },
  evaluate: (context) => [{ ...resized(inputValue(context, 0), nhwcResize(context.node)), dims: outputType(context).shape }],
};

export const resizeOps: OpTable = { NhwcResize: nhwc };
