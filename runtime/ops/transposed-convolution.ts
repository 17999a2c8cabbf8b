import { intAttribute, ints, intsAttribute, misshapen, oneOf, requiredInts, unsupported, type Attribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { allocate, elementCount, fromNumbers, mapNumbers, type Shape, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { throughWindow } from './cell-flow.js';
import { expectType, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { clipped, needsOfFirst, wholeSpan } from './regions.js';
import { autoPads, pair, positive } from './spatial.js';

/** An ONNX ConvTranspose over [H, W]; one-dimensional ones have H = 1. Output pixel j gets x[i] * w[k] where j + begin = i * stride + k * dilation. */
export interface TransposedWindow {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Rows and columns cut off at the top and at the left. */
  readonly begins: readonly [number, number];
  readonly output: readonly [number, number];
  readonly group: number;
}

interface Axis { input: number; kernel: number; stride: number; dilation: number; extra: number; before: number; after: number; wanted: number | undefined }

/** Start and size of the output along one axis (ONNX, ConvTranspose). What is wanted beyond the natural size is empty. */
function placed(axis: Axis, auto: (typeof autoPads)[number]): { begin: number; size: number } {
  const natural = axis.stride * (axis.input - 1) + axis.extra + (axis.kernel - 1) * axis.dilation + 1;
  const same = auto === 'SAME_UPPER' || auto === 'SAME_LOWER';
  const size = axis.wanted ?? (same ? axis.input * axis.stride : undefined);
  if (size === undefined) return { begin: axis.before, size: natural - axis.before - axis.after };
  const total = Math.max(0, natural - size);
  return { begin: auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2), size };
}

/** @param w [C, M / group, kernel...] */
export function transposedWindowOf(node: Node, x: Shape, w: Shape): TransposedWindow {
  const spatial = x.slice(2);
  const rank = spatial.length;
  if (rank < 1 || rank > 2) throw unsupported(node, `Expected 1 or 2 spatial dimensions but received ${rank}`);
  const group = intAttribute(node, 'group', 1);
  if (w.length !== x.length || group < 1 || w[0] !== x[1] || (x[1] ?? 1) % group !== 0) throw misshapen(node, `[${x.join(', ')}], ${group} groups and weights [${w.join(', ')}] do not fit`);
  const ones = spatial.map(() => 1);
  const zeros = spatial.map(() => 0);
  const input = pair(node, 'input', rank, spatial, 1);
  const kernel = pair(node, 'kernel_shape', rank, w.slice(2), 1);
  const strides = pair(node, 'strides', rank, intsAttribute(node, 'strides') ?? ones, 1);
  const dilations = pair(node, 'dilations', rank, intsAttribute(node, 'dilations') ?? ones, 1);
  const extra = pair(node, 'output_padding', rank, intsAttribute(node, 'output_padding') ?? zeros, 0);
  positive(node, 'strides', strides);
  positive(node, 'dilations', dilations);
  const auto = oneOf(node, 'auto_pad', autoPads, 'NOTSET');
  const pads = auto === 'NOTSET' ? (intsAttribute(node, 'pads') ?? [...zeros, ...zeros]) : [...zeros, ...zeros];
  const [before, after] = [pair(node, 'pads', rank, pads.slice(0, rank), 0), pair(node, 'pads', rank, pads.slice(rank), 0)];
  const given = intsAttribute(node, 'output_shape') ?? [];
  const wanted = given.length === 0 ? undefined : pair(node, 'output_shape', rank, given.slice(-rank), 1);
  if ([...extra, ...before, ...after].some((value) => value < 0)) throw unsupported(node, 'Expected padding of at least 0', 'pads');
  const axis = (i: 0 | 1) => placed({ input: input[i], kernel: kernel[i], stride: strides[i], dilation: dilations[i], extra: extra[i], before: before[i], after: after[i], wanted: wanted?.[i] }, auto);
  const [vertical, horizontal] = [axis(0), axis(1)];
  if (vertical.size < 1 || horizontal.size < 1) throw misshapen(node, `the result would have ${vertical.size}x${horizontal.size} pixels`);
  return { kernel, strides, dilations, group, begins: [vertical.begin, horizontal.begin], output: [vertical.size, horizontal.size] };
}

/** Along one axis: the output pixel that input pixel `i` and tap `k` add to, undefined when it is cut off. */
function target(window: TransposedWindow, axis: 0 | 1, i: number, k: number): number | undefined {
  const at = i * window.strides[axis] + k * window.dilations[axis] - window.begins[axis];
  return at >= 0 && at < window.output[axis] ? at : undefined;
}

/** Sums [N, M, OH, OW] of x [N, C, H, W] by w [C, M / group, KH, KW]: every input pixel is spread over its outputs. */
function spread(x: TensorValue, w: TensorValue, window: TransposedWindow): Float64Array {
  const [batch = 1, channels = 1] = x.dims;
  const [height, width] = x.dims.length === 3 ? [1, x.dims[2] ?? 1] : [x.dims[2] ?? 1, x.dims[3] ?? 1];
  const perGroup = w.dims[1] ?? 1;
  const [kernelHeight, kernelWidth] = window.kernel;
  const [outHeight, outWidth] = window.output;
  const outputs = perGroup * window.group;
  const [data, weights] = [toNumbers(x), toNumbers(w)];
  const sums = new Float64Array(batch * outputs * outHeight * outWidth);
  for (let n = 0; n < batch; n++) for (let c = 0; c < channels; c++) for (let y = 0; y < height; y++) for (let ky = 0; ky < kernelHeight; ky++) {
    const row = target(window, 0, y, ky);
    if (row === undefined) continue;
    for (let column = 0; column < width; column++) for (let kx = 0; kx < kernelWidth; kx++) {
      const at = target(window, 1, column, kx);
      if (at === undefined) continue;
      const value = data[((n * channels + c) * height + y) * width + column] ?? 0;
      const first = Math.floor(c / (channels / window.group)) * perGroup;
      for (let m = 0; m < perGroup; m++) {
        const to = ((n * outputs + first + m) * outHeight + row) * outWidth + at;
        sums[to] = (sums[to] ?? 0) + value * (weights[((c * perGroup + m) * kernelHeight + ky) * kernelWidth + kx] ?? 0);
      }
    }
  }
  return sums;
}

const convTranspose: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    const w = inputType(context, 1);
    const { output, group } = transposedWindowOf(context.node, x.shape, w.shape);
    return [{ dtype: 'float32', shape: [x.shape[0] ?? 1, (w.shape[1] ?? 1) * group, ...(x.shape.length === 3 ? [output[1]] : output)] }];
  },
  evaluate(context) {
    const [x, w] = [inputValue(context, 0), inputValue(context, 1)];
    const window = transposedWindowOf(context.node, x.dims, w.dims);
    const { shape } = outputType(context);
    const bias = context.inputs[2] === undefined ? undefined : toNumbers(context.inputs[2]);
    const inner = elementCount(shape.slice(2));
    return [fromNumbers('float32', shape, spread(x, w, window).map((sum, i) => sum + (bias?.[Math.floor(i / inner) % bias.length] ?? 0)))];
  },
};

