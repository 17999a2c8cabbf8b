import { floatAttribute, intAttribute, misshapen, notConstant, oneOf, unsupported } from '../graph/attributes.js';
import { normalizeAxis } from '../ops/op.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';

/** x * sigmoid(alpha x) */
export function swish(b: Builder, x: string, alpha: number): string {
  const m = new Notation(b);
  return m.mul(x, m.op('Sigmoid', m.scale(x, alpha)));
}

const isInf: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const [positive, negative] = [intAttribute(node, 'detect_positive', 1) !== 0, intAttribute(node, 'detect_negative', 1) !== 0];
  if (positive && negative) return [m.op('Equal', m.op('Abs', x), m.number(Infinity))];
  if (!positive && !negative) return [m.op('And', m.op('Equal', x, x), m.number(0, 'bool'))];
  return [m.op('Equal', x, m.number(positive ? Infinity : -Infinity))];
};

/** Which elements of the last two axes are kept: upper keeps column - row >= k, lower column - row <= k. */
const trilu: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const shape = m.shape(x);
  const rank = shape.length;
  if (rank < 2) throw misshapen(node, `Expected at least two axes but received ${rank}`);
  const k = input(node, 1) === '' ? m.number(0, 'int64') : m.reshape(input(node, 1), []);
  const offset = m.sub(m.iota(shape[rank - 1] ?? 0, 1, 2), m.iota(shape[rank - 2] ?? 0, 0, 2));
  const keep = intAttribute(node, 'upper', 1) !== 0 ? m.op('GreaterOrEqual', offset, k) : m.op('LessOrEqual', offset, k);
  return [m.where(keep, x, m.like(x, 0))];
};

/** 1 where the position along the axis is the index, which may count from the end; all off for an index outside. */
const oneHot: Expansion = (b, node) => {
  const m = new Notation(b);
  const [indices, depthName, values] = [input(node), input(node, 1), input(node, 2)];
  const depthValue = b.known(depthName);
  if (depthValue === undefined) throw notConstant(node, 1, 'depth');
  const depth = Number(depthValue.data[0]);
  if (!(depth >= 1)) throw misshapen(node, `Expected a depth of at least 1 but received ${depth}`);
  const shape = m.shape(indices);
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), shape.length + 1);
  const given = m.cast(indices, 'int64');
  const wrapped = m.where(m.op('Less', given, m.number(0, 'int64')), m.add(given, m.number(depth, 'int64')), given);
  const raised = m.reshape(wrapped, [...shape.slice(0, axis), 1, ...shape.slice(axis)]);
  const hit = m.op('Equal', raised, m.iota(depth, axis, shape.length + 1));
  const valueAt = (i: number): string => m.gather(values, m.number(i, 'int64'), 0);
  const off = valueAt(0); // the order of constants is that of their names
  return [m.where(hit, valueAt(1), off)];
};

const eyeLike: Expansion = (b, node) => {
  const m = new Notation(b);
  const shape = m.shape(input(node));
  const [rows = 0, columns = 0] = shape;
  if (shape.length !== 2) throw misshapen(node, `Expected a matrix but received rank ${shape.length}`);
  m.checkConstant(rows * columns);
  const k = intAttribute(node, 'k', 0);
  const given = { 1: 'float32', 6: 'int32', 7: 'int64', 9: 'bool', 2: 'uint8', 3: 'int8', 11: 'float32', 10: 'float32' } as const;
  const wanted = intAttribute(node, 'dtype', 0);
  const dtype = Object.entries(given).find(([code]) => Number(code) === wanted)?.[1] ?? m.dtype(input(node));
  return [m.tensor(dtype, shape, Array.from({ length: rows * columns }, (_, i) => ((i % columns) - Math.floor(i / columns) === k ? 1 : 0)))];
};

/** mean(x^2) along the axes from `axis` on. */
export function rms(m: Notation, x: string, axis: number, epsilon: number): string {
  const axes = m.shape(x).map((_, i) => i).slice(axis);
  const mean = m.reduce('ReduceMean', m.mul(x, x), axes);
  return m.op('Reciprocal', m.op('Sqrt', m.add(mean, m.number(epsilon))));
}

/** x / rms(x) * scale */
const rmsNormalization: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, scale] = [input(node), input(node, 1)];
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), m.shape(x).length);
  const inverse = rms(m, x, axis, floatAttribute(node, 'epsilon', 1e-5));
  const y = m.mul(m.mul(x, inverse), scale);
  return [y, inverse];
};

const reverseSequence: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, lengths] = [input(node), input(node, 1)];
  const [batchAxis, timeAxis] = [intAttribute(node, 'batch_axis', 1), intAttribute(node, 'time_axis', 0)];
  const shape = m.shape(x);
  const along = (value: string, axis: number, n: number) => m.reshape(value, shape.map((_, i) => (i === axis ? n : 1)));
  const [steps, batch] = [shape[timeAxis] ?? 0, shape[batchAxis] ?? 0];
  const at = along(m.iota(steps, 0, 1), timeAxis, steps);
  const length = along(m.cast(lengths, 'int64'), batchAxis, batch);
  const mirrored = m.sub(m.sub(length, m.number(1, 'int64')), at);
  const from = m.where(m.op('Less', at, length), mirrored, at);
  return [b.emit('GatherElements', [x, m.expand(from, shape)], { axis: { type: 'int', value: timeAxis } })];
};

