import { floatAttribute, intAttribute, misshapen, notConstant, oneOf, requiredInt, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { hasOperand } from '../graph/operands.js';
import { elementCount, fromNumbers, type Shape, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { throughWindow } from './cell-flow.js';
import { transposeValue } from './movement.js';
import { expectType, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { needsAlong } from './regions.js';
import { coordinateModes, nearestIndex, nearestModes, resized, resizeModes, resizeOf, scalesAndSizes, sourceCoordinate, type Resize, type Values } from './resize.js';

/** How one axis is resized: every output index is a weighted sum of `taps` input indices. */
export interface AxisTable {
  readonly axis: number;
  readonly size: number;
  readonly taps: number;
  /** [size, taps] */
  readonly indices: Int32Array;
  readonly weights: Float32Array;
}

export interface Resampling {
  /** Of the axes that change. */
  readonly tables: readonly AxisTable[];
  /** What pixels outside the image are (tf_crop_and_resize); their weights are 0. */
  readonly outside: number;
}

/** The piecewise cubic of Keys ("Cubic convolution interpolation", 1981) with parameter a. */
function keys(x: number, a: number): number {
  const d = Math.abs(x);
  if (d <= 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
  return d < 2 ? a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a : 0;
}

interface Sampling {
  readonly node: Node;
  readonly resize: Resize;
  /** Reach of the filter to each side, at full resolution: 1 linear, 2 cubic. */
  readonly reach: number;
  readonly filter: (distance: number) => number;
  readonly antialias: boolean;
  readonly excludeOutside: boolean;
}

/** The taps around position x (ONNX reference, interpolate_1d_with_x): the pixel to the left is nearer when x is on one. */
function tapsAround(x: number, scale: number, input: number, { reach, filter, antialias, excludeOutside }: Sampling): { index: number; weight: number }[] {
  const stretch = antialias ? Math.min(scale, 1) : 1;
  const base = Math.ceil(x) - 1;
  const first = Math.floor(-reach / stretch) + 1;
  const taps = Array.from({ length: 2 - 2 * first }, (_, i) => {
    const index = base + first + i;
    const outside = index < 0 || index >= input;
    return { index: Math.min(Math.max(index, 0), input - 1), weight: excludeOutside && outside ? 0 : filter((index - x) * stretch) };
  });
  const sum = taps.reduce((total, { weight }) => total + weight, 0);
  return taps.map(({ index, weight }) => ({ index, weight: sum === 0 ? 0 : weight / sum }));
}

const f32 = Math.fround;

/** Position in the input for the coordinate modes that `Resize` of two axes does not have. */
function position(sampling: Sampling, mode: string, o: number, [scale, input, output]: readonly [number, number, number], roi: readonly [number, number]): number {
  switch (mode) {
    case 'half_pixel_symmetric': {
      const whole = f32(output / f32(f32(scale) * input));
      return f32(f32(f32((input / 2) * f32(1 - whole)) + f32(f32(o + 0.5) / f32(scale))) - 0.5);
    }
    case 'align_corners': {
      // The length that the scale asks for, which need not be whole.
      const length = f32(f32(scale) * input);
      return Math.abs(length - output) < 1e-3 ? sourceCoordinate(o, sampling.resize, 0, input) : f32(f32(o * (input - 1)) / f32(length - 1));
    }
    case 'tf_half_pixel_for_nn': return f32(f32(o + 0.5) / f32(scale));
    case 'tf_crop_and_resize':
      return output > 1 ? roi[0] * (input - 1) + (o * (roi[1] - roi[0]) * (input - 1)) / (output - 1) : 0.5 * (roi[0] + roi[1]) * (input - 1);
    default: return sourceCoordinate(o, sampling.resize, 0, input);
  }
}

const allCoordinateModes = [...coordinateModes, 'half_pixel_symmetric', 'tf_half_pixel_for_nn', 'tf_crop_and_resize'] as const;

/** Entries of a table: 64 MiB. */
const maximumEntries = 2 ** 24;

function checkEntries({ node, reach, antialias, resize: { output: [size], scales: [scale] } }: Sampling): void {
  const taps = antialias ? 2 * Math.ceil(reach / Math.min(scale, 1)) : 2 * reach;
  if (!(size * taps <= maximumEntries)) throw unsupported(node, `a table of ${taps} elements for each of ${size}`, 'scales');
}

function axisTable(sampling: Sampling, mode: string, axis: number, input: number, roi: readonly [number, number]): AxisTable {
  checkEntries(sampling);
  const { resize } = sampling;
  const [size, scale] = [resize.output[0], resize.scales[0]];
  const rows = Array.from({ length: size }, (_, o) => {
    const x = position(sampling, mode, o, [scale, input, size], roi);
    if (mode === 'tf_crop_and_resize' && (x < 0 || x > input - 1)) return [{ index: 0, weight: 0 }];
    if (resize.mode === 'nearest') return [{ index: nearestIndex(x, resize, input), weight: 1 }];
    return tapsAround(x, scale, input, sampling);
  });
  const taps = Math.max(...rows.map((row) => row.length));
  const at = (o: number, t: number) => rows[o]?.[t] ?? { index: 0, weight: 0 };
  return {
    axis, size, taps,
    indices: Int32Array.from({ length: size * taps }, (_, i) => at(Math.floor(i / taps), i % taps).index),
    weights: Float32Array.from({ length: size * taps }, (_, i) => at(Math.floor(i / taps), i % taps).weight),
  };
}

/** The tables of an ONNX Resize or Upsample in any of its forms. */
export function resamplingOf(node: Node, opset: number, shape: Shape, values: Values): Resampling {
  const { scales, sizes, axes } = scalesAndSizes(node, shape, values);
  const legacy = node.op === 'Upsample' || opset < 11;
  const mode = oneOf(node, 'mode', [...resizeModes, 'cubic'], 'nearest');
  const coordinates = legacy ? 'asymmetric' : oneOf(node, 'coordinate_transformation_mode', allCoordinateModes, 'half_pixel');
  const a = floatAttribute(node, 'cubic_coeff_a', -0.75);
  const roi = coordinates === 'tf_crop_and_resize' ? Array.from(values(1)?.data ?? [], Number) : [];
  if (coordinates === 'tf_crop_and_resize' && roi.length === 0 && hasOperand(node, 1)) throw notConstant(node, 1, 'roi');
  if (coordinates === 'tf_crop_and_resize' && roi.length !== 2 * axes.length) throw misshapen(node, `Expected ${2 * axes.length} numbers as roi but received ${roi.length}`);
  const changed = axes.map((axis, i) => ({ axis, roi: [roi[i] ?? 0, roi[i + axes.length] ?? 1] as const }))
    .filter(({ axis, roi: [start, end] }) => sizes[axis] !== shape[axis] || scales[axis] !== 1 || start !== 0 || end !== 1);
  const tables = changed.map(({ axis, roi: part }) => {
    const [scale, size] = [scales[axis] ?? 1, sizes[axis] ?? 1];
    const resize: Resize = {
      mode: mode === 'nearest' ? 'nearest' : 'linear', coordinates: coordinateModes.find((known) => known === coordinates) ?? 'half_pixel',
      nearest: legacy ? 'floor' : oneOf(node, 'nearest_mode', nearestModes, 'round_prefer_floor'),
      scales: [scale, scale], output: [size, size], channelsLast: true,
    };
    const sampling: Sampling = {
      node, resize, reach: mode === 'cubic' ? 2 : 1, filter: mode === 'cubic' ? (d) => keys(d, a) : (d) => Math.max(0, 1 - Math.abs(d)),
      antialias: intAttribute(node, 'antialias', 0) !== 0, excludeOutside: intAttribute(node, 'exclude_outside', 0) !== 0,
    };
    return axisTable(sampling, coordinates, axis, shape[axis] ?? 1, part);
  });
  return { tables, outside: floatAttribute(node, 'extrapolation_value', 0) };
}

/** One axis of x by its table; in double precision. */
export function resampleAxis(x: TensorValue, { axis, size, taps, indices, weights }: AxisTable): TensorValue {
  const inner = elementCount(x.dims.slice(axis + 1));
  const length = x.dims[axis] ?? 1;
  const dims = x.dims.map((dim, i) => (i === axis ? size : dim));
  const data = toNumbers(x);
  const out = new Float64Array(elementCount(dims));
  for (let i = 0; i < out.length; i++) {
    const [c, o, outer] = [i % inner, Math.floor(i / inner) % size, Math.floor(i / (inner * size))];
    for (let t = 0; t < taps; t++) out[i] = (out[i] ?? 0) + (weights[o * taps + t] ?? 0) * (data[(outer * length + (indices[o * taps + t] ?? 0)) * inner + c] ?? 0);
  }
  return fromNumbers(x.dtype, dims, out);
}

/** x resized by all tables, what lies outside filled in. */
export function resampled(x: TensorValue, { tables, outside }: Resampling): TensorValue {
  const shifted = outside === 0 ? x : fromNumbers(x.dtype, x.dims, Array.from(toNumbers(x), (value) => value - outside));
  const y = tables.reduce(resampleAxis, shifted);
  return outside === 0 ? y : fromNumbers(y.dtype, y.dims, Array.from(toNumbers(y), (value) => value + outside));
}

const resize: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    const values: Values = (i) => context.constants[i];
    const plain = resizeOf(context.node, context.opset, shape, values);
    if (plain === undefined) {
      const sizes = new Map(resamplingOf(context.node, context.opset, shape, values).tables.map(({ axis, size }) => [axis, size]));
      return [{ dtype: expectType(context, 0, ['float32']).dtype, shape: shape.map((dim, axis) => sizes.get(axis) ?? dim) }];
    }
    const { output, channelsLast } = plain;
    const [n = 1] = shape;
    return [{ dtype, shape: channelsLast ? [n, ...output, shape[3] ?? 1] : [n, shape[1] ?? 1, ...output] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const spec = resizeOf(context.node, context.opset, x.dims, (i) => context.inputs[i]);
    if (spec === undefined) return [resampled(x, resamplingOf(context.node, context.opset, x.dims, (i) => context.inputs[i]))];
    if (spec.channelsLast) return [resized(x, spec)];
    return [transposeValue(resized(transposeValue(x, [0, 2, 3, 1]), spec), [0, 3, 1, 2])];
  },
};

/** The core operator, ResampleF32 of program.h: x, indices int32 [size, taps], weights float32 [size, taps]. */
const resample: OperatorRecord = {
  needs: needsAlong((node) => [requiredInt(node, 'axis')]), cells: throughWindow, pixels: 'any', format: 'float32',
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    const axis = requiredInt(context.node, 'axis');
    const size = inputType(context, 1).shape[0] ?? 1;
    return [{ dtype, shape: shape.map((dim, i) => (i === axis ? size : dim)) }];
  },
  evaluate(context) {
    const [indices, weights] = [inputValue(context, 1), inputValue(context, 2)];
    const [size = 1, taps = 1] = indices.dims;
    const table = { axis: requiredInt(context.node, 'axis'), size, taps, indices: Int32Array.from(toNumbers(indices)), weights: Float32Array.from(toNumbers(weights)) };
    return [{ ...resampleAxis(inputValue(context, 0), table), dims: outputType(context).shape }];
  },
};

export const resampleOps: OpTable = { Resize: resize, Upsample: resize };
export const resampleCoreOps: OpTable = { ResampleAxis: resample };
