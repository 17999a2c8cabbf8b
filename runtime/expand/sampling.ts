import { floatAttribute, hasAttribute, intAttribute, misshapen, oneOf, unsupported } from '../graph/attributes.js';
import { elementCount, type Shape } from '../graph/tensor-value.js';
import { type Expansion, input, Notation } from './builder.js';

// Maps that are read at computed places: every neighbour of a place is gathered, and these are weighted and added up.

/** Samples along one axis of a region: far more than any network takes. */
const maximumSamples = 4096;

/** One neighbour of a place along one axis: where it is, as floats that are whole, and its weight; no weight is 1. */
export interface Tap {
  readonly at: string;
  readonly weight: string | undefined;
}

/** Reflects what is outside [low, high] at these bounds, as often as it takes. */
function reflected(m: Notation, x: string, low: number, high: number): string {
  const range = high - low;
  if (range <= 0) return m.scale(x, 0);
  const from = m.sub(x, m.number(low));
  const turns = m.op('Floor', m.scale(from, 1 / (2 * range)));
  const along = m.sub(from, m.scale(turns, 2 * range));
  const folded = m.add(m.op('Min', along, m.sub(m.number(2 * range), along)), m.number(low));
  const outside = m.op('Or', m.op('Less', x, m.number(low)), m.op('Greater', x, m.number(high)));
  return m.where(outside, folded, x);
}

type PaddingMode = 'zeros' | 'border' | 'reflection';

export interface SampledAxis {
  readonly size: number;
  readonly padding: PaddingMode;
  /** The bounds at which places are reflected. */
  readonly low: number;
  readonly high: number;
}

/** A whole place as an index of the axis, and a factor of 0 where it lies outside and counts as zero. */
function indexOf(m: Notation, at: string, { size, padding, low, high }: SampledAxis): { index: string; inside: string | undefined } {
  const placed = padding === 'reflection' ? reflected(m, at, low, high) : at;
  const index = m.clip(placed, 0, size - 1);
  return { index, inside: padding === 'zeros' ? m.cast(m.op('Equal', index, at), 'float32') : undefined };
}

/** Weights of the four neighbours of a place for cubic interpolation, `t` after the second one. */
function cubicWeights(m: Notation, t: string): string[] {
  const a = -0.75;
  const polynomial = (x: string, [c3, c2, c1, c0]: readonly [number, number, number, number]): string =>
    [c2, c1, c0].reduce((sum, c) => { const next = m.mul(sum, x); return c === 0 ? next : m.add(next, m.number(c)); }, m.number(c3));
  const near = [a + 2, -(a + 3), 0, 1] as const;
  const far = [a, -5 * a, 8 * a, -4 * a] as const;
  const [one, two] = [m.number(1), m.number(2)];
  return [polynomial(m.add(t, one), far), polynomial(t, near), polynomial(m.sub(one, t), near), polynomial(m.sub(two, t), far)];
}

export function tapsOf(m: Notation, place: string, mode: string): Tap[] {
  if (mode === 'nearest') return [{ at: place, weight: undefined }];
  const below = m.op('Floor', place);
  const t = m.sub(place, below);
  if (mode === 'linear') return [{ at: below, weight: m.sub(m.number(1), t) }, { at: m.add(below, m.number(1)), weight: t }];
  return cubicWeights(m, t).map((weight, i) => ({ at: m.add(below, m.number(i - 1)), weight }));
}

const times = (m: Notation, a: string | undefined, c: string | undefined): string | undefined => (a === undefined ? c : c === undefined ? a : m.mul(a, c));

export interface Neighbour {
  /** Rows of the map as [pixels, channels], and the factor of each; undefined is 1. */
  readonly row: string;
  readonly weight: string | undefined;
}

