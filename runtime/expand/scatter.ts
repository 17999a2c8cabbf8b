import { intAttribute, misshapen, oneOf, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, type DType } from '../graph/tensor-value.js';
import { normalizeAxis } from '../ops/op.js';
import { type Expansion, input, Notation } from './builder.js';

// Updates at places that are computed: every place is compared with every index, and the last update that hits it is taken, or all are reduced.

/** Comparisons of a place with an index in one node; an engine would rather write the updates one by one above it. */
const maximumComparisons = 1 << 22;

/** Checked before anything of that size is made. */
function checkComparisons(node: Node, count: number, places: number): void {
  if (count * places > maximumComparisons) throw unsupported(node, `${count} updates of ${places} places take more than ${maximumComparisons} comparisons; make the indices constant, or scatter fewer at a time`, 'indices');
}

const reductions = ['none', 'add', 'mul', 'min', 'max'] as const;
type Reduction = (typeof reductions)[number];

/** Indices of an axis counted from its start. An index outside the axis ends the run with an error, as for every gather. */
function resolved(m: Notation, indices: string, size: number): string {
  return m.gather(m.iota(size, 0, 1), indices, 0);
}

/** Where a neutral element is the smallest or largest number of a type. Programs have 32 bits of int64, and a run of its own has all of them. */
const extremes: Partial<Readonly<Record<DType, readonly [number, number]>>> = {
  float32: [-Infinity, Infinity], uint8: [0, 255], int8: [-128, 127], bool: [0, 1], uint32: [0, 2 ** 32 - 1], uint64: [0, 2 ** 64],
};

const combining: Readonly<Record<Exclude<Reduction, 'none'>, { readonly reduce: 'ReduceSum' | 'ReduceProd' | 'ReduceMin' | 'ReduceMax'; readonly pair: string; readonly neutral: number }>> = {
  add: { reduce: 'ReduceSum', pair: 'Add', neutral: 0 }, mul: { reduce: 'ReduceProd', pair: 'Mul', neutral: 1 },
  min: { reduce: 'ReduceMin', pair: 'Min', neutral: Infinity }, max: { reduce: 'ReduceMax', pair: 'Max', neutral: -Infinity },
};

/** x [outer, size, inner]; places and updates [outer, count, inner], the places as indices of the middle axis. */
function scattered(m: Notation, node: Node, [x, places, updates]: readonly [string, string, string], reduction: Reduction): string {
  const [outer = 1, size = 1, inner = 1] = m.shape(x);
  const [, count = 1, same = 1] = m.shape(places);
  checkComparisons(node, count * (reduction === 'none' ? same : inner), outer * size);
  const hit = m.op('Equal', m.reshape(places, [outer, count, 1, same]), m.iota(size, 2, 4));
  if (reduction === 'none') {
    const order = m.iota(count, 1, 4, 1);
    const last = m.reshape(m.reduce('ReduceMax', m.where(hit, order, m.number(0, 'int64')), [1]), [outer, size, same]);
    const from = m.op('Max', m.sub(last, m.number(1, 'int64')), m.number(0, 'int64'));
    const chosen = m.b.emit('GatherElements', [updates, m.expand(from, [outer, size, inner])], { axis: { type: 'int', value: 1 } });
    return m.where(m.op('Greater', last, m.number(0, 'int64')), chosen, x);
  }
  const { reduce, pair, neutral } = combining[reduction];
  const [low, high] = extremes[m.dtype(x)] ?? [-(2 ** 31), 2 ** 31 - 1];
  const lowest = Math.min(Math.max(neutral, low), high);
  const all = m.where(hit, m.reshape(updates, [outer, count, 1, inner]), m.like(x, lowest));
  return m.op(pair, x, m.reshape(m.reduce(reduce, all, [1]), [outer, size, inner]));
}

const scatterElements: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, indices, updates] = [input(node), input(node, 1), input(node, 2)];
  const [shape, extent] = [m.shape(x), m.shape(indices)];
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), shape.length);
  const fits = extent.length === shape.length && extent.every((dim, i) => i === axis || dim <= (shape[i] ?? 0)) && m.shape(updates).join() === extent.join();
  if (!fits) throw misshapen(node, `indices of [${extent.join(', ')}] and updates of [${m.shape(updates).join(', ')}] do not fit [${shape.join(', ')}] along axis ${axis}`);
  if (elementCount(extent) === 0) return [m.op('Identity', x)];
  const reduction = oneOf(node, 'reduction', reductions, 'none');
  checkComparisons(node, elementCount(extent), shape[axis] ?? 0);
  const places = resolved(m, indices, shape[axis] ?? 0);
  /** Where the indices cover only a part of an axis, the rest stays as it is. */
  const covered = (value: string, from: number): string => {
    const at = extent.findIndex((dim, i) => i >= from && i !== axis && dim < (m.shape(value)[i] ?? 0));
    const own = m.shape(value);
    if (at >= 0) return m.concat([covered(m.slice(value, at, 0, extent[at] ?? 0), at + 1), m.slice(value, at, extent[at] ?? 0, own[at] ?? 0)], at);
    const flat = (each: string): string => m.reshape(each, [elementCount(extent.slice(0, axis)), m.shape(each)[axis] ?? 1, elementCount(extent.slice(axis + 1))]);
    return m.reshape(scattered(m, node, [flat(value), flat(places), flat(updates)], reduction), own);
  };
  return [covered(x, 0)];
};

/** ScatterND at places that are computed: each tuple names a row of x as [rows, inner]. */
export const scatterComputed: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, indices, updates] = [input(node), input(node, 1), input(node, 2)];
  const [shape, tuples] = [m.shape(x), m.shape(indices)];
  const depth = tuples.at(-1) ?? 0;
  const count = elementCount(tuples.slice(0, -1));
  const inner = elementCount(shape.slice(depth));
  if (!(depth >= 1 && depth <= shape.length) || elementCount(m.shape(updates)) !== count * inner) {
    throw misshapen(node, `indices of [${tuples.join(', ')}] and updates of [${m.shape(updates).join(', ')}] do not fit [${shape.join(', ')}]`);
  }
  if (count === 0) return [m.op('Identity', x)];
  checkComparisons(node, count, elementCount(shape.slice(0, depth)));
  const flat = m.reshape(indices, [count, depth]);
  const places = shape.slice(0, depth).reduce((sum, size, axis) => {
    const at = resolved(m, m.slice(flat, 1, axis, axis + 1), size);
    return sum === '' ? at : m.add(m.mul(sum, m.number(size, 'int64')), at);
  }, '');
  const rows = elementCount(shape.slice(0, depth));
  const result = scattered(m, node, [m.reshape(x, [1, rows, inner]), m.reshape(places, [1, count, 1]), m.reshape(updates, [1, count, inner])], oneOf(node, 'reduction', reductions, 'none'));
  return [m.reshape(result, shape)];
};

export const scatters: Readonly<Record<string, Expansion>> = { ScatterElements: scatterElements, Scatter: scatterElements };
