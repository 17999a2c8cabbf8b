import { hasAttribute, intAttribute, intsAttribute, misshapen, oneOf, floatAttribute, requiredInt, type Attributed } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { isIdentityPermutation } from '../graph/permutation.js';
import { allocate, elementCount, isBig, stridesOf, toInt64, type Shape, type TensorArray, type TensorValue } from '../graph/tensor-value.js';
import { throughConcatenation, throughTransposition } from './cell-flow.js';
import { broadcastOffsets, stridedOffsets } from './indexing.js';
import { always, broadcast, constantInput, constantInts, expectType, inputType, inputValue, normalizeAxis, outputType, sharing, type EvaluateContext, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { clipped, needsOfFirst, wholeRegion, wholeSpan, type Needs, type Region, type Span } from './regions.js';
import { throughAxis } from './transpose-rules.js';

/** out[i] = in[offsets[i]]. */
export function gatherElements(source: TensorValue, offsets: Int32Array, dims: Shape): TensorValue {
  const data = allocate(source.dtype, offsets.length);
  copyElements(source.data, offsets, data);
  return { dtype: source.dtype, dims: [...dims], data };
}

function copyElements(source: TensorArray, offsets: Int32Array, out: TensorArray): void {
  if (isBig(source)) {
    for (let i = 0; i < offsets.length; i++) out[i] = source[offsets[i] ?? 0] ?? 0n;
  } else {
    for (let i = 0; i < offsets.length; i++) out[i] = source[offsets[i] ?? 0] ?? 0;
  }
}

/** The permutation of a Transpose; without the attribute it reverses the axes. */
export function permutationOf(node: Node, rank: number): number[] {
  const perm = intsAttribute(node, 'perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  const valid = perm.length === rank && new Set(perm).size === rank && perm.every((axis) => axis >= 0 && axis < rank);
  if (!valid) throw misshapen(node, `[${perm.join(', ')}] is not a permutation of rank ${rank}`);
  return [...perm];
}

export const permuted = (shape: Shape, perm: readonly number[]): number[] => perm.map((axis) => shape[axis] ?? 1);

export function transposeValue(value: TensorValue, perm: readonly number[]): TensorValue {
  const dims = permuted(value.dims, perm);
  return gatherElements(value, stridedOffsets(dims, permuted(stridesOf(value.dims), perm)), dims);
}

const transpose: OperatorRecord = {
  cells: throughTransposition,
  moves: 'first', repeats: true, pixels: 'any',
  identity: (node) => isIdentityPermutation(intsAttribute(node, 'perm') ?? []),
  needs: needsOfFirst(({ node }, region, shape) => {
    const perm = permutationOf(node, shape.length);
    return shape.map((size, axis) => region[perm.indexOf(axis)] ?? wholeSpan(size));
  }),
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: permuted(shape, permutationOf(context.node, shape.length)) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    return [transposeValue(x, permutationOf(context.node, x.dims.length))];
  },
};

/** Of each part, what the region has of it. */
const needsParts: Needs = ({ node, inputs, output }, region) => {
  const axis = normalizeAxis(node, requiredInt(node, 'axis'), output.length);
  let start = 0;
  return inputs.map((shape) => {
    const at = start;
    start += shape?.[axis] ?? 0;
    return shape?.map((size, i) => {
      const span = region[i] ?? wholeSpan(size);
      return i === axis ? clipped({ from: span.from - at, to: span.to - at }, size) : span;
    });
  });
};

const concat: OperatorRecord = {
  cells: throughConcatenation,
  moves: 'all', transpose: throughAxis('axis', 'all'), pixels: 'any', copies: true, needs: needsParts,
  identity: (node) => node.inputs.length === 1,
  infer(context) {
    const first = inputType(context, 0);
    const axis = normalizeAxis(context.node, requiredInt(context.node, 'axis'), first.shape.length);
    let sum = 0;
    context.inputs.forEach((_, i) => {
      const { shape, dtype } = inputType(context, i);
      const fits = dtype === first.dtype && shape.length === first.shape.length && shape.every((dim, a) => a === axis || dim === first.shape[a]);
      if (!fits) throw misshapen(context.node, `input ${i} of ${dtype} [${shape.join(', ')}] does not fit ${first.dtype} [${first.shape.join(', ')}] along axis ${axis}`);
      sum += shape[axis] ?? 0;
    });
    return [{ dtype: first.dtype, shape: first.shape.map((dim, a) => (a === axis ? sum : dim)) }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const axis = normalizeAxis(context.node, requiredInt(context.node, 'axis'), shape.length);
    const strides = stridesOf(shape);
    const data = allocate(dtype, elementCount(shape));
    let start = 0;
    context.inputs.forEach((_, i) => {
      const part = inputValue(context, i);
      scatter(part, stridedOffsets(part.dims, strides, start * (strides[axis] ?? 1)), data);
      start += part.dims[axis] ?? 0;
    });
    return [{ dtype, dims: shape, data }];
  },
};

/** out[offsets[i]] = part[i]. */
function scatter(part: TensorValue, offsets: Int32Array, out: TensorArray): void {
  if (isBig(part.data)) {
    for (let i = 0; i < offsets.length; i++) out[offsets[i] ?? 0] = part.data[i] ?? 0n;
  } else {
    for (let i = 0; i < offsets.length; i++) out[offsets[i] ?? 0] = part.data[i] ?? 0;
  }
}

/** Start, step and extent of a slice along each axis. */
export interface SliceRange {
  readonly starts: readonly number[];
  readonly steps: readonly number[];
  readonly extent: readonly number[];
}

/** Slices are attributes before operator set 10, inputs since. `ints` reads an input as whole numbers. */
export function sliceRange(node: Node, shape: Shape, ints: (index: number, what: string) => readonly number[] | undefined): SliceRange {
  const starts = intsAttribute(node, 'starts') ?? ints(1, 'starts') ?? [];
  const ends = intsAttribute(node, 'ends') ?? ints(2, 'ends') ?? [];
  const axes = intsAttribute(node, 'axes') ?? ints(3, 'axes') ?? starts.map((_, i) => i);
  const steps = ints(4, 'steps') ?? starts.map(() => 1);
  if (ends.length !== starts.length || axes.length !== starts.length || steps.length !== starts.length) {
    throw misshapen(node, 'starts, ends, axes and steps differ in length');
  }
  const range = { starts: shape.map(() => 0), steps: shape.map(() => 1), extent: [...shape] };
  axes.forEach((given, i) => {
    const axis = normalizeAxis(node, given, shape.length);
    const size = shape[axis] ?? 0;
    const step = steps[i] ?? 1;
    if (step === 0) throw misshapen(node, 'a step is 0');
    const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value < 0 ? value + size : value, low), high);
    const start = step > 0 ? clamp(starts[i] ?? 0, 0, size) : clamp(starts[i] ?? 0, 0, size - 1);
    const end = step > 0 ? clamp(ends[i] ?? 0, 0, size) : clamp(ends[i] ?? 0, -1, size - 1);
    range.starts[axis] = start;
    range.steps[axis] = step;
    range.extent[axis] = Math.max(0, Math.ceil((end - start) / step));
  });
  return range;
}

