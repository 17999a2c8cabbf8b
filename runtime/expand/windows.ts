import { intAttribute, intsAttribute, misshapen, oneOf, requiredInts, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount } from '../graph/tensor-value.js';
import { autoPads } from '../ops/spatial.js';
import { type AttributeRecord, type Builder, type Expansion, input, Notation } from './builder.js';
import { optionalOutput } from '../graph/operands.js';

// Windows over three axes, indices of pools, and convolutions by computed weights, through what the engine has: two axes, and products.

/** Taps of a window that are written out one by one. */
const maximumTaps = 1024;

const ints = (value: readonly number[]) => ({ type: 'ints', value }) as const;

interface Axis {
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly before: number;
  readonly after: number;
  readonly output: number;
  /** How far the last window reaches beyond the padding (ceil_mode). */
  readonly hang: number;
}

/** The window along every spatial axis. */
function axesOf(node: Node, spatial: readonly number[], kernel: readonly number[]): Axis[] {
  const rank = spatial.length;
  const list = (name: string) => intsAttribute(node, name) ?? spatial.map(() => 1);
  const [strides, dilations, pads] = [list('strides'), list('dilations'), intsAttribute(node, 'pads') ?? new Array<number>(2 * rank).fill(0)];
  const auto = oneOf(node, 'auto_pad', autoPads, 'NOTSET');
  if (kernel.length !== rank || strides.length !== rank || dilations.length !== rank || pads.length !== 2 * rank) throw misshapen(node, `a window of [${kernel.join(', ')}] over [${spatial.join(', ')}]`);
  return spatial.map((size, i): Axis => {
    const [k, stride, dilation] = [kernel[i] ?? 1, strides[i] ?? 1, dilations[i] ?? 1];
    if (!(k >= 1 && stride >= 1 && dilation >= 1)) throw misshapen(node, 'a kernel, stride or dilation is less than 1');
    const reach = (k - 1) * dilation + 1;
    const total = Math.max((Math.ceil(size / stride) - 1) * stride + reach - size, 0);
    const small = Math.floor(total / 2);
    const [before, after] = auto === 'NOTSET' ? [pads[i] ?? 0, pads[rank + i] ?? 0] : auto === 'VALID' ? [0, 0] : auto === 'SAME_LOWER' ? [total - small, small] : [small, total - small];
    const room = size + before + after - reach;
    if (before < 0 || after < 0) throw unsupported(node, 'negative padding', 'pads');
    if (room < 0) throw misshapen(node, `a kernel of ${k} does not fit an axis of ${size}`);
    let output = Math.floor(room / stride) + 1;
    if (intAttribute(node, 'ceil_mode', 0) === 1) {
      output = Math.ceil(room / stride) + 1;
      if ((output - 1) * stride >= size + before) output -= 1;
    }
    return { size, kernel: k, stride, dilation, before, after, output, hang: Math.max(0, (output - 1) * stride + reach - size - before - after) };
  });
}

/** x with its spatial axes padded, hanging windows included. */
function padded(m: Notation, x: string, axes: readonly Axis[], fill: number): string {
  return m.pad(x, [0, 0, ...axes.map(({ before }) => before)], [0, 0, ...axes.map(({ after, hang }) => after + hang)], fill);
}

/** Every position of a kernel, the last axis fastest. */
function tapsOf(node: Node, axes: readonly Axis[]): number[][] {
  const count = axes.reduce((product, { kernel }) => product * kernel, 1);
  if (count > maximumTaps) throw unsupported(node, `a window of ${count} elements, more than ${maximumTaps}`, 'kernel_shape');
  return Array.from({ length: count }, (_, t) => {
    let rest = t;
    return [...axes].reverse().map(({ kernel }) => {
      const at = rest % kernel;
      rest = Math.floor(rest / kernel);
      return at;
    }).reverse();
  });
}

/** What tap `tap` of every window sees. */
function seen(m: Notation, x: string, axes: readonly Axis[], tap: readonly number[]): string {
  return axes.reduce((value, { stride, dilation, output }, i) => {
    const start = (tap[i] ?? 0) * dilation;
    const end = start + (output - 1) * stride + 1;
    return m.shape(value)[i + 2] === output && start === 0 && stride === 1 ? value : m.slice(value, i + 2, start, end, stride);
  }, x);
}

