import { floatAttribute, intAttribute, intsAttribute, misshapen, requiredInt, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, mapNumbers, reshaped, type Shape, stridesOf, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { zip } from './binary.js';
import { broadcastOffsets, stridedOffsets } from './indexing.js';
import { broadcast, expectType, inputType, inputValue, normalizeAxis, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { reducedShape } from './reduction.js';

// Normalization by statistics of the data itself: instance, layer, group, mean and variance, p-norm, local response.

/** The spatial axes of [N, C, spatial...]. */
export const spatialAxes = (rank: number): number[] => Array.from({ length: Math.max(0, rank - 2) }, (_, i) => i + 2);

/** The axes that a LayerNormalization normalizes over: its own and all that follow. */
export function layerNormAxes(node: Node, rank: number): number[] {
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), rank);
  return Array.from({ length: rank - axis }, (_, i) => axis + i);
}

/** The axes of a MeanVarianceNormalization; [0, 2, 3] when it does not say. */
export const meanVarianceAxes = (node: Node, rank: number): number[] => (intsAttribute(node, 'axes') ?? [0, 2, 3]).map((axis) => normalizeAxis(node, axis, rank));

/** What MeanVarianceNormalization adds to the standard deviation (ONNX, its function body). */
export const meanVarianceEpsilon = 1e-9;

/** Number of groups of a GroupNormalization over [N, C, ..]. */
export function groupsOf(node: Node, shape: Shape): number {
  const groups = requiredInt(node, 'num_groups');
  const channels = shape[1] ?? 1;
  if (groups < 1 || channels % groups !== 0) throw misshapen(node, `${channels} channels and ${groups} groups`);
  return groups;
}

/** Exponent of a p-norm. */
export function normExponent(node: Node, allowed: (p: number) => boolean): number {
  const p = intAttribute(node, 'p', 2);
  if (!allowed(p)) throw unsupported(node, `an exponent of ${p}`, 'p');
  return p;
}
export const isOneOrTwo = (p: number): boolean => p === 1 || p === 2;

interface Statistics {
  readonly centred: Float64Array;
  /** For each element of the reduced shape. */
  readonly mean: Float64Array;
  readonly variance: Float64Array;
  /** Where the statistics of element i are. */
  readonly at: Int32Array;
  readonly reduced: Shape;
}

/** Mean and variance over `axes`, in double precision. */
function statistics(x: TensorValue, axes: readonly number[]): Statistics {
  const reduced = reducedShape(x.dims, axes, true);
  const strides = stridesOf(reduced);
  const at = stridedOffsets(x.dims, x.dims.map((_, i) => (axes.includes(i) ? 0 : (strides[i] ?? 0))));
  const count = elementCount(x.dims) / Math.max(1, elementCount(reduced));
  const averaged = (values: ArrayLike<number>) => {
    const sums = new Float64Array(elementCount(reduced));
    for (let i = 0; i < values.length; i++) sums[at[i] ?? 0] = (sums[at[i] ?? 0] ?? 0) + (values[i] ?? 0) / count;
    return sums;
  };
  const data = toNumbers(x);
  const mean = averaged(data);
  const centred = mapNumbers(data, (value, i) => value - (mean[at[i] ?? 0] ?? 0));
  return { centred, mean, variance: averaged(centred.map((d) => d * d)), at, reduced };
}

export function standardized(x: TensorValue, axes: readonly number[], epsilon: number): TensorValue {
  const { centred, variance, at } = statistics(x, axes);
  return fromNumbers('float32', x.dims, centred.map((d, i) => d / Math.sqrt((variance[at[i] ?? 0] ?? 0) + epsilon)));
}

/** x * scale + bias, both broadcast. */
export function scaledAndShifted(x: TensorValue, scale: TensorValue, bias: TensorValue | undefined): TensorValue {
  const type = { dtype: 'float32', shape: x.dims } as const;
  const scaled = zip(x, scale, type, (a, b) => a * b);
  return bias === undefined ? scaled : zip(scaled, bias, type, (a, b) => a + b);
}

/** One value for each channel, as it broadcasts over [N, C, ..]. */
const perChannel = (value: TensorValue, rank: number): TensorValue => reshaped(value, [value.data.length, ...new Array<number>(rank - 2).fill(1)]);

function expectChannels(context: InferContext, index: number, count: number): void {
  const { shape } = inputType(context, index);
  if (shape.length !== 1 || shape[0] !== count) throw misshapen(context.node, `input ${index}: expected [${count}] but received [${shape.join(', ')}]`);
}

const instanceNorm: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    if (x.shape.length < 3) throw misshapen(context.node, `an input of rank ${x.shape.length}`);
    for (const index of [1, 2]) expectChannels(context, index, x.shape[1] ?? 1);
    return [x];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const normal = standardized(x, spatialAxes(x.dims.length), floatAttribute(context.node, 'epsilon', 1e-5));
    const [scale, bias] = [1, 2].map((i) => perChannel(inputValue(context, i), x.dims.length));
    return scale === undefined ? [] : [scaledAndShifted(normal, scale, bias)];
  },
};