/** Every combination of the taps of all axes, the first axis being the slowest. `start`: the row of the first pixel of each place's picture. */
export function neighbours(m: Notation, start: string, taps: readonly (readonly Tap[])[], axes: readonly SampledAxis[]): Neighbour[] {
  let found: Neighbour[] = [{ row: '', weight: undefined }];
  axes.forEach((axis, i) => {
    const each = (taps[i] ?? []).map(({ at, weight }) => {
      const { index, inside } = indexOf(m, at, axis);
      return { index: m.cast(index, 'int64'), weight: times(m, weight, inside) };
    });
    found = found.flatMap(({ row, weight }) => each.map((tap) => ({
      row: row === '' ? tap.index : m.add(m.mul(row, m.number(axis.size, 'int64')), tap.index), weight: times(m, weight, tap.weight),
    })));
  });
  return found.map(({ row, weight }) => ({ row: m.add(row, start), weight }));
}

/** [N, C, spatial ..] as [N * spatial, C]. */
export function pixelRows(m: Notation, x: string, shape: Shape): string {
  const [, channels = 1, ...spatial] = shape;
  const last = m.transpose(x, [0, ...spatial.map((_, i) => i + 2), 1]);
  return m.reshape(last, [elementCount(shape) / Math.max(1, channels), channels]);
}

export function weighted(m: Notation, rows: string, { row, weight }: Neighbour): string {
  const value = m.gather(rows, row, 0);
  return weight === undefined ? value : m.mul(value, m.reshape(weight, [...m.shape(weight), 1]));
}

const gridSample: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, grid] = [input(node), input(node, 1)];
  const [shape, places] = [m.shape(x), m.shape(grid)];
  const [n = 1, , ...spatial] = shape;
  const rank = spatial.length;
  if (rank < 2 || places.length !== rank + 2 || places[0] !== n || places.at(-1) !== rank) throw misshapen(node, `a grid of [${places.join(', ')}] does not fit [${shape.join(', ')}]`);
  const mode = oneOf(node, 'mode', ['linear', 'bilinear', 'nearest', 'cubic', 'bicubic'], 'linear').replace(/^bi/, ''); // "cubic" has these letters inside
  if (mode === 'cubic' && rank !== 2) throw unsupported(node, `cubic interpolation of ${rank} axes; use linear`, 'mode');
  const padding = oneOf(node, 'padding_mode', ['zeros', 'border', 'reflection'], 'zeros');
  const corners = intAttribute(node, 'align_corners', 0) !== 0;
  const axes = spatial.map((size): SampledAxis => ({ size, padding, low: corners ? 0 : -0.5, high: corners ? size - 1 : size - 0.5 }));
  const out = places.slice(0, -1);
  const taps = axes.map((axis, i) => {
    // The last axis of the grid has the column first.
    const given = m.reshape(m.slice(grid, rank + 1, rank - 1 - i, rank - i), out);
    const scaled = corners ? m.scale(m.add(given, m.number(1)), (axis.size - 1) / 2) : m.scale(m.sub(m.scale(m.add(given, m.number(1)), axis.size), m.number(1)), 0.5);
    const place = mode === 'nearest' ? m.op('Round', scaled) : scaled;
    // Cubic interpolation beyond a border goes on from where the place is; onnxruntime and PyTorch move the neighbours only.
    if (padding === 'zeros' || (padding === 'border' && mode === 'cubic')) return tapsOf(m, place, mode);
    return tapsOf(m, padding === 'border' ? m.clip(place, 0, axis.size - 1) : reflected(m, place, axis.low, axis.high), mode);
  });
  const start = m.tensor('int64', [n, ...spatial.map(() => 1)], Array.from({ length: n }, (_, i) => i * elementCount(spatial)));
  const rows = pixelRows(m, x, shape);
  const parts = neighbours(m, start, taps, axes).map((each) => weighted(m, rows, each));
  return [m.transpose(parts.reduce(m.add), [0, rank + 1, ...spatial.map((_, i) => i + 1)])];
};

/** Places along one axis that a region samples, [regions, output * ratio], and 0 where they lie outside the map. */
function regionPlaces(m: Notation, [low, high]: readonly [string, string], size: number, { output, ratio, half }: { output: number; ratio: number; half: boolean }): { place: string; inside: string } {
  const length = half ? m.sub(high, low) : m.op('Max', m.sub(high, low), m.number(1));
  const steps = m.tensor('float32', [1, output * ratio], Array.from({ length: output * ratio }, (_, i) => (i + 0.5) / ratio));
  const place = m.add(low, m.mul(steps, m.scale(length, 1 / output)));
  const outside = m.op('Or', m.op('Less', place, m.number(-1)), m.op('Greater', place, m.number(size)));
  return { place: m.clip(place, 0, size - 1), inside: m.where(outside, m.number(0), m.number(1)) };
}