/** [N, C, D, H, W] with the depths `start`, `start + step`, .. (count of them) as pictures of their own: [N * count, C, H, W]. */
function pictures(m: Notation, x: string, start: number, step: number, count: number): string {
  const [n = 1, c = 1, depth = 1, h = 1, w = 1] = m.shape(x);
  const part = start === 0 && step === 1 && count === depth ? x : m.slice(x, 2, start, start + (count - 1) * step + 1, step);
  return m.reshape(m.transpose(part, [0, 2, 1, 3, 4]), [n * count, c, h, w]);
}

/** The reverse: [N * count, C, H, W] as [N, C, count, H, W]. */
function volume(m: Notation, x: string, n: number): string {
  const [all = 1, c = 1, h = 1, w = 1] = m.shape(x);
  return m.transpose(m.reshape(x, [n, all / n, c, h, w]), [0, 2, 1, 3, 4]);
}

/** One convolution of pictures for each depth of the kernel; they are added up. */
function conv3d(b: Builder, node: Node): string {
  const m = new Notation(b);
  const [x, w, bias] = [input(node), input(node, 1), input(node, 2)];
  const [shape, weights] = [m.shape(x), m.shape(w)];
  const axes = axesOf(node, shape.slice(2), weights.slice(2));
  const [depth, ...flat] = axes;
  if (depth === undefined) throw misshapen(node, 'no spatial axes');
  const data = padded(m, x, axes, 0);
  const attributes: AttributeRecord = { group: { type: 'int', value: intAttribute(node, 'group', 1) }, strides: ints(flat.map(({ stride }) => stride)), dilations: ints(flat.map(({ dilation }) => dilation)) };
  const sums = Array.from({ length: depth.kernel }, (_, kd) => {
    const layer = pictures(m, data, kd * depth.dilation, depth.stride, depth.output);
    const kernel = m.gather(w, m.number(kd, 'int64'), 2);
    return b.emit('Conv', kd === 0 && bias !== '' ? [layer, kernel, bias] : [layer, kernel], attributes);
  });
  return volume(m, sums.reduce(m.add), shape[0] ?? 1);
}

/** Whether a value is a constant, or one that is dequantized. */
const isWeight = (b: Builder, value: string): boolean => b.known(value) !== undefined || b.known(b.producer(value)?.inputs[0]) !== undefined;

/** The values under every output as columns, times the weights as a matrix: for weights that are computed. */
function convByProduct(b: Builder, node: Node): string {
  const m = new Notation(b);
  const [x, w, bias] = [input(node), input(node, 1), input(node, 2)];
  const [shape, weights, group] = [m.shape(x), m.shape(w), intAttribute(node, 'group', 1)];
  const [n = 1, channels = 1] = shape;
  const [outputs = 1, depth = 1] = weights;
  if (channels !== depth * group || outputs % group !== 0) throw misshapen(node, `weights of [${weights.join(', ')}] in ${group} groups do not fit [${shape.join(', ')}]`);
  const axes = axesOf(node, shape.slice(2), weights.slice(2));
  const data = padded(m, x, axes, 0);
  const taps = tapsOf(node, axes);
  const pixels = axes.reduce((product, { output }) => product * output, 1);
  const columns = m.concat(taps.map((tap) => m.reshape(seen(m, data, axes, tap), [n, group, depth, 1, pixels])), 3);
  const product = m.op('MatMul', m.reshape(w, [1, group, outputs / group, depth * taps.length]), m.reshape(columns, [n, group, depth * taps.length, pixels]));
  const y = m.reshape(product, [n, outputs, ...axes.map(({ output }) => output)]);
  return bias === '' ? y : m.add(y, m.reshape(bias, [outputs, ...axes.map(() => 1)]));
}

const conv: Expansion = (b, node) => {
  const rank = b.type(input(node)).shape.length - 2;
  if (rank === 3) return [conv3d(b, node)];
  return b.eager || isWeight(b, input(node, 1)) ? undefined : [convByProduct(b, node)];
};

