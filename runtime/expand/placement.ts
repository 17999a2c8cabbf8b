import { int, intAttribute, intsAttribute, misshapen, notConstant, oneOf } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, toNumbers } from '../graph/tensor-value.js';
import { normalizeAxis } from '../ops/op.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';
import { neighbours, pixelRows, tapsOf, weighted, type SampledAxis } from './sampling.js';

// Operators that put windows, or moved windows, of maps in their places: Col2Im, CenterCropPad, AffineGrid, TensorScatter, DeformConv.

function numbersAt(b: Builder, node: Node, index: number, what: string): number[] {
  const value = b.known(input(node, index));
  if (value === undefined) throw notConstant(node, index, what);
  return Array.from(toNumbers(value));
}

/** A transposed convolution by one weight a tap adds each column of x up where its window lies. */
const col2Im: Expansion = (b, node) => {
  const m = new Notation(b);
  const [image, block] = [numbersAt(b, node, 1, 'image_shape'), numbersAt(b, node, 2, 'block_shape')];
  const [n = 1, rows = 0, columns = 0] = m.shape(input(node));
  const list = (name: string, fill: number, count = 1): readonly number[] => intsAttribute(node, name) ?? new Array<number>(count * block.length).fill(fill);
  const [strides, dilations, pads] = [list('strides', 1), list('dilations', 1), list('pads', 0, 2)];
  const taps = elementCount(block);
  const reach = block.map((size, i) => (size - 1) * (dilations[i] ?? 1) + 1);
  const room = image.map((size, i) => size + (pads[i] ?? 0) + (pads[i + block.length] ?? 0) - (reach[i] ?? 1));
  const windows = room.map((left, i) => Math.floor(left / (strides[i] ?? 1)) + 1);
  if (m.shape(input(node)).length !== 3 || image.length !== block.length || rows % taps !== 0 || elementCount(windows) !== columns || windows.some((count) => count < 1)) {
    throw misshapen(node, `columns of [${m.shape(input(node)).join(', ')}] do not fit blocks of [${block.join(', ')}] in an image of [${image.join(', ')}]`);
  }
  const channels = rows / taps;
  m.checkConstant(rows * taps);
  const weights = m.tensor('float32', [rows, 1, ...block], Float64Array.from({ length: rows * taps }, (_, i) => (Math.floor(i / taps) % taps === i % taps ? 1 : 0)));
  const rest = room.map((left, i) => left % (strides[i] ?? 1));
  const ints = (value: readonly number[]) => ({ type: 'ints', value }) as const;
  // What no window covers at the end of an axis stays 0.
  const covered = b.emit('ConvTranspose', [m.reshape(input(node), [n, rows, ...windows]), weights], { group: int(channels), strides: ints(strides), dilations: ints(dilations), pads: ints(block.flatMap(() => [0, 0])) });
  const whole = m.pad(covered, [0, 0, ...block.map(() => 0)], [0, 0, ...rest]);
  return [image.reduce((value, size, i) => m.slice(value, i + 2, pads[i] ?? 0, (pads[i] ?? 0) + size), whole)];
};

/** Cuts off, or adds zeros, half before and half behind. */
const centerCropPad: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, wanted] = [input(node), numbersAt(b, node, 1, 'shape')];
  const shape = m.shape(x);
  const axes = (intsAttribute(node, 'axes') ?? shape.map((_, i) => i)).map((axis) => normalizeAxis(node, axis, shape.length));
  if (axes.length !== wanted.length || wanted.some((size) => !(size >= 0))) throw misshapen(node, `sizes [${wanted.join(', ')}] for axes [${axes.join(', ')}]`);
  const missing = shape.map((size, axis) => (axes.includes(axis) ? (wanted[axes.indexOf(axis)] ?? size) - size : 0));
  const cropped = missing.reduce((value, more, axis) => {
    const start = Math.floor(-more / 2);
    return more >= 0 ? value : m.slice(value, axis, start, start + (shape[axis] ?? 0) + more);
  }, x);
  const before = missing.map((more) => Math.floor(Math.max(0, more) / 2));
  return [m.pad(cropped, before, missing.map((more, axis) => Math.max(0, more) - (before[axis] ?? 0)))];
};

/** Places of a map's pixels, from -1 to 1, through a matrix for each image. */
const affineGrid: Expansion = (b, node) => {
  const m = new Notation(b);
  const [theta, size] = [input(node), numbersAt(b, node, 1, 'size')];
  const [n = 1, , ...spatial] = size;
  const rank = spatial.length;
  if ((rank !== 2 && rank !== 3) || m.shape(theta).join() !== [n, rank, rank + 1].join()) throw misshapen(node, `matrices of [${m.shape(theta).join(', ')}] do not fit maps of [${size.join(', ')}]`);
  const corners = intAttribute(node, 'align_corners', 0) !== 0;
  const place = (i: number, count: number): number => (corners ? (count === 1 ? 0 : (2 * i) / (count - 1) - 1) : (2 * i + 1) / count - 1);
  const pixels = elementCount(spatial);
  m.checkConstant(pixels * (rank + 1));
  // Of each pixel the column first, and a 1 for the shift.
  const base = Float64Array.from({ length: pixels * (rank + 1) }, (_, at) => {
    const [pixel, from] = [Math.floor(at / (rank + 1)), rank - 1 - (at % (rank + 1))];
    const count = spatial[from] ?? 1;
    return from < 0 ? 1 : place(Math.floor(pixel / elementCount(spatial.slice(from + 1))) % count, count);
  });
  const grid = m.op('MatMul', m.tensor('float32', [pixels, rank + 1], base), m.transpose(theta, [0, 2, 1]));
  return [m.reshape(grid, [n, ...spatial, rank])];
};

