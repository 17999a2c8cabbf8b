import { int, intAttribute, oneOf, requiredInt, string, type AttributeRecord } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { allocate, fromNumbers, isBig, stridesOf, type TensorValue } from '../graph/tensor-value.js';
import { alongPixels } from './cell-flow.js';
import { compareEach, foldWhole, wholeFunctions, zipWhole } from './exact.js';
import { stridedOffsets } from './indexing.js';
import { broadcast, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { needsAlong, needsBroadcast } from './regions.js';
import { throughAll, throughAxis } from './transpose-rules.js';

// Core operators on whole numbers (int32 and int64) and booleans. Bytes are widened to int32 before, and narrowed modulo 256 after.

/** An element as its array holds it: whole numbers of 64 bits are big integers. */
export type Element = number | bigint;

export const integerKinds = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pow', 'mod', 'fmod'] as const;
export type IntegerKind = (typeof integerKinds)[number];
export const coreIntegerKind = (node: Node): IntegerKind => oneOf(node, 'kind', integerKinds, 'add');

const broadcastShape: (context: Parameters<OperatorRecord['infer']>[0]) => number[] = (context) =>
  broadcast(context.node, inputType(context, 0).shape, inputType(context, 1).shape);

/** Of two operands, element by element. */
const ofElements = { linear: true, transpose: throughAll, needs: needsBroadcast, pixels: 'any' } as const;

const binaryS32: OperatorRecord = {
  ...ofElements,
  infer: (context) => [{ dtype: inputType(context, 0).dtype, shape: broadcastShape(context) }],
  evaluate: (context) => [zipWhole(inputValue(context, 0), inputValue(context, 1), outputType(context), wholeFunctions[coreIntegerKind(context.node)])],
};

const predicate = <K extends string>(kindOf: (node: Node) => K, functions: Readonly<Record<K, (a: number | bigint, b: number | bigint) => boolean>>): OperatorRecord => ({
  ...ofElements,
  infer: (context) => [{ dtype: 'bool', shape: broadcastShape(context) }],
  evaluate: (context) => [compareEach(inputValue(context, 0), inputValue(context, 1), outputType(context).shape, functions[kindOf(context.node)])],
});

export const compareKinds = ['equal', 'less', 'less_or_equal'] as const;
export type CompareKind = (typeof compareKinds)[number];
export const coreCompareKind = (node: Node): CompareKind => oneOf(node, 'kind', compareKinds, 'equal');

export const logicKinds = ['and', 'or', 'xor'] as const;
export type LogicKind = (typeof logicKinds)[number];
export const coreLogicKind = (node: Node): LogicKind => oneOf(node, 'kind', logicKinds, 'and');

export const kindAttribute = (kind: string): AttributeRecord => ({ kind: string(kind) });

/** For each line of x along an axis, what `line` makes of its elements: `length` numbers, in the line's place. */
export function alongAxis(x: TensorValue, axis: number, length: number, line: (values: readonly Element[]) => readonly number[]): { dims: number[]; numbers: Float64Array } {
  const dims = x.dims.map((dim, i) => (i === axis ? length : dim));
  const others = x.dims.map((dim, i) => (i === axis ? 1 : dim));
  const [from, to] = [stridesOf(x.dims), stridesOf(dims)];
  const [starts, targets] = [stridedOffsets(others, from), stridedOffsets(others, to)];
  const numbers = new Float64Array(dims.reduce((count, dim) => count * dim, 1));
  starts.forEach((start, i) => {
    const values = Array.from({ length: x.dims[axis] ?? 1 }, (_, at) => x.data[start + at * (from[axis] ?? 1)] ?? 0);
    line(values).forEach((value, at) => (numbers[(targets[i] ?? 0) + at * (to[axis] ?? 1)] = value));
  });
  return { dims, numbers };
}

/** Reduces one axis, which stays as 1. */
export const reduceS32Attributes = (kind: IntegerKind, axis: number): AttributeRecord => ({ kind: string(kind), axis: int(axis) });

/** Each line along the attribute `axis` by itself. */
const ofLines = {
  linear: true, transpose: throughAxis('axis'), needs: needsAlong((node) => [requiredInt(node, 'axis')]), pixels: 'any',
} as const;

const reduceS32: OperatorRecord = {
  ...ofLines,
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: shape.map((dim, i) => (i === requiredInt(context.node, 'axis') ? 1 : dim)) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { shape } = outputType(context);
    const kept = stridesOf(shape).map((stride, i) => (i === requiredInt(context.node, 'axis') ? 0 : stride));
    return [foldWhole(x, shape, stridedOffsets(x.dims, kept), { fn: wholeFunctions[coreIntegerKind(context.node)], start: 0 })];
  },
};

/** NaN above all numbers, as the engine orders them. */
const above = (a: Element, b: Element): boolean => a > b || (Number.isNaN(a) && !Number.isNaN(b));