/** Every depth of the kernel puts its pictures where they go in an output of zeros, and these are added up. */
const convTranspose: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, w, bias] = [input(node), input(node, 1), input(node, 2)];
  const [shape, weights] = [m.shape(x), m.shape(w)];
  if (shape.length !== 5) return undefined;
  if (node.attributes.has('output_shape') || oneOf(node, 'auto_pad', autoPads, 'NOTSET') !== 'NOTSET') throw unsupported(node, 'three spatial axes with output_shape or auto_pad; give pads', 'output_shape');
  const list = (name: string, fill: number, count = 3) => intsAttribute(node, name) ?? new Array<number>(count).fill(fill);
  const [strides, dilations, pads, extra] = [list('strides', 1), list('dilations', 1), list('pads', 0, 6), list('output_padding', 0)];
  const [n = 1, , inDepth = 1] = shape;
  const [kernel, stride, dilation, before] = [weights[2] ?? 1, strides[0] ?? 1, dilations[0] ?? 1, pads[0] ?? 0];
  const output = (inDepth - 1) * stride + (kernel - 1) * dilation + 1 + (extra[0] ?? 0) - before - (pads[3] ?? 0);
  if (output < 1) throw misshapen(node, `an output of ${output} layers`);
  const attributes: AttributeRecord = {
    group: { type: 'int', value: intAttribute(node, 'group', 1) }, strides: ints(strides.slice(1)), dilations: ints(dilations.slice(1)),
    pads: ints([pads[1] ?? 0, pads[2] ?? 0, pads[4] ?? 0, pads[5] ?? 0]), output_padding: ints(extra.slice(1)),
  };
  const spread = (inDepth - 1) * stride + 1;
  const layers = Array.from({ length: kernel }, (_, kd) => {
    const part = volume(m, b.emit('ConvTranspose', [pictures(m, x, 0, 1, inDepth), m.gather(w, m.number(kd, 'int64'), 2)], attributes), n);
    const [, c = 1, , h = 1, width = 1] = m.shape(part);
    const apart = m.reshape(m.pad(m.reshape(part, [n, c, inDepth, 1, h * width]), [0, 0, 0, 0, 0], [0, 0, 0, stride - 1, 0]), [n, c, inDepth * stride, h, width]);
    const tight = m.slice(apart, 2, 0, spread);
    const whole = m.pad(tight, [0, 0, kd * dilation, 0, 0], [0, 0, (kernel - 1 - kd) * dilation + (extra[0] ?? 0) + Math.max(0, stride), 0, 0]);
    return m.slice(whole, 2, before, before + output);
  });
  const y = layers.reduce(m.add);
  return [bias === '' ? y : m.add(y, m.reshape(bias, [m.shape(y)[1] ?? 1, 1, 1, 1]))];
};

/** Attributes of a pool for some of its spatial axes. */
function poolAttributes(axes: readonly Axis[], ceil: boolean): AttributeRecord {
  return {
    kernel_shape: ints(axes.map(({ kernel }) => kernel)), strides: ints(axes.map(({ stride }) => stride)), dilations: ints(axes.map(({ dilation }) => dilation)),
    pads: ints([...axes.map(({ before }) => before), ...axes.map(({ after }) => after)]), ceil_mode: { type: 'int', value: ceil ? 1 : 0 },
  };
}

const still: Axis = { size: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, output: 1, hang: 0 };

/** A pool over the rows and columns of every layer, then one over the layers. */
function separablePool(b: Builder, op: string, x: string, axes: readonly Axis[], ceil: boolean): string {
  const m = new Notation(b);
  const [n = 1, c = 1, depth = 1, h = 1, w = 1] = m.shape(x);
  const [layers = still, rows = still, columns = still] = axes;
  const clean = (attributes: AttributeRecord): AttributeRecord => Object.fromEntries(Object.entries(attributes).filter(([name]) => op === 'MaxPool' || name !== 'dilations'));
  const flat = b.emit(op, [m.reshape(x, [n, c * depth, h, w])], clean(poolAttributes([rows, columns], ceil)));
  const [, , oh = 1, ow = 1] = m.shape(flat);
  const deep = b.emit(op, [m.reshape(flat, [n, c, depth, oh * ow])], clean(poolAttributes([layers, still], ceil)));
  return m.reshape(deep, [n, c, m.shape(deep)[2] ?? 1, oh, ow]);
}

/** How many elements a window along one axis has that count, at each of its positions. */
function counts({ size, kernel, stride, dilation, before, after, output }: Axis, withPadding: boolean): number[] {
  const [low, high] = withPadding ? [-before, size + after] : [0, size];
  return Array.from({ length: output }, (_, o) =>
    Array.from({ length: kernel }, (__, k) => o * stride - before + k * dilation).filter((at) => at >= low && at < high).length);
}

