import { intAttribute, intsAttribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, reshaped, stridesOf, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { absolute, foldWhole, isWhole, wholeFunctions, zipWhole, type WholeFunction } from './exact.js';
import { stridedOffsets } from './indexing.js';
import { constantInts, inputType, inputValue, normalizeAxis, outputType, sharing, type OperatorRecord, type OpTable } from './op.js';

export const reduceKinds = {
  ReduceMean: 'mean', ReduceSum: 'sum', ReduceMax: 'max', ReduceMin: 'min', ReduceL2: 'l2', ReduceSumSquare: 'sum_square', ReduceProd: 'product',
} as const;
/** Reductions that the core operators express through the others. */
export const composedKinds = { ReduceL1: 'l1', ReduceLogSum: 'log_sum', ReduceLogSumExp: 'log_sum_exp' } as const;
export type ComposedKind = (typeof composedKinds)[keyof typeof composedKinds];
export type ReduceKind = (typeof reduceKinds)[keyof typeof reduceKinds];
export const allReduceKinds: readonly ReduceKind[] = Object.values(reduceKinds);

/** The axes a reduction removes; an attribute at first, an input since operator set 13 (sum) or 18. */
export function reducedAxes(node: Node, rank: number, given: readonly number[] | undefined): number[] {
  const axes = intsAttribute(node, 'axes') ?? given ?? [];
  if (axes.length > 0) return [...new Set(axes.map((axis) => normalizeAxis(node, axis, rank)))].sort((a, b) => a - b);
  return intAttribute(node, 'noop_with_empty_axes', 0) === 1 ? [] : Array.from({ length: rank }, (_, i) => i);
}

export function reducedShape(shape: Shape, axes: readonly number[], keep: boolean): number[] {
  if (keep) return shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  return shape.filter((_, i) => !axes.includes(i));
}

/** log(exp(a) + exp(b)), of which neither need be finite. */
const logAddExp = (a: number, b: number): number => (a === -Infinity ? b : Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b))));

const folds: Readonly<Record<ReduceKind | ComposedKind, { start: number; step: (sum: number, x: number) => number; end: (sum: number, count: number) => number }>> = {
  mean: { start: 0, step: (sum, x) => sum + x, end: (sum, count) => sum / count },
  sum: { start: 0, step: (sum, x) => sum + x, end: (sum) => sum },
  max: { start: -Infinity, step: Math.max, end: (sum) => sum },
  min: { start: Infinity, step: Math.min, end: (sum) => sum },
  l2: { start: 0, step: (sum, x) => sum + x * x, end: Math.sqrt },
  sum_square: { start: 0, step: (sum, x) => sum + x * x, end: (sum) => sum },
  l1: { start: 0, step: (sum, x) => sum + Math.abs(x), end: (sum) => sum },
  log_sum: { start: 0, step: (sum, x) => sum + x, end: Math.log },
  log_sum_exp: { start: -Infinity, step: logAddExp, end: (sum) => sum },
  product: { start: 1, step: (sum, x) => sum * x, end: (sum) => sum },
};

const reduction = (kind: ReduceKind | ComposedKind): OperatorRecord => ({
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    const axes = reducedAxes(context.node, shape.length, constantInts(context, 1, 'axes'));
    return [{ dtype, shape: reducedShape(shape, axes, intAttribute(context.node, 'keepdims', 1) === 1) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const given = context.inputs[1] === undefined ? undefined : Array.from(context.inputs[1].data, Number);
    return [reshaped(reduceValue(x, kind, reducedAxes(context.node, x.dims.length, given)), outputType(context).shape)];
  },
});

const wholeReductions = {
  sum: { fn: wholeFunctions.add, start: 0 }, product: { fn: wholeFunctions.mul, start: 1 }, l1: { fn: wholeFunctions.add, start: 0, of: absolute },
  max: { fn: wholeFunctions.max, start: -Infinity }, min: { fn: wholeFunctions.min, start: Infinity },
  sum_square: { fn: wholeFunctions.add, start: 0, of: (x) => zipWhole(x, x, { dtype: x.dtype, shape: x.dims }, wholeFunctions.mul) },
} as const satisfies Partial<Record<ReduceKind | ComposedKind, { fn: WholeFunction; start: number; of?: (x: TensorValue) => TensorValue }>>;
const isWholeReduction = (kind: string): kind is keyof typeof wholeReductions => Object.hasOwn(wholeReductions, kind);

/** Reduces along `axes`, which stay as ones. */
export function reduceValue(x: TensorValue, kind: ReduceKind | ComposedKind, axes: readonly number[]): TensorValue {
  const kept = reducedShape(x.dims, axes, true);
  const strides = stridesOf(kept);
  const offsets = stridedOffsets(x.dims, x.dims.map((_, i) => (axes.includes(i) ? 0 : (strides[i] ?? 0))));
  if (isWhole(x.dtype) && isWholeReduction(kind)) {
    const { fn, start, of = (value: TensorValue) => value } = { of: undefined, ...wholeReductions[kind] };
    return foldWhole(of(x), kept, offsets, { fn, start });
  }
  const { start, step, end } = folds[kind];
  const sums = new Float64Array(elementCount(kept)).fill(start);
  toNumbers(x).forEach((value, i) => (sums[offsets[i] ?? 0] = step(sums[offsets[i] ?? 0] ?? 0, value)));
  const count = elementCount(x.dims) / Math.max(1, sums.length);
  return fromNumbers(x.dtype, kept, sums.map((sum) => end(sum, count)));
}

export const reductionOps: OpTable = sharing({ linear: true }, Object.fromEntries(Object.entries({ ...reduceKinds, ...composedKinds }).map(([op, kind]) => [op, reduction(kind)])));
