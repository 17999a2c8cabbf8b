import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { optimize, simplifyOnnx, toChannelsLast, type Pass } from '../../../runtime/optimize/optimize.js';
import { canonicalize } from '../../../runtime/optimize/passes/canonicalize.js';
import { decomposeBatchNorm } from '../../../runtime/optimize/passes/decompose-batch-norm.js';
import { decomposeQuantization } from '../../../runtime/optimize/passes/decompose-quantization.js';
import { foldAffine } from '../../../runtime/optimize/passes/fold-affine.js';
import { foldConstants } from '../../../runtime/optimize/passes/fold-constants.js';
import { foldWeightDequantize } from '../../../runtime/optimize/passes/fold-weight-dequantize.js';
import { fuseActivations } from '../../../runtime/optimize/passes/fuse-activations.js';
import { fuseBinary } from '../../../runtime/optimize/passes/fuse-binary.js';
import { hoistFunctions } from '../../../runtime/optimize/passes/hoist-functions.js';
import { joinConvolutions } from '../../../runtime/optimize/passes/join-convolutions.js';
import { fuseSilu } from '../../../runtime/optimize/passes/fuse-silu.js';
import { recognizeAttention, writeTransposed } from '../../../runtime/optimize/passes/recognize-attention.js';
import { recognizeGelu } from '../../../runtime/optimize/passes/recognize-gelu.js';
import { recognizeInt4Weights } from '../../../runtime/optimize/passes/recognize-int4-weights.js';
import { recognizeNormalization } from '../../../runtime/optimize/passes/recognize-normalization.js';
import { recognizeScaledProducts } from '../../../runtime/optimize/passes/recognize-scaled-products.js';
import { recognizeTernary } from '../../../runtime/optimize/passes/recognize-ternary.js';
import { removeDuplicates } from '../../../runtime/optimize/passes/remove-duplicates.js';
import { removeIdentities } from '../../../runtime/optimize/passes/remove-identities.js';
import { simplifyViews } from '../../../runtime/optimize/passes/simplify-views.js';
import { sinkTransposes } from '../../../runtime/optimize/passes/sink-transposes.js';
import { widenQuantizedTypes } from '../../../runtime/optimize/passes/widen-quantized-types.js';
import { floats, ints64, model, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import { difference } from '../support/oracle.js';
import { randomModels } from '../support/random-graphs.js';

const load = (spec: ModelSpec): Graph => inferShapes(graphFromOnnx(model(spec)));
const count = (graph: Graph): Record<string, number> => graph.nodes.reduce<Record<string, number>>((sum, { op }) => ({ ...sum, [op]: (sum[op] ?? 0) + 1 }), {});

function expectSameOutputs(before: Graph, after: Graph, feeds: ReadonlyMap<string, TensorValue>): void {
  const [wanted, got] = [interpret(before, feeds), interpret(after, feeds)];
  expect([...got.keys()]).toEqual([...wanted.keys()]);
  for (const [name, want] of wanted) {
    expect(got.get(name)?.dims, name).toEqual(want.dims);
    const { maximum, range } = difference(got.get(name)?.data ?? [], Array.from(want.data, Number));
    expect(maximum, name).toBeLessThanOrEqual(1e-5 * Math.max(1, range));
  }
}

const x = [1, 3, 4, 5] as const;
const weights = { w: randomTensor([6, 3, 1, 1], 1), b: randomTensor([6], 2) };
const batchNorm = Object.fromEntries(['scale', 'shift', 'mean', 'variance'].map((name, i) => [name, randomTensor([6], 10 + i, 0.3, 1)]));
const canonical: Pass = (graph) => foldConstants(canonicalize(graph));
const layout: Pass = (graph) => sinkTransposes(canonical(graph));

const geluConstants = { root: floats([], Math.SQRT2), inverse: floats([], Math.SQRT1_2), one: floats([], 1), half: floats([], 0.5) };
const fuseAttention: Pass = (graph) => writeTransposed(removeIdentities(simplifyViews(recognizeAttention(graph))));

interface Row {
  readonly name: string;
  readonly spec: ModelSpec;
  /** Applied before, so that the pass finds what it works on. */
  readonly prepare?: Pass;
  readonly pass: Pass;
  readonly ops: Readonly<Record<string, number>>;
}

const spec = (nodes: ModelSpec['nodes'], outputs: readonly string[], constants: ModelSpec['constants'] = {}): ModelSpec => ({ inputs: { x }, constants, nodes, outputs, opset: 13 });

const rows: readonly Row[] = [
  {
    name: 'foldConstants evaluates what does not depend on inputs', pass: foldConstants,
    spec: spec([node('Add', ['k', 'k'], ['two']), node('Mul', ['x', 'two'], ['y'])], ['y'], { k: floats([], 1) }),
    ops: { Mul: 1 },
  },
  {
    name: 'foldConstants follows shape arithmetic', pass: foldConstants,
    spec: spec([node('Shape', ['x'], ['s']), node('Gather', ['s', 'i'], ['n'], { axis: 0 }), node('Concat', ['n', 'r'], ['to'], { axis: 0 }), node('Reshape', ['x', 'to'], ['y'])], ['y'], { i: ints64(0), r: ints64(-1) }),
    ops: { Reshape: 1 },
  },
  {
    name: 'foldConstants leaves quantized weights quantized', pass: foldConstants,
    spec: spec([node('DequantizeLinear', ['q', 's'], ['w']), node('Mul', ['x', 'w'], ['y'])], ['y'], { q: fromNumbers('int8', [5], [1, 2, 3, 4, 5]), s: floats([], 0.5) }),
    ops: { DequantizeLinear: 1, Mul: 1 },
  },
  {
    name: 'foldWeightDequantize makes weights float where the data are', pass: foldWeightDequantize,
    spec: spec([node('DequantizeLinear', ['q', 's'], ['w']), node('Mul', ['x', 'w'], ['y'])], ['y'], { q: fromNumbers('int8', [5], [1, 2, 3, 4, 5]), s: floats([], 0.5) }),
    ops: { Mul: 1 },
  },
  {
    name: 'foldWeightDequantize leaves weights alone where the data are quantized', pass: foldWeightDequantize,
    spec: spec([
      node('QuantizeLinear', ['x', 's', 'z'], ['xq']), node('DequantizeLinear', ['xq', 's', 'z'], ['xd']), node('DequantizeLinear', ['q', 's'], ['w']), node('Mul', ['xd', 'w'], ['y']),
    ], ['y'], { q: fromNumbers('int8', [5], [1, 2, 3, 4, 5]), s: floats([], 0.5), z: fromNumbers('int8', [], [0]) }),
    ops: { QuantizeLinear: 1, DequantizeLinear: 2, Mul: 1 },
  },
  {
    name: 'widenQuantizedTypes clips data that become codes of four bits', pass: widenQuantizedTypes,
    spec: spec([node('QuantizeLinear', ['x', 's', 'z'], ['q']), node('DequantizeLinear', ['q', 's', 'z'], ['y'])], ['y'], { s: floats([], 0.1), z: fromNumbers('uint4', [], [8]) }),
    ops: { Clip: 1, QuantizeLinear: 1, DequantizeLinear: 1 },
  },
  {
    name: 'recognizeInt4Weights keeps codes in groups of the depth', pass: recognizeInt4Weights,
    spec: spec([
      node('ReduceMax', ['x'], ['r'], { axes: [1, 2] }), node('Concat', new Array<string>(32).fill('r'), ['c'], { axis: 3 }),
      node('DequantizeLinear', ['w', 's'], ['d'], { axis: 0, block_size: 32 }), node('MatMul', ['c', 'd'], ['y']),
    ], ['y'], { w: randomInts('int4', [160, 5], 1, -8, 7), s: fromNumbers('float32', [5, 5], new Float64Array(25).fill(0.25)) }),
    ops: { ReduceMax: 1, Concat: 1, MatMulW4: 1 },
  },
  {
    name: 'recognizeScaledProducts takes the scales and the bias of layers quantized by their data', prepare: toChannelsLast, pass: recognizeScaledProducts,
    spec: spec([
      node('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']), node('Mul', ['s', 'ws'], ['t']),
      ...['0', '1'].flatMap((i) => [node('MatMulInteger', ['q', 'w', 'z'], [`i${i}`]), node('Cast', [`i${i}`], [`f${i}`], { to: 1 }), node('Mul', [`f${i}`, 't'], [`m${i}`]), node('Add', [`m${i}`, `b${i}`], [`y${i}`])]),
    ], ['y0', 'y1'], { w: randomInts('int8', [x[3], 4], 1, -127, 127), ws: randomTensor([4], 2), b0: randomTensor([4], 3), b1: randomTensor([x[2], 4], 4) }),
    ops: { DataRange: 1, RangeScale: 1, RangeZero: 1, QuantizeBy: 1, ScaledProduct: 2, Add: 1 },
  },
  {
    name: 'recognizeTernary counts signs by signs in bits', prepare: toChannelsLast, pass: recognizeTernary,
    spec: spec([node('Conv', ['x', 'v'], ['f']), node('Sign', ['f'], ['s']), node('Conv', ['s', 'w'], ['y'])], ['y'], {
      v: randomTensor([4, x[1], 1, 1], 1), w: fromNumbers('float32', [2, 4, 1, 1], [1, -1, 0, 1, -2, 0, 2, 2]),
    }),
    ops: { Transpose: 2, NhwcConv: 1, Threshold: 1, ConvQ8F32: 1 },
  },
  {
    name: 'joinConvolutions makes one layer of the heads of a map, with and without bias', prepare: toChannelsLast, pass: joinConvolutions,
    spec: spec([
      node('Relu', ['x'], ['m']), node('Conv', ['m', 'w', 'b'], ['h0']), node('Conv', ['m', 'v'], ['h1']), node('Conv', ['m', 'u', 'c'], ['h2']), node('Concat', ['h2', 'h0', 'h1'], ['y'], { axis: 1 }),
    ], ['y'], { ...weights, v: randomTensor([1, 3, 1, 1], 3), u: randomTensor([9, 3, 1, 1], 4), c: randomTensor([9], 5) }),
    ops: { Unary: 1, Transpose: 2, NhwcConv: 1, StridedSlice: 3, Concat: 1 },
  },
  {
    name: 'joinConvolutions leaves layers apart that fill their vectors, differ, or are outputs', prepare: (graph) => fuseActivations(toChannelsLast(graph)), pass: joinConvolutions,
    spec: spec([
      node('Conv', ['x', 'p'], ['h0']), node('Conv', ['x', 'q'], ['h1']), node('Concat', ['h0', 'h1'], ['y0'], { axis: 1 }),
      node('Conv', ['x', 'w', 'b'], ['h2']), node('Relu', ['h2'], ['h3']), node('Conv', ['x', 'u'], ['h4']), node('Concat', ['h3', 'h4'], ['y1'], { axis: 1 }),
      node('Conv', ['x', 'v'], ['h5']), node('Concat', ['h5', 'x'], ['y2'], { axis: 1 }),
    ], ['y0', 'y1', 'y2'], { ...weights, p: randomTensor([16, 3, 1, 1], 3), q: randomTensor([32, 3, 1, 1], 4), u: randomTensor([6, 3, 1, 1], 5), v: randomTensor([40, 3, 1, 1], 6) }),
    ops: { Transpose: 4, NhwcConv: 5, Concat: 3 },
  },
  {
    name: 'removeIdentities', pass: removeIdentities,
    spec: spec([
      node('Identity', ['x'], ['a']), node('Dropout', ['a'], ['b']), node('Cast', ['b'], ['c'], { to: 1 }), node('Transpose', ['c'], ['d'], { perm: [0, 1, 2, 3] }),
      node('Relu', ['d'], ['e']), node('Concat', ['e'], ['y'], { axis: 1 }),
    ], ['y']),
    ops: { Relu: 1 },
  },
  {
    name: 'removeIdentities keeps the names of outputs', pass: removeIdentities,
    spec: spec([node('Relu', ['x'], ['r']), node('Identity', ['r'], ['y']), node('Neg', ['r'], ['z'])], ['y', 'z']),
    ops: { Relu: 1, Neg: 1 },
  },
  {
    name: 'removeIdentities cannot remove a path from input to output', pass: removeIdentities,
    spec: spec([node('Identity', ['x'], ['y'])], ['y']),
    ops: { Identity: 1 },
  },
  {
    name: 'foldAffine takes in batch normalization, factors and terms', pass: foldAffine,
    spec: spec([
      node('Conv', ['x', 'w', 'b'], ['c']), node('BatchNormalization', ['c', 'scale', 'shift', 'mean', 'variance'], ['n']), node('Mul', ['n', 'k'], ['m']), node('Sub', ['half', 'm'], ['y']),
    ], ['y'], { ...weights, ...batchNorm, k: randomTensor([1, 6, 1, 1], 3), half: floats([], 0.5) }),
    ops: { Conv: 1 },
  },
  {
    name: 'foldAffine leaves what varies over pixels, and layers that others read', pass: foldAffine,
    spec: spec([node('Conv', ['x', 'w'], ['c']), node('Mul', ['c', 'k'], ['y']), node('Add', ['c', 'one'], ['z'])], ['y', 'z'], { ...weights, k: randomTensor([5], 3), one: floats([], 1) }),
    ops: { Conv: 1, Mul: 1, Add: 1 },
  },
  {
    name: 'foldAffine works on Gemm', pass: foldAffine,
    spec: { ...spec([node('Flatten', ['x'], ['f']), node('Gemm', ['f', 'w', 'b'], ['g']), node('Div', ['g', 'k'], ['y'])], ['y'], { w: randomTensor([60, 6], 1), b: weights.b, k: randomTensor([6], 3, 1, 2) }) },
    ops: { Flatten: 1, Gemm: 1 },
  },
  {
    name: 'foldAffine works on ConvTranspose, but for groups', pass: foldAffine,
    spec: spec([
      node('ConvTranspose', ['x', 'v'], ['c'], { strides: [2, 2] }), node('BatchNormalization', ['c', 'scale', 'shift', 'mean', 'variance'], ['n']), node('ConvTranspose', ['x', 'u'], ['d'], { group: 3 }),
      node('Mul', ['d', 'k'], ['m']), node('Concat', ['n', 'r'], ['y'], { axis: 1 }), node('Pad', ['m', 'p'], ['r']),
    ], ['y'], { ...batchNorm, v: randomTensor([3, 6, 2, 2], 1), u: randomTensor([3, 2, 1, 1], 2), k: randomTensor([6, 1, 1], 3), p: ints64(0, 0, 0, 0, 0, 0, 4, 5) }),
    ops: { ConvTranspose: 2, Mul: 1, Pad: 1, Concat: 1 },
  },
  {
    name: 'decomposeBatchNorm', pass: decomposeBatchNorm,
    spec: spec([node('BatchNormalization', ['x', 'scale', 'shift', 'mean', 'variance'], ['y'])], ['y'], Object.fromEntries(['scale', 'shift', 'mean', 'variance'].map((name, i) => [name, randomTensor([3], i, 0.3, 1)]))),
    ops: { Mul: 1, Add: 1 },
  },
  {
    name: 'sinkTransposes: two convolutions with an activation between', prepare: canonical, pass: (g) => removeIdentities(sinkTransposes(g)),
    spec: spec([node('Conv', ['x', 'w', 'b'], ['c']), node('Relu', ['c'], ['r']), node('Conv', ['r', 'v'], ['y'])], ['y'], { ...weights, v: randomTensor([2, 6, 3, 3], 3) }),
    ops: { Transpose: 2, NhwcConv: 2, Unary: 1 },
  },
  {
    name: 'sinkTransposes: a detection head', prepare: canonical, pass: (g) => removeIdentities(sinkTransposes(g)),
    spec: spec([
      node('Conv', ['x', 'w', 'b'], ['c']), node('Transpose', ['c'], ['t'], { perm: [0, 2, 3, 1] }), node('Reshape', ['t', 's'], ['f']), node('Conv', ['x', 'w', 'b'], ['d']),
      node('Transpose', ['d'], ['u'], { perm: [0, 2, 3, 1] }), node('Reshape', ['u', 's'], ['g']), node('Concat', ['f', 'g'], ['y'], { axis: 1 }),
    ], ['y'], { ...weights, s: ints64(1, -1, 2) }),
    ops: { Transpose: 2, NhwcConv: 2, View: 2, Concat: 1 },
  },
  {
    name: 'sinkTransposes: branches that join, pads, slices, softmax and reductions', prepare: canonical, pass: (g) => simplifyViews(removeIdentities(sinkTransposes(g))),
    spec: spec([
      node('Conv', ['x', 'w', 'b'], ['c']), node('Conv', ['x', 'w', 'b'], ['d']), node('Add', ['c', 'd'], ['a']), node('Mul', ['a', 'k'], ['m']), node('Concat', ['m', 'c'], ['j'], { axis: 1 }),
      node('Pad', ['j', 'p'], ['q']), node('Softmax', ['q'], ['s'], { axis: 1 }), node('Slice', ['s', 'from', 'to', 'axis'], ['l']), node('ReduceMax', ['l'], ['y'], { axes: [2, 3], keepdims: 0 }),
    ], ['y'], { ...weights, k: randomTensor([6, 1, 1], 3), p: ints64(0, 0, 1, 0, 0, 0, 0, 2), from: ints64(2), to: ints64(9), axis: ints64(1) }),
    ops: { Transpose: 2, NhwcConv: 2, Add: 1, Mul: 1, Concat: 1, PadNd: 1, AxisSoftmax: 1, StridedSlice: 1, Reduce: 1, View: 1 },
  },
  {
    name: 'sinkTransposes: a channels-last model cancels everything', prepare: canonical, pass: (g) => removeIdentities(sinkTransposes(g)),
    spec: {
      ...spec([
        node('Transpose', ['x'], ['t'], { perm: [0, 3, 1, 2] }), node('Conv', ['t', 'w'], ['c']), node('Transpose', ['c'], ['u'], { perm: [0, 2, 3, 1] }), node('Clip', ['u', 'low', 'high'], ['y']),
      ], ['y'], { w: randomTensor([6, 5, 1, 1], 1), low: floats([], 0), high: floats([], 6) }),
    },
    ops: { NhwcConv: 1, Unary: 1 },
  },
  {
    name: 'removeDuplicates', prepare: canonical, pass: removeDuplicates,
    spec: spec([node('Conv', ['x', 'w'], ['c']), node('Conv', ['x', 'v'], ['d']), node('Concat', ['c', 'd'], ['y'], { axis: 1 })], ['y'], { ...weights, v: randomTensor([2, 3, 1, 1], 4) }),
    ops: { Transpose: 3, NhwcConv: 2, Concat: 1 },
  },
  {
    name: 'removeDuplicates: the same numbers as constants of their own', pass: removeDuplicates,
    spec: spec([
      ...['a', 'b', 'c'].flatMap((scale) => [node('QuantizeLinear', ['x', scale], [`${scale}q`]), node('DequantizeLinear', [`${scale}q`, scale], [`${scale}d`])]), node('Concat', ['ad', 'bd', 'cd'], ['y'], { axis: 1 }),
    ], ['y'], { a: floats([], 0.02), b: floats([], 0.02), c: floats([], 0.03) }),
    ops: { QuantizeLinear: 2, DequantizeLinear: 2, Concat: 1 },
  },
  {
    name: 'simplifyViews: views of views, and transposes of single axes', prepare: canonical, pass: simplifyViews,
    spec: spec([node('Reshape', ['x', 's'], ['r']), node('Flatten', ['r'], ['f']), node('Reshape', ['f', 't'], ['g']), node('Transpose', ['g'], ['y'], { perm: [1, 0, 2] })], ['y'], { s: ints64(6, 10), t: ints64(60, 1, 1) }),
    ops: { View: 1 },
  },
  {
    name: 'fuseSilu', prepare: canonical, pass: fuseSilu,
    spec: spec([node('Sigmoid', ['x'], ['s']), node('Mul', ['x', 's'], ['m']), node('HardSigmoid', ['m'], ['h'], { alpha: { float: 1 / 6 }, beta: { float: 0.5 } }), node('Mul', ['h', 'm'], ['y'])], ['y']),
    ops: { Unary: 2 },
  },
  {
    name: 'hoistFunctions: before the phases of transposed convolutions are interleaved', prepare: layout, pass: (g) => fuseActivations(hoistFunctions(removeIdentities(g))),
    spec: spec([
      node('ConvTranspose', ['x', 'w'], ['c'], { strides: [2, 2] }), node('Relu', ['c'], ['r']), node('ConvTranspose', ['r', 'v'], ['d'], { strides: [1, 2], group: 2 }), node('Tanh', ['d'], ['y']),
    ], ['y'], { w: randomTensor([3, 4, 2, 2], 1), v: randomTensor([4, 3, 1, 3], 2, -0.4, 0.4) }),
    ops: { Transpose: 2, NhwcConv: 3, Concat: 1, Interleave: 2 },
  },
  {
    name: 'fuseActivations: activation, residual, and activation after it', prepare: layout, pass: (g) => fuseActivations(removeIdentities(g)),
    spec: spec([
      node('Conv', ['x', 'w', 'b'], ['c']), node('PRelu', ['c', 'slope'], ['p']), node('Conv', ['p', 'v'], ['d']), node('Add', ['p', 'd'], ['a']), node('Relu', ['a'], ['y']),
    ], ['y'], { ...weights, v: randomTensor([6, 6, 1, 1], 3), slope: randomTensor([6, 1, 1], 4) }),
    ops: { Transpose: 2, NhwcConv: 2 },
  },
  {
    name: 'fuseActivations keeps what others read', prepare: layout, pass: (g) => fuseActivations(removeIdentities(g)),
    spec: spec([node('Conv', ['x', 'w', 'b'], ['c']), node('Relu', ['c'], ['r']), node('Neg', ['c'], ['n']), node('Add', ['r', 'n'], ['y'])], ['y'], weights),
    ops: { Transpose: 2, NhwcConv: 1, Unary: 2, Add: 1 },
  },
  {
    name: 'decomposeQuantization: a scale for each channel', pass: decomposeQuantization,
    spec: spec([node('QuantizeLinear', ['x', 's'], ['q']), node('DequantizeLinear', ['q', 's'], ['y'])], ['y'], { s: floats([3], 0.02, 0.5, 0.1) }),
    ops: { Div: 1, Unary: 2, Cast: 2, View: 1, Mul: 1 },
  },
  {
    name: 'decomposeQuantization leaves what the engine has an op for', pass: decomposeQuantization,
    spec: spec([node('QuantizeLinear', ['x', 's'], ['q']), node('DequantizeLinear', ['q', 's'], ['y'])], ['y'], { s: floats([], 0.02) }),
    ops: { QuantizeLinear: 1, DequantizeLinear: 1 },
  },
  {
    name: 'sinkTransposes: through a mask and a choice by it', prepare: canonical, pass: (g) => removeIdentities(sinkTransposes(removeIdentities(g))),
    spec: spec([node('Conv', ['x', 'w', 'b'], ['c']), node('Greater', ['c', 'k'], ['m']), node('Where', ['m', 'c', 'k'], ['d']), node('Conv', ['d', 'v'], ['y'])], ['y'], { ...weights, k: floats([], 0.1), v: randomTensor([2, 6, 1, 1], 3) }),
    ops: { Transpose: 2, NhwcConv: 2, Compare: 1, Where: 1 },
  },
  {
    name: 'sinkTransposes: through a shuffle of channels, which becomes a transpose of the last axes', pass: toChannelsLast,
    spec: spec([
      node('Conv', ['x', 'w', 'b'], ['c']), node('Reshape', ['c', 'apart'], ['r']), node('Transpose', ['r'], ['t'], { perm: [0, 2, 1, 3, 4] }), node('Reshape', ['t', 'joined'], ['s']), node('Conv', ['s', 'v'], ['y']),
    ], ['y'], { ...weights, v: randomTensor([2, 6, 1, 1], 3), apart: ints64(1, 2, 3, 4, 5), joined: ints64(1, 6, 4, 5) }),
    ops: { Transpose: 3, NhwcConv: 2, View: 2 },
  },
  {
    name: 'fuseBinary', prepare: canonical, pass: fuseBinary,
    spec: spec([node('Add', ['x', 'k'], ['a']), node('Relu', ['a'], ['r']), node('Div', ['r', 'k'], ['y'])], ['y'], { k: floats([], 2) }),
    ops: { BinaryF32: 2 },
  },
  {
    name: 'recognizeGelu: in the order of PyTorch', prepare: canonical, pass: recognizeGelu,
    spec: spec([node('Div', ['x', 'root'], ['d']), node('Erf', ['d'], ['e']), node('Add', ['e', 'one'], ['a']), node('Mul', ['x', 'a'], ['m']), node('Mul', ['m', 'half'], ['y'])], ['y'], geluConstants),
    ops: { Unary: 1 },
  },
  {
    name: 'recognizeGelu: the half before the product', prepare: canonical, pass: recognizeGelu,
    spec: spec([node('Mul', ['x', 'inverse'], ['d']), node('Erf', ['d'], ['e']), node('Add', ['one', 'e'], ['a']), node('Mul', ['x', 'half'], ['h']), node('Mul', ['a', 'h'], ['y'])], ['y'], geluConstants),
    ops: { Unary: 1 },
  },
  {
    name: 'recognizeGelu leaves another factor', prepare: canonical, pass: recognizeGelu,
    spec: spec([node('Div', ['x', 'two'], ['d']), node('Erf', ['d'], ['e']), node('Add', ['e', 'one'], ['a']), node('Mul', ['x', 'a'], ['m']), node('Mul', ['m', 'half'], ['y'])], ['y'], { ...geluConstants, two: floats([], 2) }),
    ops: { Div: 1, Unary: 1, Add: 1, Mul: 2 },
  },
  {
    name: 'recognizeNormalization: LayerNormalization with factor and summand', prepare: canonical, pass: recognizeNormalization,
    spec: { ...spec([node('LayerNormalization', ['x', 's', 't'], ['y'], { epsilon: { float: 0.01 } })], ['y'], { s: randomTensor([5], 1), t: randomTensor([5], 2) }), opset: 17 },
    ops: { NormalizeRows: 1 },
  },
  {
    name: 'recognizeNormalization: as models of older operator sets write it', prepare: (g) => removeIdentities(canonical(g)), pass: recognizeNormalization,
    spec: spec([
      node('ReduceMean', ['x'], ['m'], { axes: [-1] }), node('Sub', ['x', 'm'], ['c']), node('Pow', ['c', 'two'], ['p']), node('ReduceMean', ['p'], ['v'], { axes: [-1] }), node('Add', ['v', 'e'], ['w']),
      node('Sqrt', ['w'], ['r']), node('Div', ['c', 'r'], ['n']), node('Mul', ['n', 's'], ['y'])], ['y'], { two: floats([], 2), e: floats([], 0.01), s: randomTensor([5], 1) }),
    ops: { NormalizeRows: 1 },
  },
  {
    name: 'recognizeNormalization leaves the statistics of several axes', prepare: canonical, pass: recognizeNormalization,
    spec: { ...spec([node('LayerNormalization', ['x', 's'], ['y'], { axis: 2 })], ['y'], { s: randomTensor([4, 5], 1) }), opset: 17 },
    ops: { Reduce: 2, Sub: 1, Unary: 2, Div: 1, Mul: 1 },
  },
  {
    name: 'recognizeAttention: transposed heads, a factor and a mask; the result side by side', prepare: canonical, pass: fuseAttention,
    spec: spec([
      node('Transpose', ['x'], ['q'], { perm: [0, 2, 1, 3] }), node('Transpose', ['k'], ['kt'], { perm: [0, 2, 3, 1] }), node('Transpose', ['v'], ['vt'], { perm: [0, 2, 1, 3] }), node('MatMul', ['q', 'kt'], ['s']),
      node('Div', ['s', 'root'], ['d']), node('Add', ['d', 'mask'], ['m']), node('Softmax', ['m'], ['p'], { axis: -1 }), node('MatMul', ['p', 'vt'], ['o']), node('Transpose', ['o'], ['y'], { perm: [0, 2, 1, 3] })], ['y'],
    { ...geluConstants, k: randomTensor([1, 7, 4, 5], 1), v: randomTensor([1, 7, 4, 6], 2), mask: randomTensor([3, 7], 3) }),
    ops: { FusedAttention: 1 },
  },
  {
    name: 'recognizeAttention: heads and pictures joined to one axis', prepare: canonical, pass: fuseAttention,
    spec: spec([
      node('Reshape', ['x', 'three'], ['q']), node('Relu', ['x'], ['k']), node('Reshape', ['k', 'three'], ['kr']), node('Transpose', ['kr'], ['kt'], { perm: [0, 2, 1] }), node('Abs', ['x'], ['v']), node('Reshape', ['v', 'three'], ['vr']), node('MatMul', ['q', 'kt'], ['s']),
      node('Softmax', ['s'], ['p'], { axis: -1 }), node('MatMul', ['p', 'vr'], ['o']), node('Reshape', ['o', 'apart'], ['r']), node('Transpose', ['r'], ['y'], { perm: [0, 2, 1, 3] })], ['y'],
    { three: ints64(3, 4, 5), apart: ints64(1, 3, 4, 5) }),
    ops: { Unary: 2, FusedAttention: 1 },
  },
  {
    name: 'recognizeAttention leaves scores that others read', prepare: canonical, pass: fuseAttention,
    spec: spec([node('MatMul', ['x', 'k'], ['s']), node('Softmax', ['s'], ['p'], { axis: -1 }), node('MatMul', ['p', 'v'], ['y'])], ['y', 's'], { k: randomTensor([1, 3, 5, 7], 1), v: randomTensor([1, 3, 7, 2], 2) }),
    ops: { MatMul: 2, AxisSoftmax: 1 },
  },
];