/** What a region of a slice is cut from. */
export const slicedRegion = ({ starts, steps }: Pick<SliceRange, 'starts' | 'steps'>, region: Region): Region => region.map(({ from, to }, axis) => {
  if (from >= to) return { from: 0, to: 0 };
  const ends = [from, to - 1].map((i) => (starts[axis] ?? 0) + i * (steps[axis] ?? 1));
  return { from: Math.min(...ends), to: Math.max(...ends) + 1 };
});

const slice: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: sliceRange(context.node, shape, (i, what) => constantInts(context, i, what)).extent }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    return [sliceValue(x, sliceRange(context.node, x.dims, (i) => intsOf(context, i)))];
  },
};

export function sliceValue(x: TensorValue, { starts, steps, extent }: SliceRange): TensorValue {
  const strides = stridesOf(x.dims);
  const start = starts.reduce((sum, at, i) => sum + at * (strides[i] ?? 1), 0);
  return gatherElements(x, stridedOffsets(extent, strides.map((s, i) => s * (steps[i] ?? 1)), start), extent);
}

const intsOf = (context: EvaluateContext, index: number): number[] | undefined => {
  const value = context.inputs[index];
  return value === undefined ? undefined : Array.from(value.data, Number);
};

/** Sizes of the parts of a Split: an attribute before operator set 13, an input since; equal parts by default. */
export function splitSizes(node: Node, size: number, given: readonly number[] | undefined): number[] {
  const sizes = given ?? intsAttribute(node, 'split');
  const count = hasAttribute(node, 'num_outputs') ? intAttribute(node, 'num_outputs', 1) : node.outputs.length;
  if (sizes === undefined && count !== node.outputs.length) throw misshapen(node, `${count} parts for ${node.outputs.length} outputs`);
  const part = Math.ceil(size / count);
  const parts = sizes === undefined ? Array.from({ length: count }, (_, i) => Math.min(part, size - i * part)) : [...sizes];
  const total = parts.reduce((sum, n) => sum + n, 0);
  if (parts.length !== node.outputs.length || total !== size) throw misshapen(node, `parts [${parts.join(', ')}] do not make ${size}`);
  return parts;
}