/** A part of a cache from a place on that may be another for each of the batch; `circular` goes on at the start. */
const tensorScatter: Expansion = (b, node) => {
  const m = new Notation(b);
  const [cache, update] = [input(node), input(node, 1)];
  const [shape, part] = [m.shape(cache), m.shape(update)];
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -2), shape.length);
  const [length, steps, batch] = [shape[axis] ?? 0, part[axis] ?? 0, shape[0] ?? 1];
  if (axis === 0 || part.length !== shape.length || shape.some((size, i) => i !== axis && size !== part[i]) || steps > length) throw misshapen(node, `an update of [${part.join(', ')}] does not fit a cache of [${shape.join(', ')}] along axis ${axis}`);
  const starts = input(node, 2) === '' ? m.number(0, 'int64') : m.reshape(m.cast(input(node, 2), 'int64'), [batch, ...shape.slice(1).map(() => 1)]);
  const whole = (value: number): string => m.number(value, 'int64');
  const after = m.sub(m.iota(length, axis, shape.length), starts);
  const at = oneOf(node, 'mode', ['linear', 'circular'], 'linear') === 'circular' ? m.op('Mod', after, whole(length)) : after;
  const inside = m.op('And', m.op('GreaterOrEqual', at, whole(0)), m.op('Less', at, whole(steps)));
  const from = m.expand(m.where(inside, at, whole(0)), shape);
  return [m.where(inside, b.emit('GatherElements', [update, from], { axis: int(axis) }), cache)];
};

/** The windows of a convolution, each element of which is read at a place of its own. */
interface DeformedWindows {
  readonly kernel: readonly [number, number];
  readonly output: readonly [number, number];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** Where each tap of each window would read without offsets, along one axis: [1, taps, rows, columns], with ones. */
function places(m: Notation, axis: 0 | 1, { kernel, output, strides, dilations, pads }: DeformedWindows): string {
  const taps = kernel[0] * kernel[1];
  const numbers = Float64Array.from({ length: taps * output[axis] }, (_, i) => {
    const [tap, o] = [Math.floor(i / output[axis]), i % output[axis]];
    const k = axis === 0 ? Math.floor(tap / kernel[1]) : tap % kernel[1];
    return o * (strides[axis] ?? 1) - (pads[axis] ?? 0) + k * (dilations[axis] ?? 1);
  });
  return m.tensor('float32', axis === 0 ? [1, taps, output[0], 1] : [1, taps, 1, output[1]], numbers);
}

/** Deformable convolution (Dai et al. 2017; with a mask Zhu et al. 2019): columns of interpolated values, times the weights as a matrix. */
const deformConv: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, w, offset, bias, mask] = [input(node), input(node, 1), input(node, 2), input(node, 3), input(node, 4)];
  const [[n = 1, c = 1, height = 1, width = 1], [outputs = 1, depth = 1, kh = 1, kw = 1], [, , oh = 1, ow = 1]] = [m.shape(x), m.shape(w), m.shape(offset)];
  const [group, parts] = [intAttribute(node, 'group', 1), intAttribute(node, 'offset_group', 1)];
  const taps = kh * kw;
  const fits = m.shape(x).length === 4 && c === depth * group && c % parts === 0 && outputs % group === 0 && m.shape(offset).join() === [n, parts * taps * 2, oh, ow].join();
  if (!fits || (mask !== '' && m.shape(mask).join() !== [n, parts * taps, oh, ow].join())) throw misshapen(node, `weights of [${m.shape(w).join(', ')}] and offsets of [${m.shape(offset).join(', ')}] do not fit [${m.shape(x).join(', ')}]`);
  const list = (name: string, fill: number): readonly number[] => intsAttribute(node, name) ?? [fill, fill, fill, fill];
  const windows: DeformedWindows = { kernel: [kh, kw], output: [oh, ow], strides: list('strides', 1), dilations: list('dilations', 1), pads: list('pads', 0) };
  const moved = m.reshape(offset, [n * parts, taps, 2, oh, ow]);
  const place = (axis: 0 | 1): string => m.add(m.reshape(m.slice(moved, 2, axis, axis + 1), [n * parts, taps, oh, ow]), places(m, axis, windows));
  const axes = [height, width].map((size): SampledAxis => ({ size, padding: 'zeros', low: 0, high: size - 1 }));
  const start = m.tensor('int64', [n * parts, 1, 1, 1], Array.from({ length: n * parts }, (_, i) => i * height * width));
  const shape = [n * parts, c / parts, height, width];
  const rows = pixelRows(m, m.reshape(x, shape), shape);
  const read = neighbours(m, start, [tapsOf(m, place(0), 'linear'), tapsOf(m, place(1), 'linear')], axes).map((each) => weighted(m, rows, each)).reduce(m.add);
  const masked = mask === '' ? read : m.mul(read, m.reshape(mask, [n * parts, taps, oh, ow, 1]));
  const columns = m.reshape(m.transpose(m.reshape(masked, [n * parts, taps, oh * ow, c / parts]), [0, 3, 1, 2]), [n, group, depth * taps, oh * ow]);
  const y = m.reshape(m.op('MatMul', m.reshape(w, [1, group, outputs / group, depth * taps]), columns), [n, outputs, oh, ow]);
  return [bias === '' ? y : m.add(y, m.reshape(bias, [outputs, 1, 1]))];
};

export const placements: Readonly<Record<string, Expansion>> = {
  Col2Im: col2Im, CenterCropPad: centerCropPad, AffineGrid: affineGrid, TensorScatter: tensorScatter, DeformConv: deformConv,
};
