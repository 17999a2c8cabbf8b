import type { AttributeRecord } from '../expand/builder.js';
import { int, ints } from '../graph/attributes.js';
import { elementCount, type Shape } from '../graph/tensor-value.js';
import type { Calculus } from './rule.js';

/** A sliding window, one entry for each spatial axis: output position o and tap k look at input position o * stride + k * dilation - before. */
export interface Sliding {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly before: readonly number[];
  readonly group: number;
}

const ones = (values: readonly number[]): boolean => values.every((value) => value === 1);
const zeros = (values: readonly number[]): boolean => values.every((value) => value === 0);
const at = (values: readonly number[], i: number): number => values[i] ?? 0;

/** The kernel turned around: tap k becomes tap size - 1 - k on every spatial axis. */
function turned(m: Calculus, w: string): string {
  return m.shape(w).reduce((turnedSoFar, size, axis) => (axis < 2 || size === 1 ? turnedSoFar : m.slice(turnedSoFar, axis, -1, -size - 1, -1)), w);
}

/** [O, C / group, ..] as [C, O / group, ..]. */
function exchanged(m: Calculus, w: string, group: number): string {
  const [outputs = 1, inputs = 1, ...kernel] = m.shape(w);
  const rest = kernel.map((_, i) => i + 3);
  const grouped = m.transpose(m.reshape(w, [group, outputs / group, inputs, ...kernel]), [0, 2, 1, ...rest]);
  return m.reshape(grouped, [group * inputs, outputs / group, ...kernel]);
}

/**
 * The gradient of a convolution by its input: what every output position received from it comes back through the same weights. With
 * stride 1 it is a convolution by the kernel turned around, which is faster than ConvTranspose; else ConvTranspose.
 * @param dy [N, O, ..]
 * @param w [O, C / group, ..]
 * @param target the shape of the input, [N, C, ..]
 */
export function spread(m: Calculus, dy: string, w: string, sliding: Sliding, target: Shape): string {
  const { kernel, strides, dilations, before, group } = sliding;
  const sizes = m.shape(dy).slice(2);
  const inputs = target.slice(2);
  const reach = kernel.map((k, i) => (k - 1) * at(dilations, i));
  const begins = reach.map((r, i) => r - at(before, i));
  const ends = inputs.map((size, i) => size - at(sizes, i) - at(begins, i) + at(reach, i));
  if (ones(strides) && [...begins, ...ends].every((pad) => pad >= 0)) {
    return m.b.emit('Conv', [dy, turned(m, exchanged(m, w, group))], { dilations: ints(dilations), pads: ints([...begins, ...ends]), group: int(group) });
  }
  const whole = sizes.map((size, i) => (size - 1) * at(strides, i) + at(reach, i) + 1);
  const cut = whole.map((size, i) => Math.max(0, size - at(before, i) - at(inputs, i)));
  const extra = inputs.map((size, i) => size + at(cut, i) + at(before, i) - at(whole, i));
  // onnxruntime takes no more output padding than a stride: rows that no window reached stay zeros.
  const given = extra.map((size, i) => Math.min(size, at(strides, i) - 1));
  const result = m.b.emit('ConvTranspose', [dy, w], {
    strides: ints(strides), dilations: ints(dilations), pads: ints([...before, ...cut]), output_padding: ints(given), group: int(group),
  });
  return m.pad(result, target.map(() => 0), [0, 0, ...extra.map((size, i) => size - at(given, i))]);
}

/** Every stride-th element of the spatial axes. */
const sampled = (m: Calculus, x: string, strides: readonly number[], sizes: readonly number[]): string =>
  strides.reduce((so, stride, i) => (stride === 1 ? so : m.slice(so, i + 2, 0, (at(sizes, i) - 1) * stride + 1, stride)), x);

/** A product for each image gives so many times the numbers that it reads, at least, when one product of all images is faster though both have to be turned for it. */
const oneProduct = 8;

/**
 * The gradient of a convolution by its weights: each tap is the product of what it looked at with the gradient, over all positions. Of a
 * pointwise convolution it is one matrix product an image, or of all images together where maps are small; else a convolution of the input by the gradient, in which strides and
 * dilations change places and images are channels.
 * @param x [N, C, ..]
 * @param dy [N, O, ..]
 * @returns [O, C / group, ..]
 */
export function correlated(m: Calculus, x: string, dy: string, sliding: Sliding, after: readonly number[]): string {
  const { kernel, strides, dilations, before, group } = sliding;
  const [n = 1, channels = 1, ...spatial] = m.shape(x);
  const [, outputs = 1, ...sizes] = m.shape(dy);
  if (group === 1 && ones(kernel) && zeros([...before, ...after])) {
    const places = elementCount(sizes);
    const seen = m.reshape(sampled(m, x, strides, sizes), [n, channels, places]);
    const given = m.reshape(dy, [n, outputs, places]);
    if (channels * outputs > oneProduct * places * (channels + outputs)) {
      const product = m.op('MatMul', m.reshape(m.transpose(given, [1, 0, 2]), [outputs, n * places]), m.reshape(m.transpose(seen, [0, 2, 1]), [n * places, channels]));
      return m.reshape(product, [outputs, channels, ...kernel]);
    }
    const products = m.op('MatMul', given, m.transpose(seen, [0, 2, 1]));
    return m.reshape(m.reduce('ReduceSum', products, [0], false), [outputs, channels, ...kernel]);
  }
  const attributes: AttributeRecord = { strides: ints(dilations), dilations: ints(strides), pads: ints([...before, ...after]) };
  const taps = (result: string): string => kernel.reduce((so, size, i) => (m.shape(so)[i + 2] === size ? so : m.slice(so, i + 2, 0, size)), result);
  if (group === channels && outputs === channels) {
    const rows = taps(m.b.emit('Conv', [m.reshape(x, [1, n * channels, ...spatial]), m.reshape(dy, [n * channels, 1, ...sizes])], { ...attributes, group: int(n * channels) }));
    return m.reshape(m.reduce('ReduceSum', m.reshape(rows, [n, channels, ...kernel]), [0], false), [channels, 1, ...kernel]);
  }
  const [inputs, made] = [channels / group, outputs / group];
  const rest = (rank: readonly number[]): number[] => rank.map((_, i) => i + 3);
  const images = m.reshape(m.transpose(m.reshape(x, [n, group, inputs, ...spatial]), [2, 1, 0, ...rest(spatial)]), [inputs, group * n, ...spatial]);
  const filters = m.reshape(m.transpose(m.reshape(dy, [n, group, made, ...sizes]), [1, 2, 0, ...rest(sizes)]), [outputs, n, ...sizes]);
  const result = taps(m.b.emit('Conv', [images, filters], { ...attributes, group: int(group) }));
  return m.transpose(result, [1, 0, ...kernel.map((_, i) => i + 2)]);
}