/** Regions of maps, each sampled at a fixed number of places. */
const roiAlign: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, rois, batch] = [input(node), input(node, 1), input(node, 2)];
  const [shape, regions] = [m.shape(x), m.shape(rois)[0] ?? 0];
  const [, channels = 1, height = 1, width = 1] = shape;
  if (shape.length !== 4 || m.shape(rois)[1] !== 4) throw misshapen(node, `regions of [${m.shape(rois).join(', ')}] do not fit [${shape.join(', ')}]`);
  const ratio = intAttribute(node, 'sampling_ratio', 0);
  const mode = oneOf(node, 'mode', ['avg', 'max'], 'avg');
  const transformation = oneOf(node, 'coordinate_transformation_mode', ['half_pixel', 'output_half_pixel'], b.opset >= 16 ? 'half_pixel' : 'output_half_pixel');
  if (ratio < 1) {
    // As many samples as a region's size asks for: the reference implementation counts them in a run.
    if (hasAttribute(node, 'coordinate_transformation_mode')) return undefined;
    return [b.emit('RoiAlign', [x, rois, batch], { ...Object.fromEntries(node.attributes), coordinate_transformation_mode: { type: 'string', value: transformation } })];
  }
  const half = transformation === 'half_pixel';
  const [oh, ow] = [intAttribute(node, 'output_height', 1), intAttribute(node, 'output_width', 1)];
  if (!(oh >= 1 && ow >= 1)) throw misshapen(node, `an output of ${oh} x ${ow}`);
  if (Math.max(oh, ow) * ratio > maximumSamples) throw unsupported(node, `${Math.max(oh, ow) * ratio} samples along an axis, more than ${maximumSamples}`, 'sampling_ratio');
  const scaled = m.scale(rois, floatAttribute(node, 'spatial_scale', 1));
  const corners = half ? m.sub(scaled, m.number(0.5)) : scaled;
  const corner = (i: number): string => m.slice(corners, 1, i, i + 1);
  const axis = (size: number): SampledAxis => ({ size, padding: 'border', low: 0, high: size - 1 });
  const [rowsAt, columnsAt] = [regionPlaces(m, [corner(1), corner(3)], height, { output: oh, ratio, half }), regionPlaces(m, [corner(0), corner(2)], width, { output: ow, ratio, half })];
  const [tall, wide] = [[regions, oh * ratio, 1], [regions, 1, ow * ratio]] as const;
  const inside = m.mul(m.reshape(rowsAt.inside, tall), m.reshape(columnsAt.inside, wide));
  const taps = [tapsOf(m, m.reshape(rowsAt.place, tall), 'linear'), tapsOf(m, m.reshape(columnsAt.place, wide), 'linear')];
  const start = m.reshape(m.mul(m.cast(batch, 'int64'), m.number(height * width, 'int64')), [regions, 1, 1]);
  const map = pixelRows(m, x, shape);
  const parts = neighbours(m, start, taps, [axis(height), axis(width)]).map(({ row, weight }) => weighted(m, map, { row, weight: times(m, weight, inside) }));
  const apart = (value: string): string => m.reshape(value, [regions, oh, ratio, ow, ratio, channels]);
  // The largest is taken of the weighted neighbours, as the specification's implementation does.
  const pooled = mode === 'avg' ? m.reduce('ReduceMean', apart(parts.reduce(m.add)), [2, 4], false) : m.reduce('ReduceMax', apart(parts.reduce((p, q) => m.op('Max', p, q))), [2, 4], false);
  return [m.transpose(pooled, [0, 3, 1, 2])];
};

export const samplings: Readonly<Record<string, Expansion>> = { GridSample: gridSample, RoiAlign: roiAlign };
