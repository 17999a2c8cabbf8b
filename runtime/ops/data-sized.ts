import { RuntimeError } from '../errors.js';
import { hasAttribute, intAttribute, notConstant } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, type TensorValue } from '../graph/tensor-value.js';
import { gatherElements } from './movement.js';
import { inputValue, normalizeAxis, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import type { Element } from './whole.js';

// Operators whose results have as many elements as the data says: their types follow from the values of their operands.

/** The operand whose values decide the sizes. @throws RuntimeError E_MODEL_OP while it is not known */
function deciding(context: InferContext): TensorValue {
  const value = context.constants[0];
  if (value === undefined) throw notConstant(context.node, 0, 'X');
  return value;
}

/** Positions of the elements that are not 0, an axis in each row. */
function positions({ dims, data }: TensorValue): TensorValue {
  const found: number[] = [];
  data.forEach((value: number | bigint, i: number) => { if (Number(value) !== 0) found.push(i); });
  const shape = dims.length === 0 ? [1] : dims;
  const rows = shape.flatMap((size, axis) => {
    const inner = elementCount(shape.slice(axis + 1));
    return found.map((i) => Math.floor(i / inner) % size);
  });
  return fromNumbers('int64', [shape.length, found.length], rows);
}

const nonZero: OperatorRecord = {
  linear: true,
  infer: (context) => [{ dtype: 'int64', shape: positions(deciding(context)).dims }],
  evaluate: (context) => [positions(inputValue(context, 0))],
};

/** Slices of a tensor along an axis (all elements without one), and how to compare two of them. */
function slicesOf(node: Node, x: TensorValue): { count: number; axis: number | undefined; offsets: (slice: number) => number[] } {
  if (!hasAttribute(node, 'axis')) return { count: x.data.length, axis: undefined, offsets: (slice) => [slice] };
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), x.dims.length);
  const [count, inner] = [x.dims[axis] ?? 0, elementCount(x.dims.slice(axis + 1))];
  const outer = elementCount(x.dims.slice(0, axis));
  return { count, axis, offsets: (slice) => Array.from({ length: outer * inner }, (_, i) => (Math.floor(i / inner) * count + slice) * inner + (i % inner)) };
}

interface Uniques {
  readonly values: TensorValue;
  readonly first: readonly number[];
  readonly inverse: readonly number[];
  readonly counts: readonly number[];
}

/** Elements among which a Unique looks: each slice is kept as a text. */
const maximumElements = 1 << 22;

function uniquesOf(node: Node, x: TensorValue): Uniques {
  if (x.data.length > maximumElements) throw new RuntimeError('E_MODEL_LIMIT', `Unique '${node.name}': expected at most ${maximumElements} elements but there are ${x.data.length}`, { details: { node: node.name, op: node.op } });
  const { count, axis, offsets } = slicesOf(node, x);
  const numbers = x.data;
  const slices = Array.from({ length: count }, (_, i) => offsets(i).map((at) => numbers[at] ?? 0));
  const seen = new Map<string, number>();
  const found = slices.map((slice, i) => {
    const key = slice.join();
    const known = seen.get(key) ?? i;
    seen.set(key, known);
    return known;
  });
  const first = [...new Set(found)];
  if (intAttribute(node, 'sorted', 1) === 1) first.sort((a, b) => compare(slices[a] ?? [], slices[b] ?? []));
  const rank = new Map(first.map((slice, i) => [slice, i]));
  const inverse = found.map((slice) => rank.get(slice) ?? 0);
  const counts = first.map(() => 0);
  for (const i of inverse) counts[i] = (counts[i] ?? 0) + 1;
  if (axis === undefined) return { values: gatherElements(x, Int32Array.from(first), [first.length]), first, inverse, counts };
  const inner = elementCount(x.dims.slice(axis + 1));
  const outer = elementCount(x.dims.slice(0, axis));
  const chosen = Array.from({ length: outer }, (_, o) => first.flatMap((slice) => Array.from({ length: inner }, (__, i) => (o * count + slice) * inner + i))).flat();
  return { values: gatherElements(x, Int32Array.from(chosen), x.dims.map((size, i) => (i === axis ? first.length : size))), first, inverse, counts };
}

/** By the first elements that differ. */
function compare(a: readonly Element[], b: readonly Element[]): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : (a[at] ?? 0) < (b[at] ?? 0) ? -1 : 1;
}

const unique: OperatorRecord = {
  infer(context) {
    const { values, first, inverse } = uniquesOf(context.node, deciding(context));
    const list = (length: number) => ({ dtype: 'int64' as const, shape: [length] });
    return [{ dtype: values.dtype, shape: values.dims }, list(first.length), list(inverse.length), list(first.length)];
  },
  evaluate(context) {
    const { values, first, inverse, counts } = uniquesOf(context.node, inputValue(context, 0));
    return [values, ...[first, inverse, counts].map((list) => fromNumbers('int64', [list.length], list))];
  },
};

export const dataSizedOps: OpTable = { NonZero: nonZero, Unique: unique };