const split: OperatorRecord = {
  identity: (node) => node.outputs.length === 1 && intAttribute(node, 'axis', 0) >= 0,
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    const axis = normalizeAxis(context.node, intAttribute(context.node, 'axis', 0), shape.length);
    const sizes = splitSizes(context.node, shape[axis] ?? 0, constantInts(context, 1, 'split'));
    return sizes.map((size) => ({ dtype, shape: shape.map((dim, i) => (i === axis ? size : dim)) }));
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const axis = normalizeAxis(context.node, intAttribute(context.node, 'axis', 0), x.dims.length);
    const strides = stridesOf(x.dims);
    let start = 0;
    return context.outputs.map(({ shape }) => {
      const part = gatherElements(x, stridedOffsets(shape, strides, start * (strides[axis] ?? 1)), shape);
      start += shape[axis] ?? 0;
      return part;
    });
  },
};

/** Which elements the indices name is known only when the model runs. */
const needsGathered: Needs = ({ node, inputs }, region) => {
  const [x, indices] = inputs;
  if (x === undefined || indices === undefined) return inputs.map((shape) => (shape === undefined ? undefined : wholeRegion(shape)));
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), x.length);
  const of = (i: number, size: number): Span => region[i] ?? wholeSpan(size);
  return [
    x.map((size, i) => (i === axis ? wholeSpan(size) : of(i < axis ? i : i + indices.length - 1, size))),
    indices.map((size, i) => of(axis + i, size)),
  ];
};

const gather: OperatorRecord = {
  moves: 'first', copies: true, needs: needsGathered,
  infer(context) {
    const x = inputType(context, 0);
    const axis = normalizeAxis(context.node, intAttribute(context.node, 'axis', 0), x.shape.length);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...expectType(context, 1, ['int64', 'int32']).shape, ...x.shape.slice(axis + 1)] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const indices = inputValue(context, 1);
    const axis = normalizeAxis(context.node, intAttribute(context.node, 'axis', 0), x.dims.length);
    const size = x.dims[axis] ?? 0;
    const inner = elementCount(x.dims.slice(axis + 1));
    const outer = elementCount(x.dims.slice(0, axis));
    const offsets = new Int32Array(outer * indices.data.length * inner);
    let at = 0;
    for (let o = 0; o < outer; o++) {
      for (const raw of indices.data) {
        const index = Number(raw) < 0 ? Number(raw) + size : Number(raw);
        if (index < 0 || index >= size) throw misshapen(context.node, `index ${Number(raw)} is outside 0..${size - 1}`);
        for (let i = 0; i < inner; i++) offsets[at++] = (o * size + index) * inner + i;
      }
    }
    return [gatherElements(x, offsets, outputType(context).shape)];
  },
};

const expand: OperatorRecord = {
  identity: always,
  infer(context) {
    const x = inputType(context, 0);
    const shape = constantInts(context, 1, 'shape');
    if (shape === undefined) throw misshapen(context.node, 'Expected a shape but received none');
    return [{ dtype: x.dtype, shape: broadcast(context.node, x.shape, shape) }];
  },
  evaluate(context) {
    return [broadcastValue(inputValue(context, 0), outputType(context).shape)];
  },
};

export const broadcastValue = (x: TensorValue, shape: Shape): TensorValue => gatherElements(x, broadcastOffsets(x.dims, shape), shape);