/**
 * Output pixels of one phase: those whose position in the uncut output is phase + stride * q. They are a plain convolution
 * of x: q looks at x[q], x[q - dilation], .. (as many as the phase has taps).
 */
export interface PhaseAxis {
  readonly stride: number;
  /** Taps of each phase, at least one. They do not increase. */
  readonly taps: readonly number[];
  readonly dilation: number;
  /** The first q, and the padding of x that the last one needs. */
  readonly first: number;
  readonly after: number;
  /** Pixels cut off before the first output pixel, counted from that of phase 0 of the first q. */
  readonly skip: number;
}

/** The phases along one axis for `input` pixels. A stride of 1 keeps the dilation; else the taps between are zeros. */
export function phaseAxis(window: TransposedWindow, axis: 0 | 1, input: number): PhaseAxis {
  const [kernel, stride, begin, output] = [window.kernel[axis], window.strides[axis], window.begins[axis], window.output[axis]];
  const dilation = stride === 1 ? window.dilations[axis] : 1;
  const extent = (kernel - 1) * window.dilations[axis] + 1;
  const taps = stride === 1 ? [kernel] : Array.from({ length: stride }, (_, phase) => Math.max(1, Math.ceil((extent - phase) / stride)));
  // No phase may look back less than the first q needs: padding is not negative.
  const first = Math.min(Math.floor(begin / stride), ((taps.at(-1) ?? 1) - 1) * dilation);
  const last = Math.max(Math.floor((begin + output - 1) / stride), input - 1);
  return { stride, taps, dilation, first, after: last - input + 1, skip: begin - first * stride };
}

/** The padding of x before the first q of a phase of so many taps. */
export const paddingBefore = ({ dilation, first }: PhaseAxis, taps: number): number => (taps - 1) * dilation - first;

