import { int, intAttribute, oneOf, requiredInt, string, type AttributeRecord } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { fromNumbers, stridesOf, toNumbers, type TensorValue } from '../graph/tensor-value.js';
import { alongPixels } from './cell-flow.js';
import { zip } from './binary.js';
import { stridedOffsets } from './indexing.js';
import { broadcast, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { needsAlong, needsBroadcast } from './regions.js';
import { throughAll, throughAxis } from './transpose-rules.js';

// Core operators on whole numbers (int32 and int64) and booleans. Bytes are widened to int32 before, and narrowed modulo 256 after.

export const integerKinds = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pow', 'mod', 'fmod'] as const;
export type IntegerKind = (typeof integerKinds)[number];
export const coreIntegerKind = (node: Node): IntegerKind => oneOf(node, 'kind', integerKinds, 'add');

/** Division by zero ends a run with an error; the reference gives 0, as constant folding of dead branches may meet it. */
const integerFunctions: Readonly<Record<IntegerKind, (a: number, b: number) => number>> = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, min: Math.min, max: Math.max,
  div: (a, b) => (b === 0 ? 0 : Math.trunc(a / b)),
  pow: (a, b) => Math.trunc(a ** b),
  mod: (a, b) => (b === 0 ? 0 : ((a % b) + b) % b),
  fmod: (a, b) => (b === 0 ? 0 : a % b),
};

const broadcastShape: (context: Parameters<OperatorRecord['infer']>[0]) => number[] = (context) =>
  broadcast(context.node, inputType(context, 0).shape, inputType(context, 1).shape);

/** Of two operands, element by element. */
const ofElements = { linear: true, transpose: throughAll, needs: needsBroadcast, pixels: 'any' } as const;

const binaryS32: OperatorRecord = {
  ...ofElements,
  infer: (context) => [{ dtype: inputType(context, 0).dtype, shape: broadcastShape(context) }],
  evaluate: (context) => [zip(inputValue(context, 0), inputValue(context, 1), outputType(context), integerFunctions[coreIntegerKind(context.node)])],
};

const predicate = <K extends string>(kindOf: (node: Node) => K, functions: Readonly<Record<K, (a: number, b: number) => boolean>>): OperatorRecord => ({
  ...ofElements,
  infer: (context) => [{ dtype: 'bool', shape: broadcastShape(context) }],
  evaluate(context) {
    const fn = functions[kindOf(context.node)];
    return [zip(inputValue(context, 0), inputValue(context, 1), outputType(context), (a, b) => (fn(a, b) ? 1 : 0))];
  },
});

export const compareKinds = ['equal', 'less', 'less_or_equal'] as const;
export type CompareKind = (typeof compareKinds)[number];
export const coreCompareKind = (node: Node): CompareKind => oneOf(node, 'kind', compareKinds, 'equal');

export const logicKinds = ['and', 'or', 'xor'] as const;
export type LogicKind = (typeof logicKinds)[number];
export const coreLogicKind = (node: Node): LogicKind => oneOf(node, 'kind', logicKinds, 'and');

export const kindAttribute = (kind: string): AttributeRecord => ({ kind: string(kind) });

/** For each line of x along an axis: its elements, and where they are. `write` puts numbers into the line's place in the result. */
export function alongAxis(x: TensorValue, axis: number, length: number, line: (values: number[]) => readonly number[]): { dims: number[]; numbers: Float64Array } {
  const dims = x.dims.map((dim, i) => (i === axis ? length : dim));
  const others = x.dims.map((dim, i) => (i === axis ? 1 : dim));
  const [from, to] = [stridesOf(x.dims), stridesOf(dims)];
  const [starts, targets] = [stridedOffsets(others, from), stridedOffsets(others, to)];
  const data = toNumbers(x);
  const numbers = new Float64Array(dims.reduce((count, dim) => count * dim, 1));
  starts.forEach((start, i) => {
    const values = Array.from({ length: x.dims[axis] ?? 1 }, (_, at) => data[start + at * (from[axis] ?? 1)] ?? 0);
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
    const fn = integerFunctions[coreIntegerKind(context.node)];
    const { dims, numbers } = alongAxis(x, requiredInt(context.node, 'axis'), 1, (values) => [values.reduce((a, b) => fn(a, b))]);
    return [fromNumbers(x.dtype, dims, numbers)];
  },
};

/** NaN above all numbers, as the engine orders them. */
const above = (a: number, b: number): boolean => a > b || (Number.isNaN(a) && !Number.isNaN(b));

/** Indices in the order of their values: the largest (or smallest) first, of equal ones the first. */
export function ranked(values: readonly number[], smallest: boolean): number[] {
  const order = (a: number, b: number) => (above(a, b) ? -1 : above(b, a) ? 1 : 0);
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
    const extreme = (values: readonly number[]): number => {
      const [best = 0] = ranked(values, flag(node, 'smallest'));
      const alike = (value: number): boolean => !above(value, values[best] ?? 0) && !above(values[best] ?? 0, value);
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

export function runningSums(values: readonly number[], exclusive: boolean, reverse: boolean): number[] {
  const given = reverse ? [...values].reverse() : values;
  let sum = 0;
  const sums = given.map((value) => {
    const before = sum;
    sum += value;
    return exclusive ? before : sum;
  });
  return reverse ? sums.reverse() : sums;
}

const runningSum: OperatorRecord = {
  ...ofLines,
  infer: (context) => [inputType(context, 0)],
  evaluate(context) {
    const x = inputValue(context, 0);
    const axis = requiredInt(context.node, 'axis');
    const { dims, numbers } = alongAxis(x, axis, x.dims[axis] ?? 1, (values) => runningSums(values, flag(context.node, 'exclusive'), flag(context.node, 'reverse')));
    return [fromNumbers(x.dtype, dims, numbers)];
  },
};

export const wholeOps: OpTable = {
  BinaryS32: binaryS32,
  Compare: predicate(coreCompareKind, { equal: (a, b) => a === b, less: (a, b) => a < b, less_or_equal: (a, b) => a <= b }),
  Logic: predicate(coreLogicKind, { and: (a, b) => a !== 0 && b !== 0, or: (a, b) => a !== 0 || b !== 0, xor: (a, b) => (a !== 0) !== (b !== 0) }),
  ReduceS32: reduceS32, ArgReduce: argReduce, TopKIndices: topKIndices, RunningSum: runningSum,
};
