import { intAttribute, intsAttribute, misshapen, oneOf, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';

/** Geometry of a sliding window over [H, W]; one-dimensional operators have H = 1. */
export interface Window {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** top, left, bottom, right */
  readonly pads: readonly [number, number, number, number];
  readonly output: readonly [number, number];
}

/** A window whose last positions may reach beyond the padding (ceil_mode), where nothing is counted. */
export interface HangingWindow extends Window {
  /** bottom, right */
  readonly hang: readonly [number, number];
}

export const autoPads = ['NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'] as const;

/** One entry for each spatial axis, the missing H of a one-dimensional operator filled in. */
export function pair(node: Node, name: string, rank: number, values: readonly number[], fill: number): [number, number] {
  if (values.length !== rank) throw unsupported(node, `Expected ${rank} values but received ${values.length}`, name);
  return rank === 1 ? [fill, values[0] ?? fill] : [values[0] ?? fill, values[1] ?? fill];
}

export function positive(node: Node, name: string, values: readonly number[]): void {
  if (values.some((value) => !Number.isInteger(value) || value < 1)) {
    throw unsupported(node, `Expected positive values but received ${values.join(', ')}`, name);
  }
}

interface Axis { input: number; kernel: number; stride: number; dilation: number }

const effective = ({ kernel, dilation }: Axis): number => (kernel - 1) * dilation + 1;

/** Padding that makes the output ceil(input / stride), the odd pixel at the end (upper) or at the start (lower). */
function samePadding(axis: Axis, lower: boolean): [number, number] {
  const output = Math.ceil(axis.input / axis.stride);
  const total = Math.max((output - 1) * axis.stride + effective(axis) - axis.input, 0);
  const small = Math.floor(total / 2);
  return lower ? [total - small, small] : [small, total - small];
}

/** Output size; with `ceil`, the last window may hang over the end but must start inside the input or its padding before. */
function outputSize(axis: Axis, before: number, after: number, ceil: boolean): number {
  const room = axis.input + before + after - effective(axis);
  if (!ceil) return Math.floor(room / axis.stride) + 1;
  const output = Math.ceil(room / axis.stride) + 1;
  return (output - 1) * axis.stride >= axis.input + before ? output - 1 : output;
}

/**
 * The window of Conv or of a pool.
 * @param spatial sizes of the spatial axes, one or two
 * @param kernel sizes of the kernel along them
 */
export function windowOf(node: Node, spatial: readonly number[], kernel: readonly number[]): HangingWindow {
  const rank = spatial.length;
  if (rank < 1 || rank > 2) throw unsupported(node, `Expected 1 or 2 spatial dimensions but received ${rank}`);
  const ones = spatial.map(() => 1);
  const size = pair(node, 'kernel_shape', rank, kernel, 1);
  const strides = pair(node, 'strides', rank, intsAttribute(node, 'strides') ?? ones, 1);
  const dilations = pair(node, 'dilations', rank, intsAttribute(node, 'dilations') ?? ones, 1);
  positive(node, 'kernel_shape', size);
  positive(node, 'strides', strides);
  positive(node, 'dilations', dilations);
  const input = pair(node, 'input', rank, spatial, 1);
  const axes = [0, 1].map((i): Axis => ({ input: input[i] ?? 1, kernel: size[i] ?? 1, stride: strides[i] ?? 1, dilation: dilations[i] ?? 1 }));
  const [vertical, horizontal] = axes;
  if (vertical === undefined || horizontal === undefined) throw misshapen(node, 'no spatial axes');
  const ceil = intAttribute(node, 'ceil_mode', 0) === 1;
  const pads = paddingFor(node, rank, vertical, horizontal);
  const output: [number, number] = [outputSize(vertical, pads[0], pads[2], ceil), outputSize(horizontal, pads[1], pads[3], ceil)];
  if (output.some((n) => n < 1)) throw misshapen(node, `a kernel of ${size.join('x')} does not fit an input of ${input.join('x')}`);
  const beyond = (axis: Axis, out: number, before: number, after: number) => Math.max(0, (out - 1) * axis.stride + effective(axis) - axis.input - before - after);
  const hang: [number, number] = ceil ? [beyond(vertical, output[0], pads[0], pads[2]), beyond(horizontal, output[1], pads[1], pads[3])] : [0, 0];
  return { kernel: size, strides, dilations, pads, output, hang };
}

/** The taps [first, last) of a window from `start` on that lie inside an axis of `size`: a kernel may be far larger than the image. */
export function tapsInside(start: number, size: number, kernel: number, dilation: number): [number, number] {
  return [Math.max(0, Math.ceil(-start / dilation)), Math.min(kernel, Math.floor((size - 1 - start) / dilation) + 1)];
}

function paddingFor(node: Node, rank: number, vertical: Axis, horizontal: Axis): [number, number, number, number] {
  const auto = oneOf(node, 'auto_pad', autoPads, 'NOTSET');
  if (auto === 'VALID') return [0, 0, 0, 0];
  if (auto !== 'NOTSET') {
    const [top, bottom] = samePadding(vertical, auto === 'SAME_LOWER');
    const [left, right] = samePadding(horizontal, auto === 'SAME_LOWER');
    return [top, left, bottom, right];
  }
  const given = intsAttribute(node, 'pads') ?? new Array<number>(2 * rank).fill(0);
  if (given.length !== 2 * rank) throw unsupported(node, `Expected ${2 * rank} values but received ${given.length}`, 'pads');
  if (given.some((pad) => pad < 0)) throw unsupported(node, `Expected padding of at least 0 but received ${given.join(', ')}`, 'pads');
  const [a = 0, b = 0, c = 0, d = 0] = given;
  return rank === 1 ? [0, a, 0, b] : [a, b, c, d];
}