/** Indices in the order of their values: the largest (or smallest) first, of equal ones the first. */
export function ranked(values: readonly Element[], smallest: boolean): number[] {
  const order = (a: Element, b: Element) => (above(a, b) ? -1 : above(b, a) ? 1 : 0);
  return values.map((_, i) => i).sort((i, j) => (smallest ? -1 : 1) * order(values[i] ?? 0, values[j] ?? 0) || i - j);
}

const flag = (node: Node, name: string): boolean => intAttribute(node, name, 0) !== 0;

/** Index of the largest or smallest element along an axis, which stays as 1. */
export const argReduceAttributes = (axis: number, smallest: boolean, last: boolean): AttributeRecord => ({ axis: int(axis), smallest: int(smallest ? 1 : 0), last: int(last ? 1 : 0) });

const argReduce: OperatorRecord = {
  ...ofLines, cells: alongPixels((node) => [requiredInt(node, 'axis')]),
  infer: (context) => [{ dtype: 'int64', shape: inputType(context, 0).shape.map((dim, i) => (i === requiredInt(context.node, 'axis') ? 1 : dim)) }],
  evaluate(context) {
    const { node } = context;
    const extreme = (values: readonly Element[]): number => {
      const [best = 0] = ranked(values, flag(node, 'smallest'));
      const alike = (value: Element): boolean => !above(value, values[best] ?? 0) && !above(values[best] ?? 0, value);
      return flag(node, 'last') ? values.findLastIndex(alike) : best;
    };
    const { dims, numbers } = alongAxis(inputValue(context, 0), requiredInt(node, 'axis'), 1, (values) => [extreme(values)]);
    return [fromNumbers('int64', dims, numbers)];
  },
};

/** Indices of the k largest or smallest elements along an axis, the best first. */
export const topKAttributes = (axis: number, k: number, smallest: boolean): AttributeRecord => ({ axis: int(axis), k: int(k), smallest: int(smallest ? 1 : 0) });

const topKIndices: OperatorRecord = {
  ...ofLines,
  infer: (context) => [{ dtype: 'int64', shape: inputType(context, 0).shape.map((dim, i) => (i === requiredInt(context.node, 'axis') ? requiredInt(context.node, 'k') : dim)) }],
  evaluate(context) {
    const { node } = context;
    const k = requiredInt(node, 'k');
    const { dims, numbers } = alongAxis(inputValue(context, 0), requiredInt(node, 'axis'), k, (values) => ranked(values, flag(node, 'smallest')).slice(0, k));
    return [fromNumbers('int64', dims, numbers)];
  },
};

/** Sums of all elements up to each one; without itself when exclusive, from the end when reversed. */
export const runningSumAttributes = (axis: number, exclusive: boolean, reverse: boolean): AttributeRecord => ({ axis: int(axis), exclusive: int(exclusive ? 1 : 0), reverse: int(reverse ? 1 : 0) });

export function runningSums(x: TensorValue, axis: number, { exclusive, reverse }: { exclusive: boolean; reverse: boolean }): TensorValue {
  const strides = stridesOf(x.dims);
  const [step, count] = [strides[axis] ?? 1, x.dims[axis] ?? 1];
  const out = allocate(x.dtype, x.data.length);
  for (const start of stridedOffsets(x.dims.map((dim, i) => (i === axis ? 1 : dim)), strides)) {
    let [sum, wide] = [0, 0n];
    for (let i = 0; i < count; i++) {
      const at = start + (reverse ? count - 1 - i : i) * step;
      const [before, wideBefore] = [sum, wide];
      if (isBig(x.data) && isBig(out)) out[at] = exclusive ? wideBefore : wideBefore + (x.data[at] ?? 0n);
      else out[at] = exclusive ? before : before + Number(x.data[at] ?? 0);
      if (isBig(x.data)) wide += x.data[at] ?? 0n;
      else sum += x.data[at] ?? 0;
    }
  }
  return { dtype: x.dtype, dims: x.dims, data: out };
}

const runningSum: OperatorRecord = {
  ...ofLines,
  infer: (context) => [inputType(context, 0)],
  evaluate: ({ node, inputs: [x] }) => (x === undefined ? [] : [runningSums(x, requiredInt(node, 'axis'), { exclusive: flag(node, 'exclusive'), reverse: flag(node, 'reverse') })]),
};

export const wholeOps: OpTable = {
  BinaryS32: binaryS32,
  Compare: predicate(coreCompareKind, { equal: (a, b) => a === b, less: (a, b) => a < b, less_or_equal: (a, b) => a <= b }),
  Logic: predicate(coreLogicKind, { and: (a, b) => Boolean(a) && Boolean(b), or: (a, b) => Boolean(a) || Boolean(b), xor: (a, b) => Boolean(a) !== Boolean(b) }),
  ReduceS32: reduceS32, ArgReduce: argReduce, TopKIndices: topKIndices, RunningSum: runningSum,
};