/** Batch statistics, as in training; only the first output is the network's. */
const batchNormalization: Expansion = (b, node) => {
  if (intAttribute(node, 'training_mode', 0) === 0) {
    const parameters = [input(node, 1), input(node, 2), input(node, 3), input(node, 4)] as const;
    if (parameters.every((name) => b.known(name) !== undefined)) return undefined;
    return [normalized(new Notation(b), input(node), parameters, floatAttribute(node, 'epsilon', 1e-5))];
  }
  const m = new Notation(b);
  const [x, scale, bias, mean, variance] = [input(node), input(node, 1), input(node, 2), input(node, 3), input(node, 4)];
  const rest = m.shape(x).map((_, i) => i).filter((i) => i !== 1);
  const channels = m.shape(x)[1] ?? 1;
  const batchMean = m.reduce('ReduceMean', x, rest);
  const centred = m.sub(x, batchMean);
  const batchVariance = m.reduce('ReduceMean', m.mul(centred, centred), rest);
  const flat = (value: string) => m.reshape(value, [channels]);
  const momentum = floatAttribute(node, 'momentum', 0.9);
  const running = (old: string, fresh: string) => m.add(m.scale(old, momentum), m.scale(flat(fresh), 1 - momentum));
  const y = normalized(m, x, [scale, bias, flat(batchMean), flat(batchVariance)], floatAttribute(node, 'epsilon', 1e-5));
  return [y, running(mean, batchMean), running(variance, batchVariance)];
};

/** (x - mean) / sqrt(variance + epsilon) * scale + bias, by channel. */
function normalized(m: Notation, x: string, parameters: readonly [scale: string, bias: string, mean: string, variance: string], epsilon: number): string {
  const shape = m.shape(x);
  const byChannel = (value: string): string => m.reshape(value, shape.map((_, i) => (i === 1 ? (shape[1] ?? 1) : 1)).slice(1));
  const [scale, bias, mean, variance] = [byChannel(parameters[0]), byChannel(parameters[1]), byChannel(parameters[2]), byChannel(parameters[3])];
  const factor = m.div(scale, m.op('Sqrt', m.add(variance, m.number(epsilon))));
  return m.add(m.mul(m.sub(x, mean), factor), bias);
}

/** Bounds that are computed: the larger, then the smaller of two. */
const clip: Expansion = (b, node) => {
  const [x, low, high] = [input(node), input(node, 1), input(node, 2)];
  if ([low, high].every((bound) => bound === '' || b.known(bound) !== undefined)) return undefined;
  const m = new Notation(b);
  const above = low === '' ? x : m.op('Max', x, m.reshape(low, []));
  return [high === '' ? above : m.op('Min', above, m.reshape(high, []))];
};

const castLike: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, like] = [input(node), input(node, 1)];
  return [m.dtype(x) === m.dtype(like) ? m.op('Identity', x) : m.cast(x, m.dtype(like))];
};

/** Whole numbers to a power that need not be whole. */
const pow: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, y] = [input(node), input(node, 1)];
  if (m.dtype(x) === 'float32' || m.dtype(y) !== 'float32') return undefined;
  return [m.cast(m.op('Pow', m.cast(x, 'float32'), y), m.dtype(x))];
};

/**
 * A shift by n bits is a product with 2^n, or a quotient, and nothing is left of a byte after eight. Only unsigned numbers are shifted, so what is held as
 * int32 has 16 bits; what would leave them is taken off before the product.
 */
const bitShift: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, bits] = [input(node), input(node, 1)];
  const dtype = m.dtype(x);
  if (dtype === 'uint32' || dtype === 'uint64') return undefined;
  if (dtype !== 'uint8' && dtype !== 'int32') throw unsupported(node, `Expected unsigned whole numbers but received ${dtype}`);
  const width = dtype === 'uint8' ? 8 : 16;
  const table = (power: (i: number) => number): string => m.tensor(dtype, [width], Array.from({ length: width }, (_, i) => power(i)));
  const few = m.op('Less', m.cast(bits, 'int32'), m.number(width, 'int32'));
  const at = m.where(few, m.cast(bits, 'int32'), m.number(0, 'int32'));
  const power = m.gather(table((i) => 2 ** i), at, 0);
  const staying = (): string => (width === 8 ? x : m.op('Mod', x, m.gather(table((i) => 2 ** (width - i)), at, 0)));
  const shifted = oneOf(node, 'direction', ['LEFT', 'RIGHT'], 'LEFT') === 'LEFT' ? m.mul(staying(), power) : m.div(x, power);
  return [m.where(few, shifted, m.number(0, dtype))];
};

export const elementwise: Readonly<Record<string, Expansion>> = {
  IsNaN(b, node) {
    const m = new Notation(b);
    return [m.op('Not', m.op('Equal', input(node), input(node)))];
  },
  IsInf: isInf, Trilu: trilu, OneHot: oneHot, EyeLike: eyeLike, RMSNormalization: rmsNormalization, ReverseSequence: reverseSequence,
  BatchNormalization: batchNormalization, Clip: clip, CastLike: castLike, Pow: pow, BitShift: bitShift,
  Swish: (b, node) => [swish(b, input(node), floatAttribute(node, 'alpha', 1))],
};