describe('passes', () => {
  it.each(rows)('$name', ({ spec: modelSpec, prepare, pass, ops }) => {
    const before = prepare === undefined ? load(modelSpec) : prepare(load(modelSpec));
    const after = pass(before);
    expect(count(after)).toEqual(ops);
    expectSameOutputs(before, after, new Map([['x', randomTensor(x, 99)]]));
  });

  it('foldConstants does not blow a small model up', () => {
    const huge = load(spec([node('ConstantOfShape', ['to'], ['k']), node('ReduceSum', ['k'], ['s'], { keepdims: 0 }), node('Add', ['x', 's'], ['y'])], ['y'], { to: ints64(2 ** 14, 2 ** 13) }));
    expect(count(foldConstants(huge))).toEqual({ ConstantOfShape: 1, ReduceSum: 1, Add: 1 });
  });

  it('change nothing when there is nothing to do', () => {
    const done = optimize(load(spec([node('Conv', ['x', 'w', 'b'], ['y'])], ['y'], weights)));
    for (const pass of [foldConstants, removeIdentities, foldAffine, sinkTransposes, simplifyViews, removeDuplicates, fuseActivations]) expect(pass(done)).toBe(done);
  });
});

describe('on random graphs', () => {
  const feeds = new Map([['x', randomTensor([1, 3, 5, 4], 9)]]);
  it.each([['simplifyOnnx', simplifyOnnx], ['toChannelsLast', toChannelsLast], ['optimize', optimize]] as const)('%s preserves the outputs', (_, pass) => {
    fc.assert(fc.property(randomModels, (modelSpec) => {
      const graph = load(modelSpec);
      expectSameOutputs(graph, pass(graph), feeds);
    }), { numRuns: 60 });
  });
});