/** The tap of the kernel that tap `t` of a phase is, undefined where there is none. */
function kernelTap(window: TransposedWindow, axis: 0 | 1, taps: number, phase: number, t: number): number | undefined {
  const back = taps - 1 - t;
  const stride = window.strides[axis];
  if (stride === 1) return back;
  const at = phase + stride * back;
  const dilation = window.dilations[axis];
  return at % dilation === 0 && at / dilation < window.kernel[axis] ? at / dilation : undefined;
}

/** Weights [phases * M, TH, TW, C / group] of some phases, seen with `taps`, from w [C, M / group, KH, KW]; `fill` where a phase has no tap. */
export function phaseWeights(w: TensorValue, window: TransposedWindow, taps: readonly [number, number], phases: readonly (readonly [number, number])[], fill: number): TensorValue {
  const [channels = 1, perGroup = 1] = w.dims;
  const outputs = perGroup * window.group;
  const depth = channels / window.group;
  const dims = [phases.length * outputs, ...taps, depth];
  const [kernelHeight, kernelWidth] = window.kernel;
  const data = allocate(w.dtype, elementCount(dims));
  const weights = toNumbers(w);
  let at = 0;
  for (const [phaseY, phaseX] of phases) for (let o = 0; o < outputs; o++) for (let ty = 0; ty < taps[0]; ty++) for (let tx = 0; tx < taps[1]; tx++) {
    const [ky, kx] = [kernelTap(window, 0, taps[0], phaseY, ty), kernelTap(window, 1, taps[1], phaseX, tx)];
    for (let c = 0; c < depth; c++) {
      const from = (((Math.floor(o / perGroup) * depth + c) * perGroup + (o % perGroup)) * kernelHeight + (ky ?? 0)) * kernelWidth + (kx ?? 0);
      data[at++] = ky === undefined || kx === undefined ? fill : (weights[from] ?? 0);
    }
  }
  return { dtype: w.dtype, dims, data };
}

/** Interleave: output pixel [y, x] is pixel [(y + skip) / stride] of the phase that is the rest of that division. */
export interface Interleave {
  readonly strides: readonly [number, number];
  readonly skips: readonly [number, number];
  readonly output: readonly [number, number];
}

export const interleaveAttributes = ({ strides, skips, output }: Interleave): Record<string, Attribute> => ({ strides: ints(strides), skips: ints(skips), output: ints(output) });

export function coreInterleave(node: Node): Interleave {
  const two = (name: string): [number, number] => {
    const [a = 1, b = 1] = requiredInts(node, name);
    return [a, b];
  };
  return { strides: two('strides'), skips: two('skips'), output: two('output') };
}

/** The core operator: phases as groups of channels [N, H, W, SH * SW * C] -> [N, OH, OW, C]. */
const interleave: OperatorRecord = {
  linear: true, moves: 'first', cells: throughWindow, pixels: 'any', copies: true,
  identity: (node) => coreInterleave(node).strides.every((stride) => stride === 1) && coreInterleave(node).skips.every((skip) => skip === 0),
  needs: needsOfFirst(({ node }, region, x) => {
    const { strides, skips } = coreInterleave(node);
    return x.map((size, axis) => {
      const { from, to } = region[axis] ?? wholeSpan(size);
      if (axis === 3) return wholeSpan(size);
      if (axis === 0) return { from, to };
      const [stride, skip] = [strides[axis - 1] ?? 1, skips[axis - 1] ?? 0];
      return clipped({ from: Math.floor((from + skip) / stride), to: Math.floor((to - 1 + skip) / stride) + 1 }, size);
    });
  }),
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    const { strides, output } = coreInterleave(context.node);
    return [{ dtype, shape: [shape[0] ?? 1, ...output, (shape[3] ?? 1) / (strides[0] * strides[1])] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { strides: [sh, sw], skips: [top, left] } = coreInterleave(context.node);
    const { dtype, shape } = outputType(context);
    const [, height = 1, width = 1, channels = 1] = shape;
    const [, rows = 1, columns = 1, depth = 1] = x.dims;
    const data = toNumbers(x);
    return [fromNumbers(dtype, shape, mapNumbers({ length: elementCount(shape) }, (_, i) => {
      const c = i % channels;
      const pixel = Math.floor(i / channels);
      const [column, row, n] = [(pixel % width) + left, (Math.floor(pixel / width) % height) + top, Math.floor(pixel / (width * height))];
      const phase = (row % sh) * sw + (column % sw);
      return data[((n * rows + Math.floor(row / sh)) * columns + Math.floor(column / sw)) * depth + phase * channels + c] ?? 0;
    }))];
  },
};

export const transposedConvolutionOps: OpTable = { ConvTranspose: convTranspose };
export const interleaveOps: OpTable = { Interleave: interleave };
