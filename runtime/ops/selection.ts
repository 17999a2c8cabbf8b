import { intAttribute, misshapen } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, stridesOf, toNumbers, type DType, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { stridedOffsets } from './indexing.js';
import { gatherElements } from './movement.js';
import { constantInts, expectType, inputType, inputValue, normalizeAxis, outputType, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { wholeSpan } from './regions.js';
import { alongAxis, ranked, runningSums } from './whole.js';

const numbers: readonly DType[] = ['float32', 'int32', 'int64', 'int8', 'uint8', 'uint32', 'uint64'];

/** A possibly negative index. */
function resolved(node: Node, index: number, size: number): number {
  const at = index < 0 ? index + size : index;
  if (!(at >= 0 && at < size)) throw misshapen(node, `index ${index} is outside 0..${size - 1}`);
  return at;
}

const axisOf = (node: Node, rank: number, fallback = 0): number => normalizeAxis(node, intAttribute(node, 'axis', fallback), rank);

const gatherEach: OperatorRecord = {
  pixels: 'any',
  needs: ({ node, inputs }, region) => inputs.map((shape, i) => {
    const axis = axisOf(node, region.length);
    return shape?.map((size, at) => (i === 0 && at === axis ? wholeSpan(size) : (region[at] ?? wholeSpan(size))));
  }),
  infer(context) {
    const [x, indices] = [inputType(context, 0), expectType(context, 1, ['int32', 'int64'])];
    const axis = axisOf(context.node, x.shape.length);
    const fits = indices.shape.length === x.shape.length && indices.shape.every((dim, i) => i === axis || dim <= (x.shape[i] ?? 0));
    if (!fits) throw misshapen(context.node, `indices of [${indices.shape.join(', ')}] do not fit [${x.shape.join(', ')}] along axis ${axis}`);
    return [{ dtype: x.dtype, shape: indices.shape }];
  },
  evaluate(context) {
    const [x, indices] = [inputValue(context, 0), inputValue(context, 1)];
    const axis = axisOf(context.node, x.dims.length);
    const strides = stridesOf(x.dims);
    const others = stridedOffsets(indices.dims, strides.map((stride, i) => (i === axis ? 0 : stride)));
    const wanted = toNumbers(indices);
    const offsets = others.map((offset, i) => offset + resolved(context.node, wanted[i] ?? 0, x.dims[axis] ?? 0) * (strides[axis] ?? 1));
    return [gatherElements(x, offsets, indices.dims)];
  },
};

/** Batch axes of a GatherND, how many axes each tuple of indices names, and the shape of what it names. */
function tuples(node: Node, x: Shape, indices: Shape): { batch: number; depth: number; slice: Shape } {
  const batch = intAttribute(node, 'batch_dims', 0);
  const depth = indices.at(-1) ?? 0;
  const fits = batch >= 0 && batch < Math.min(x.length, indices.length) && depth >= 1 && depth <= x.length - batch && indices.slice(0, batch).every((dim, i) => dim === x[i]);
  if (!fits) throw misshapen(node, `indices of [${indices.join(', ')}] do not fit [${x.join(', ')}] with ${batch} batch axes`);
  return { batch, depth, slice: x.slice(batch + depth) };
}

const gatherNd: OperatorRecord = {
  infer(context) {
    const [x, indices] = [inputType(context, 0), expectType(context, 1, ['int32', 'int64'])];
    const { slice } = tuples(context.node, x.shape, indices.shape);
    return [{ dtype: x.dtype, shape: [...indices.shape.slice(0, -1), ...slice] }];
  },
  evaluate(context) {
    const [x, indices] = [inputValue(context, 0), inputValue(context, 1)];
    const { batch, depth, slice } = tuples(context.node, x.dims, indices.dims);
    const sizes = x.dims.slice(batch, batch + depth);
    const inner = elementCount(slice);
    const perBatch = indices.data.length / depth / elementCount(x.dims.slice(0, batch));
    const wanted = toNumbers(indices);
    const offsets = Int32Array.from({ length: (indices.data.length / depth) * inner }, (_, i) => {
      const tuple = Math.floor(i / inner);
      const at = sizes.reduce((sum, size, axis) => sum * size + resolved(context.node, wanted[tuple * depth + axis] ?? 0, size), Math.floor(tuple / perBatch));
      return at * inner + (i % inner);
    });
    return [gatherElements(x, offsets, outputType(context).shape)];
  },
};

const keepsAxis = (node: Node): boolean => intAttribute(node, 'keepdims', 1) === 1;

const argExtreme = (smallest: boolean): OperatorRecord => ({
  infer(context) {
    const { shape } = expectType(context, 0, numbers);
    const axis = axisOf(context.node, shape.length);
    const kept = shape.map((dim, i) => (i === axis ? 1 : dim));
    return [{ dtype: 'int64', shape: keepsAxis(context.node) ? kept : shape.filter((_, i) => i !== axis) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const last = intAttribute(context.node, 'select_last_index', 0) === 1;
    const result = alongAxis(x, axisOf(context.node, x.dims.length), 1, (values) => {
      const [best = 0] = ranked(values, smallest);
      return [last ? values.lastIndexOf(values[best] ?? 0) : best];
    });
    return [fromNumbers('int64', outputType(context).shape, result.numbers)];
  },
});

/** How many elements a TopK wants: an attribute before operator set 10, an input since. */
export function topKOf(node: Node, shape: Shape, given: readonly number[] | undefined): { axis: number; k: number; smallest: boolean } {
  const axis = axisOf(node, shape.length, -1);
  const k = given?.[0] ?? intAttribute(node, 'k', 0);
  const least = given === undefined ? 1 : 0;
  if (!(k >= least && k <= (shape[axis] ?? 0))) throw misshapen(node, `Expected ${least}..${shape[axis]} elements along axis ${axis} but received ${k}`);
  return { axis, k, smallest: intAttribute(node, 'largest', 1) === 0 };
}

const topK: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = expectType(context, 0, numbers);
    const { axis, k } = topKOf(context.node, shape, constantInts(context, 1, 'K'));
    const best = shape.map((dim, i) => (i === axis ? k : dim));
    return [{ dtype, shape: best }, { dtype: 'int64', shape: best }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const given = context.inputs[1] === undefined ? undefined : Array.from(context.inputs[1].data, Number);
    const { axis, k, smallest } = topKOf(context.node, x.dims, given);
    const indices = alongAxis(x, axis, k, (values) => ranked(values, smallest).slice(0, k));
    const strides = stridesOf(x.dims);
    const others = stridedOffsets(indices.dims, strides.map((stride, i) => (i === axis ? 0 : stride)));
    const values = gatherElements(x, others.map((offset, i) => offset + (indices.numbers[i] ?? 0) * (strides[axis] ?? 1)), indices.dims);
    return [values, fromNumbers('int64', indices.dims, indices.numbers)];
  },
};

/** Axis and manner of a CumSum; its axis is an input. */
export function cumSumOf(node: Node, rank: number, axes: readonly number[] | undefined): { axis: number; exclusive: boolean; reverse: boolean } {
  if (axes?.[0] === undefined) throw misshapen(node, 'Expected an axis but received none');
  return { axis: normalizeAxis(node, axes[0], rank), exclusive: intAttribute(node, 'exclusive', 0) === 1, reverse: intAttribute(node, 'reverse', 0) === 1 };
}

function inferCumSum(context: InferContext): ReturnType<OperatorRecord['infer']> {
  const x = expectType(context, 0, ['float32', 'int32', 'int64', 'uint32', 'uint64']);
  cumSumOf(context.node, x.shape.length, constantInts(context, 1, 'axis'));
  return [x];
}

const cumSum: OperatorRecord = {
  infer: inferCumSum,
  evaluate(context) {
    const x: TensorValue = inputValue(context, 0);
    const { axis, ...manner } = cumSumOf(context.node, x.dims.length, Array.from(inputValue(context, 1).data, Number));
    return [runningSums(x, axis, manner)];
  },
};

export const selectionOps: OpTable = {
  GatherElements: gatherEach, GatherND: gatherNd, ArgMax: argExtreme(false), ArgMin: argExtreme(true), TopK: topK, CumSum: cumSum,
};
