import type { Node } from '../graph/graph.js';
import { elementCount, stridesOf, type Shape } from '../graph/tensor-value.js';
import type { Window } from './spatial.js';

/** Indices [from, to) along one axis; empty where `to` is not above `from`. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** A box of a tensor: one span for each axis. */
export type Region = readonly Span[];

export interface RegionContext {
  readonly node: Node;
  /** Shapes by position; undefined where an optional input is absent. */
  readonly inputs: readonly (Shape | undefined)[];
  /** Shape of the first output. */
  readonly output: Shape;
}

/**
 * The region of each input, by position, on which `region` of the first output depends; undefined where the input is absent.
 * A region may be larger than what is read, but never smaller.
 */
export type Needs = (context: RegionContext, region: Region) => readonly (Region | undefined)[];

export const wholeSpan = (size: number): Span => ({ from: 0, to: size });
export const wholeRegion = (shape: Shape): Region => shape.map(wholeSpan);

const nothing: Span = { from: 0, to: 0 };

/** The part of a span that lies within an axis of `size`. */
export function clipped({ from, to }: Span, size: number): Span {
  const [first, end] = [Math.max(from, 0), Math.min(to, size)];
  return first < end ? { from: first, to: end } : nothing;
}

/** Every operand as a whole. */
export const needsAll: Needs = ({ inputs }) => inputs.map((shape) => (shape === undefined ? undefined : wholeRegion(shape)));

/** As `first` says for the first operand; the others, such as weights and tables, as a whole. */
export const needsOfFirst = (first: (context: RegionContext, region: Region, shape: Shape) => Region): Needs => (context, region) =>
  context.inputs.map((shape, i) => (shape === undefined ? undefined : i === 0 ? first(context, region, shape) : wholeRegion(shape)));

/** The same elements of the first operand. */
export const needsSame: Needs = needsOfFirst((_, region) => region);

/** The same elements of the first operand, and all along the given axes. */
export const needsAlong = (axes: (node: Node) => readonly number[]): Needs => needsOfFirst(({ node }, region, shape) => {
  const along = new Set(axes(node));
  return shape.map((size, axis) => (along.has(axis) ? wholeSpan(size) : (region[axis] ?? wholeSpan(size))));
});

/** What an operand of `shape` that is broadcast to the output gives to a region of it. */
export function broadcastRegion(shape: Shape, region: Region): Region {
  const lead = region.length - shape.length;
  return shape.map((size, axis) => (size === 1 ? wholeSpan(1) : (region[axis + lead] ?? wholeSpan(size))));
}

/** Operands that are broadcast to the output, element by element. */
export const needsBroadcast: Needs = ({ inputs }, region) => inputs.map((shape) => (shape === undefined ? undefined : broadcastRegion(shape, region)));

/** The rows (axis 0) or columns (axis 1) of an image of `size` over which a window slides for a span of its output. */
function windowSpan({ kernel, strides, dilations, pads }: Omit<Window, 'output'>, axis: 0 | 1, { from, to }: Span, size: number): Span {
  const extent = (kernel[axis] - 1) * dilations[axis] + 1;
  return clipped({ from: from * strides[axis] - pads[axis], to: (to - 1) * strides[axis] - pads[axis] + extent }, size);
}

/** The region of x [N, H, W, C] for a region of the output of a window over it; `channels` are those that the window reads. */
export function windowRegion(window: Omit<Window, 'output'>, x: Shape, region: Region, channels: Span): Region {
  const [n = nothing, rows = nothing, columns = nothing] = region;
  const [, height = 1, width = 1] = x;
  return [n, windowSpan(window, 0, rows, height), windowSpan(window, 1, columns, width), channels];
}

/** Index along each axis of the element at `offset` in row-major order. */
const indexAt = (shape: Shape, offset: number): number[] => stridesOf(shape).map((stride, axis) => Math.floor(offset / stride) % Math.max(1, shape[axis] ?? 1));

/**
 * The smallest box of `from` that holds the elements of `region` of `to`, where both have the same elements in row-major order:
 * the first and the last element have the outer indices in common, and what is inside of these may be anything.
 */
export function reshapedRegion(from: Shape, to: Shape, region: Region): Region {
  if (region.some((span) => span.from >= span.to) || elementCount(from) === 0) return from.map(() => nothing);
  const strides = stridesOf(to);
  const [first, last] = [indexAt(from, offsetOf(strides, region.map((span) => span.from))), indexAt(from, offsetOf(strides, region.map(({ to: end }) => end - 1)))];
  const differ = first.findIndex((index, axis) => index !== last[axis]);
  return from.map((size, axis) => {
    if (differ >= 0 && axis > differ) return wholeSpan(size);
    return { from: first[axis] ?? 0, to: (last[axis] ?? 0) + 1 };
  });
}

const offsetOf = (strides: readonly number[], index: readonly number[]): number => index.reduce((sum, at, axis) => sum + at * (strides[axis] ?? 1), 0);
