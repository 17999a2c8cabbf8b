import { float, floatAttribute, int, ints, oneOf, requiredInt, requiredInts, string, type AttributeRecord } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, mapNumbers, reshaped, type Shape, toNumbers } from '../graph/tensor-value.js';
import { zip } from './binary.js';
import { alongPixels, throughSlice, throughView, throughWindow } from './cell-flow.js';
import { fusedUnary, unaryAttributes } from './convolution.js';
import { dynamicCoreOps } from './dynamic-quantization.js';
import { integerCoreOps } from './integer.js';
import { broadcastValue, paddedRegion, paddedShape, padModes, padValue, slicedRegion, sliceValue, type Padding, type SliceRange } from './movement.js';
import { softmaxModes, softmaxValue, type SoftmaxMode } from './normalization.js';
import { always, broadcast, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { recurrenceOps } from './recurrent.js';
import { needsAlong, needsBroadcast, needsOfFirst, needsSame, reshapedRegion } from './regions.js';
import { allReduceKinds, reducedShape, reduceValue, type ReduceKind } from './reduction.js';
import { resampleCoreOps } from './resample.js';
import { rowOps } from './rows.js';
import { selectBoxes } from './suppression.js';
import { interleaveOps } from './transposed-convolution.js';
import { throughAxes, throughAxis, throughFirst, throughLists } from './transpose-rules.js';
import { wholeOps } from './whole.js';
import { applyUnary, type Unary } from './unary-functions.js';

// The core operators: what canonicalization makes of the many forms of ONNX. Everything they do is in their attributes,
// and means the same in every operator set, so that the later passes have one form of each thing to look at.

/** y = unary(x) */
export const unaryAttribute = (unary: Unary): AttributeRecord => unaryAttributes(unary);

const unary: OperatorRecord = {
  linear: true, elementwise: 'floats', transpose: throughFirst, repeats: true,
  needs: needsSame, overwrites: true, pixels: 'any', format: 'float32',
  infer: (context) => [inputType(context, 0)],
  evaluate(context) {
    const x = inputValue(context, 0);
    const fn = fusedUnary(context.node);
    return [fromNumbers(x.dtype, x.dims, mapNumbers(toNumbers(x), (value) => applyUnary(fn, value)))];
  },
};

/** The same elements, `shape` */
export const viewAttributes = (shape: Shape): AttributeRecord => ({ shape: ints(shape) });

const view: OperatorRecord = {
  linear: true, moves: 'first', repeats: true, identity: always, cells: throughView, pixels: 'any', copies: true,
  needs: needsOfFirst(({ output }, region, shape) => reshapedRegion(shape, output, region)),
  infer: (context) => [{ dtype: inputType(context, 0).dtype, shape: requiredInts(context.node, 'shape') }],
  evaluate: (context) => [reshaped(inputValue(context, 0), outputType(context).shape)],
};

/** x[starts + i * steps], i < extent */
export const sliceAttributes = (range: SliceRange): AttributeRecord => ({
  starts: ints(range.starts), steps: ints(range.steps), extent: ints(range.extent),
});
export const coreSlice = (node: Node): SliceRange => ({
  starts: requiredInts(node, 'starts'), steps: requiredInts(node, 'steps'), extent: requiredInts(node, 'extent'),
});

const stridedSlice: OperatorRecord = {
  linear: true, moves: 'first', repeats: true, transpose: throughLists('starts', 'steps', 'extent'), pixels: 'any', copies: true,
  identity: (node) => coreSlice(node).steps.every((step) => step === 1),
  needs: needsOfFirst(({ node }, region) => slicedRegion(coreSlice(node), region)),
  cells: throughSlice(coreSlice),
  infer: (context) => [{ dtype: inputType(context, 0).dtype, shape: coreSlice(context.node).extent }],
  evaluate: (context) => [sliceValue(inputValue(context, 0), coreSlice(context.node))],
};

export const padAttributes = ({ mode, before, after }: Padding, fill: number): AttributeRecord => ({
  mode: string(mode), before: ints(before), after: ints(after), fill: float(fill),
});
export const corePadding = (node: Node): Padding => ({
  mode: oneOf(node, 'mode', padModes, 'constant'), before: requiredInts(node, 'before'), after: requiredInts(node, 'after'),
});

const padNd: OperatorRecord = {
  linear: true, moves: 'first', transpose: throughLists('before', 'after'), identity: always, cells: throughWindow, pixels: 'any',
  needs: needsOfFirst(({ node }, region, shape) => paddedRegion(corePadding(node), shape, region)),
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: paddedShape(shape, corePadding(context.node)) }];
  },
  evaluate: (context) => [padValue(inputValue(context, 0), corePadding(context.node), floatAttribute(context.node, 'fill', 0))],
};