const tile: OperatorRecord = {
  identity: always,
  infer(context) {
    const x = inputType(context, 0);
    const repeats = constantInts(context, 1, 'repeats');
    if (repeats?.length !== x.shape.length) throw misshapen(context.node, `Expected ${x.shape.length} repeats but received ${repeats?.length ?? 0}`);
    return [{ dtype: x.dtype, shape: x.shape.map((dim, i) => dim * (repeats[i] ?? 1)) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { shape } = outputType(context);
    const strides = stridesOf(x.dims);
    // Each axis of the result as (repeat, index): a broadcast over twice the rank.
    const extent = shape.flatMap((dim, i) => [dim / (x.dims[i] ?? 1), x.dims[i] ?? 1]);
    return [gatherElements(x, stridedOffsets(extent, strides.flatMap((stride) => [0, stride])), shape)];
  },
};

export const padModes = ['constant', 'reflect', 'edge'] as const;
export interface Padding {
  readonly mode: (typeof padModes)[number];
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** Pads are an attribute before operator set 11, an input since; axes may be chosen since 18. */
export function paddingOf(node: Node, rank: number, ints: (index: number, what: string) => readonly number[] | undefined): Padding {
  const pads = intsAttribute(node, 'pads') ?? ints(1, 'pads') ?? [];
  const axes = (ints(3, 'axes') ?? Array.from({ length: rank }, (_, i) => i)).map((axis) => normalizeAxis(node, axis, rank));
  if (pads.length !== 2 * axes.length) throw misshapen(node, `Expected ${2 * axes.length} pads but received ${pads.length}`);
  const before = new Array<number>(rank).fill(0);
  const after = new Array<number>(rank).fill(0);
  axes.forEach((axis, i) => {
    before[axis] = pads[i] ?? 0;
    after[axis] = pads[axes.length + i] ?? 0;
  });
  return { mode: oneOf(node, 'mode', padModes, 'constant'), before, after };
}

export const padValueAttribute = (node: Attributed): number => floatAttribute(node, 'value', 0);

const pad: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    constantInput(context, 2, 'constant_value');
    const padding = paddingOf(context.node, shape.length, (i, what) => constantInts(context, i, what));
    checkPadding(context, padding, shape);
    return [{ dtype, shape: paddedShape(shape, padding) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const padding = paddingOf(context.node, x.dims.length, (i) => intsOf(context, i));
    return [padValue(x, padding, context.inputs[2]?.data[0] ?? padValueAttribute(context.node))];
  },
};

export function padValue(x: TensorValue, padding: Padding, fill: number | bigint): TensorValue {
  const shape = paddedShape(x.dims, padding);
  const data = allocate(x.dtype, elementCount(shape));
  const strides = stridesOf(x.dims);
  const index = stridesOf(shape);
  for (let i = 0; i < data.length; i++) {
    let offset = 0;
    let inside = true;
    for (let axis = 0; axis < shape.length; axis++) {
      const at = sourceIndex(Math.floor(i / (index[axis] ?? 1)) % (shape[axis] ?? 1), axis, padding, x.dims);
      if (at < 0) inside = false;
      offset += at * (strides[axis] ?? 1);
    }
    data[i] = inside ? (x.data[offset] ?? 0) : isBig(data) ? (typeof fill === 'bigint' ? fill : toInt64(fill)) : Number(fill);
  }
  return { dtype: x.dtype, dims: shape, data };
}

export const paddedShape = (shape: Shape, { before, after }: Padding): number[] =>
  shape.map((dim, i) => dim + (before[i] ?? 0) + (after[i] ?? 0));

/** Where an element of the padded tensor comes from along one axis; -1: it is fill. */
function sourceIndex(position: number, axis: number, padding: Padding, dims: Shape): number {
  const size = dims[axis] ?? 1;
  const at = position - (padding.before[axis] ?? 0);
  if (at >= 0 && at < size) return at;
  if (padding.mode === 'constant') return -1;
  if (padding.mode === 'edge') return at < 0 ? 0 : size - 1;
  return at < 0 ? -at : 2 * (size - 1) - at;
}

/** What a region of the padded tensor is made of. */
export const paddedRegion = (padding: Padding, shape: Shape, region: Region): Region => shape.map((size, axis) => {
  const { from, to } = region[axis] ?? wholeSpan(size);
  let [first, end] = [size, 0];
  for (let position = from; position < to; position++) {
    const at = sourceIndex(position, axis, padding, shape);
    if (at >= 0) [first, end] = [Math.min(first, at), Math.max(end, at + 1)];
  }
  return clipped({ from: first, to: end }, size);
});

function checkPadding(context: InferContext, { mode, before, after }: Padding, shape: Shape): void {
  if (mode !== 'reflect') return;
  const wide = shape.findIndex((dim, i) => Math.max(before[i] ?? 0, after[i] ?? 0) >= dim);
  if (wide >= 0) throw misshapen(context.node, `axis ${wide} of size ${shape[wide]} cannot be reflected that far`);
}

export const movementOps: OpTable = sharing({ linear: true }, {
  Transpose: transpose, Concat: concat, Slice: slice, Split: split, Gather: gather, Expand: expand, Tile: tile, Pad: pad,
});