/** The mean over whole windows, times their size over how much of it counts. */
const averagePool: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  if (m.shape(x).length !== 5) return undefined;
  const axes = axesOf(node, m.shape(x).slice(2), requiredInts(node, 'kernel_shape'));
  const dilated = axes.some(({ dilation }) => dilation !== 1);
  const tight = axes.map((axis) => ({ ...axis, before: 0, after: 0, hang: 0 }));
  const data = padded(m, x, axes, 0);
  const means = dilated ? tapsOf(node, axes).map((tap) => seen(m, data, axes, tap)).reduce(m.add) : separablePool(b, 'AveragePool', data, tight, false);
  const [d = [], h = [], w = []] = axes.map((axis) => counts(axis, intAttribute(node, 'count_include_pad', 0) === 1));
  const all = dilated ? 1 : axes.reduce((product, { kernel }) => product * kernel, 1);
  const factors = d.flatMap((i) => h.flatMap((j) => w.map((k) => all / Math.max(1, i * j * k))));
  return [factors.every((factor) => factor === 1) ? means : m.mul(means, m.tensor('float32', [1, 1, d.length, h.length, w.length], factors))];
};

/** The root of the sum of powers of every window over three axes. */
const lpPool: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, p] = [input(node), intAttribute(node, 'p', 2)];
  if (m.shape(x).length !== 5) return undefined;
  const axes = axesOf(node, m.shape(x).slice(2), requiredInts(node, 'kernel_shape'));
  const size = p === 2 ? x : m.op('Abs', x);
  const data = padded(m, p === 1 ? size : m.op('Pow', size, m.number(p)), axes, 0);
  const sum = tapsOf(node, axes).map((tap) => seen(m, data, axes, tap)).reduce(m.add);
  return [p === 1 ? sum : p === 2 ? m.op('Sqrt', sum) : m.op('Pow', sum, m.number(1 / p))];
};

/** A global pool over three axes as one over two. */
const globalPool = (op: string): Expansion => (b, node) => {
  const m = new Notation(b);
  const [n = 1, c = 1, ...spatial] = m.shape(input(node));
  if (spatial.length !== 3) return undefined;
  return [m.reshape(b.emit(op, [m.reshape(input(node), [n, c, spatial[0] ?? 1, (spatial[1] ?? 1) * (spatial[2] ?? 1)])]), [n, c, 1, 1, 1])];
};

/** The largest of a window, and where in x it was found: compared tap by tap. */
function maxWithIndices(b: Builder, node: Node): string[] {
  const m = new Notation(b);
  const x = input(node);
  const [n = 1, c = 1, ...spatial] = m.shape(x);
  const axes = axesOf(node, spatial, requiredInts(node, 'kernel_shape'));
  const data = padded(m, x, axes, -Infinity);
  const byColumn = intAttribute(node, 'storage_order', 0) === 1;
  const strides = spatial.map((_, i) => elementCount(byColumn ? spatial.slice(0, i) : spatial.slice(i + 1)));
  const where = (tap: readonly number[]): string => {
    const at = axes.map(({ output, stride, dilation, before }, i) => Array.from({ length: output }, (_, o) => (o * stride + (tap[i] ?? 0) * dilation - before) * (strides[i] ?? 1)));
    const all = at.reduce((sums, list) => sums.flatMap((sum) => list.map((offset) => sum + offset)), [0]);
    return m.tensor('int64', [1, 1, ...axes.map(({ output }) => output)], all);
  };
  const [first = [], ...rest] = tapsOf(node, axes);
  let [best, index] = [seen(m, data, axes, first), where(first)];
  for (const tap of rest) {
    const value = seen(m, data, axes, tap);
    const larger = m.op('Greater', value, best);
    index = m.where(larger, where(tap), index);
    best = m.op('Max', best, value);
  }
  const offsets = m.tensor('int64', [n, c, ...spatial.map(() => 1)], Array.from({ length: n * c }, (_, i) => i * elementCount(spatial)));
  return [best, m.add(index, offsets)];
}

const maxPool: Expansion = (b, node) => {
  if (optionalOutput(node, 1) !== undefined) return maxWithIndices(b, node);
  const m = new Notation(b);
  const x = input(node);
  if (m.shape(x).length !== 5) return undefined;
  const axes = axesOf(node, m.shape(x).slice(2), requiredInts(node, 'kernel_shape'));
  return [separablePool(b, 'MaxPool', x, axes, intAttribute(node, 'ceil_mode', 0) === 1)];
};

export const windows: Readonly<Record<string, Expansion>> = {
  Conv: conv, ConvTranspose: convTranspose, MaxPool: maxPool, AveragePool: averagePool, LpPool: lpPool, GlobalAveragePool: globalPool('GlobalAveragePool'), GlobalMaxPool: globalPool('GlobalMaxPool'),
};