/** Reduces `axes`, which stay as ones. */
export const reduceAttributes = (kind: ReduceKind, axes: readonly number[]): AttributeRecord => ({ kind: string(kind), axes: ints(axes) });
export const coreReduceKind = (node: Node): ReduceKind => oneOf(node, 'kind', allReduceKinds, 'mean');

/** Reductions that change an element even when nothing is added to it. */
const squaring: ReadonlySet<ReduceKind> = new Set(['l2', 'sum_square']);

const reduce: OperatorRecord = {
  linear: true, transpose: throughAxes('axes'), pixels: 'any', format: 'float32',
  identity: (node) => requiredInts(node, 'axes').length === 0 && !squaring.has(coreReduceKind(node)),
  needs: needsAlong((node) => requiredInts(node, 'axes')),
  cells: alongPixels((node) => requiredInts(node, 'axes')),
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: reducedShape(shape, requiredInts(context.node, 'axes'), true) }];
  },
  evaluate: (context) => [reduceValue(inputValue(context, 0), coreReduceKind(context.node), requiredInts(context.node, 'axes'))],
};

/** Softmax, log-softmax or hardmax along one axis. */
export const softmaxAttributes = (axis: number, mode: SoftmaxMode): AttributeRecord => ({ axis: int(axis), mode: string(mode) });
export const coreSoftmaxMode = (node: Node): SoftmaxMode => oneOf(node, 'mode', softmaxModes, 'soft');

const axisSoftmax: OperatorRecord = {
  linear: true, transpose: throughAxis('axis'), pixels: 'any', format: 'float32',
  needs: needsAlong((node) => [requiredInt(node, 'axis')]),
  cells: alongPixels((node) => [requiredInt(node, 'axis')]),
  infer: (context) => [inputType(context, 0)],
  evaluate(context) {
    const x = inputValue(context, 0);
    const axis = requiredInt(context.node, 'axis');
    return [softmaxValue(x, { size: x.dims[axis] ?? 1, inner: elementCount(x.dims.slice(axis + 1)) }, coreSoftmaxMode(context.node))];
  },
};

/** Repeats along axes of size 1 until the result has `shape`. */
const broadcastTo: OperatorRecord = {
  linear: true, moves: 'first', transpose: throughLists('shape'), identity: always, needs: needsBroadcast, pixels: 'any', copies: true,
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: broadcast(context.node, shape, requiredInts(context.node, 'shape')) }];
  },
  evaluate: (context) => [broadcastValue(inputValue(context, 0), outputType(context).shape)],
};

/** kBinaryF32: y = unary(kind(a, b)), numpy broadcasting. */
export const binaryKinds = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pow', 'prelu', 'mod'] as const;
export type BinaryKind = (typeof binaryKinds)[number];

const binaryFunctions: Readonly<Record<BinaryKind, (a: number, b: number) => number>> = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b,
  min: Math.min, max: Math.max, pow: (a, b) => a ** b, prelu: (a, b) => (a < 0 ? a * b : a), mod: (a, b) => a % b,
};

export const coreBinaryKind = (node: Node): BinaryKind => oneOf(node, 'kind', binaryKinds, 'add');

const binaryF32: OperatorRecord = {
  linear: true, elementwise: 'floats', needs: needsBroadcast, overwrites: true, pixels: 'any', format: 'float32',
  infer: (context) => [{ dtype: inputType(context, 0).dtype, shape: broadcast(context.node, inputType(context, 0).shape, inputType(context, 1).shape) }],
  evaluate(context) {
    const type = outputType(context);
    const fn = binaryFunctions[coreBinaryKind(context.node)];
    const after = fusedUnary(context.node);
    return [zip(inputValue(context, 0), inputValue(context, 1), type, (a, b) => applyUnary(after, fn(a, b)))];
  },
};

export const coreOps: OpTable = {
  ...wholeOps, SelectBoxes: selectBoxes,
  BinaryF32: binaryF32,
  Unary: unary, View: view, StridedSlice: stridedSlice, PadNd: padNd, Reduce: reduce, AxisSoftmax: axisSoftmax, BroadcastTo: broadcastTo,
  ...recurrenceOps, ...interleaveOps, ...integerCoreOps, ...dynamicCoreOps, ...resampleCoreOps, ...rowOps,
};