const layerNorm: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    const axes = layerNormAxes(context.node, x.shape.length);
    for (const index of context.inputs[2] === undefined ? [1] : [1, 2]) {
      const shape = broadcast(context.node, x.shape, inputType(context, index).shape);
      if (shape.join() !== x.shape.join()) throw misshapen(context.node, `input ${index} widens the result to [${shape.join(', ')}]`);
    }
    const statistic = { dtype: 'float32', shape: reducedShape(x.shape, axes, true) } as const;
    return [x, statistic, statistic];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const axes = layerNormAxes(context.node, x.dims.length);
    const epsilon = floatAttribute(context.node, 'epsilon', 1e-5);
    const { mean, variance, reduced } = statistics(x, axes);
    const inverse = variance.map((v) => 1 / Math.sqrt(v + epsilon));
    const y = scaledAndShifted(standardized(x, axes, epsilon), inputValue(context, 1), context.inputs[2]);
    return [y, fromNumbers('float32', reduced, mean), fromNumbers('float32', reduced, inverse)];
  },
};

/** Scale and bias are one for each group in operator set 18, one for each channel since 21. */
const groupNorm: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    const groups = groupsOf(context.node, x.shape);
    for (const index of [1, 2]) expectChannels(context, index, context.opset < 21 ? groups : (x.shape[1] ?? 1));
    return [x];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const groups = groupsOf(context.node, x.dims);
    const [n = 1, c = 1] = x.dims;
    const grouped = reshaped(x, [n, groups, elementCount(x.dims) / (n * groups)]);
    const normal = reshaped(standardized(grouped, [2], floatAttribute(context.node, 'epsilon', 1e-5)), x.dims);
    const [scale, bias] = [1, 2].map((i) => {
      const value = toNumbers(inputValue(context, i));
      const channels = mapNumbers({ length: c }, (_, channel) => value[Math.floor((channel * value.length) / c)] ?? 0);
      return perChannel(fromNumbers('float32', [c], channels), x.dims.length);
    });
    return scale === undefined ? [] : [scaledAndShifted(normal, scale, bias)];
  },
};

const meanVarianceNorm: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    meanVarianceAxes(context.node, x.shape.length);
    return [x];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { centred, variance, at } = statistics(x, meanVarianceAxes(context.node, x.dims.length));
    return [fromNumbers('float32', x.dims, centred.map((d, i) => d / (Math.sqrt(variance[at[i] ?? 0] ?? 0) + meanVarianceEpsilon)))];
  },
};

/** Sums of |x|^p over `axes`, which stay as ones, to the power 1 / p. */
function pNorm(x: TensorValue, p: number, axes: readonly number[]): TensorValue {
  const shape = reducedShape(x.dims, axes, true);
  const at = broadcastOffsets(shape, x.dims);
  const sums = new Float64Array(elementCount(shape));
  toNumbers(x).forEach((value, i) => (sums[at[i] ?? 0] = (sums[at[i] ?? 0] ?? 0) + Math.abs(value) ** p));
  return fromNumbers('float32', shape, sums.map((sum) => sum ** (1 / p)));
}

/** What is zero throughout stays zero. */
const lpNorm: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    normalizeAxis(context.node, intAttribute(context.node, 'axis', -1), x.shape.length);
    normExponent(context.node, isOneOrTwo);
    return [x];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const axis = normalizeAxis(context.node, intAttribute(context.node, 'axis', -1), x.dims.length);
    const norm = pNorm(x, normExponent(context.node, isOneOrTwo), [axis]);
    return [zip(x, norm, { dtype: 'float32', shape: x.dims }, (a, b) => (b === 0 ? 0 : a / b))];
  },
};

const globalLpPool: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    normExponent(context.node, (p) => p >= 1);
    return [{ dtype: 'float32', shape: reducedShape(x.shape, spatialAxes(x.shape.length), true) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    return [pNorm(x, normExponent(context.node, (p) => p >= 1), spatialAxes(x.dims.length))];
  },
};

export interface LocalResponse {
  readonly size: number;
  readonly alpha: number;
  readonly beta: number;
  readonly bias: number;
}

/** y = x / (bias + alpha / size * sum of the squares of `size` neighbouring channels)^beta */
export function localResponseOf(node: Node): LocalResponse {
  const size = requiredInt(node, 'size');
  if (size < 1) throw unsupported(node, `Expected at least 1 but received ${size}`, 'size');
  return { size, alpha: floatAttribute(node, 'alpha', 1e-4), beta: floatAttribute(node, 'beta', 0.75), bias: floatAttribute(node, 'bias', 1) };
}

/** Whether channel `other` is among the neighbours of `channel`. */
export function isNeighbour(channel: number, other: number, { size }: LocalResponse): boolean {
  return other >= channel - Math.floor((size - 1) / 2) && other <= channel + Math.ceil((size - 1) / 2);
}

const localResponseNorm: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    if (x.shape.length < 3) throw misshapen(context.node, `an input of rank ${x.shape.length}`);
    localResponseOf(context.node);
    return [x];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const response = localResponseOf(context.node);
    const data = toNumbers(x);
    const channels = x.dims[1] ?? 1;
    const inner = elementCount(x.dims.slice(2));
    return [fromNumbers('float32', x.dims, mapNumbers(data, (value, i) => {
      const channel = Math.floor(i / inner) % channels;
      let sum = 0;
      for (let other = 0; other < channels; other++) {
        if (isNeighbour(channel, other, response)) sum += (data[i + (other - channel) * inner] ?? 0) ** 2;
      }
      return value / (response.bias + (response.alpha / response.size) * sum) ** response.beta;
    }))];
  },
};

export const standardizationOps: OpTable = {
  InstanceNormalization: instanceNorm, LayerNormalization: layerNorm, GroupNormalization: groupNorm, MeanVarianceNormalization: meanVarianceNorm,
  LpNormalization: lpNorm, GlobalLpPool: globalLpPool, LRN: localResponseNorm,
};
