import { describe, expect, it } from 'vitest';
import type { Graph, Node } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { int, ints } from '../../../runtime/graph/attributes.js';
import { elementCount, fromNumbers, stridesOf, type Shape, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { evaluateNode, inferNode, inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { loweredOperators } from '../../../runtime/lower/compile.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { neededRegions, recordOf, stepsOf } from '../../../runtime/ops/registry.js';
import { reshapedRegion, wholeRegion, type Region } from '../../../runtime/ops/regions.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { insertPixelInputs } from '../../../runtime/optimize/passes/insert-pixel-input.js';
import { modelBytes, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import { random } from '../support/random.js';
import { cases as plainCases, type Case } from './cases.js';
import { layerCases } from './layer-cases.js';
import { quantizedCases } from './quantized-cases.js';
import { wholeCases } from './whole-cases.js';

const cases: readonly Case[] = [...plainCases, ...layerCases, ...wholeCases, ...quantizedCases];

/** Which elements of a tensor of `shape` lie in a region, in row-major order. */
function inside(shape: Shape, region: Region): boolean[] {
  const strides = stridesOf(shape);
  return Array.from({ length: elementCount(shape) }, (_, i) => region.every(({ from, to }, axis) => {
    const at = Math.floor(i / (strides[axis] ?? 1)) % Math.max(1, shape[axis] ?? 1);
    return at >= from && at < to;
  }));
}

/** A box in a tensor, of at least one element along each axis. */
const someRegion = (shape: Shape, next: () => number): Region => shape.map((size) => {
  const from = Math.floor(next() * size);
  return { from, to: from + 1 + Math.floor(next() * (size - from)) };
});

/** The tensor with other elements of it wherever `kept` is false. */
function disturbed(value: TensorValue, kept: readonly boolean[], next: () => number): TensorValue {
  const data = value.data.slice();
  kept.forEach((keep, i) => { if (!keep) data[i] = value.data[Math.floor(next() * value.data.length)] ?? 0; });
  return { ...value, data };
}

/** Checks that a region of a node's output depends only on the regions that its operator states. */
function checkNode(graph: Graph, node: Node, values: ReadonlyMap<string, TensorValue>, next: () => number): void {
  const inputs = node.inputs.map((name) => (name === '' ? undefined : values.get(name)));
  const types = inferNode(graph, node, graph.types, values);
  const [wanted] = evaluateNode(graph, node, inputs, types);
  if (wanted === undefined || wanted.data.length === 0) return;
  const region = someRegion(wanted.dims, next);
  const needs = neededRegions({ node, inputs: inputs.map((value) => value?.dims), output: wanted.dims }, region);
  const others = inputs.map((value, i) => (value === undefined ? undefined : disturbed(value, inside(value.dims, needs[i] ?? []), next)));
  const [got] = evaluateNode(graph, node, others, types);
  const where = `${node.op} '${node.name}', ${JSON.stringify(region)} of [${wanted.dims.join()}] from ${JSON.stringify(needs)}`;
  inside(wanted.dims, region).forEach((within, i) => { if (within) expect(got?.data[i], where).toEqual(wanted.data[i]); });
}

const checked = new Set<string>();

function checkGraph(graph: Graph, feeds: Case['feeds']): void {
  const next = random(11);
  const names = graph.nodes.flatMap((node) => node.outputs).filter((name) => name !== '');
  const values = new Map([...graph.constants, ...Object.entries(feeds), ...interpret(graph, new Map(Object.entries(feeds)), names)]);
  for (const node of graph.nodes) {
    if (recordOf(node)?.needs === undefined) continue;
    checked.add(node.op);
    for (let i = 0; i < 4; i++) checkNode(graph, node, values, next);
  }
}

const imported = (spec: ModelSpec): Graph => inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));

const signs: Case = {
  name: 'a convolution of signs',
  spec: {
    inputs: { x: [1, 3, 6, 5] }, outputs: ['y'],
    constants: { w: fromNumbers('float32', [4, 3, 3, 3], Array.from({ length: 108 }, (_, i) => ((i % 3) - 1) / 2)), b: randomTensor([4], 3), first: randomTensor([3, 3, 1, 1], 4) },
    nodes: [node('Conv', ['x', 'first'], ['c']), node('Sign', ['c'], ['s']), node('Conv', ['s', 'w', 'b'], ['y'], { pads: [1, 1, 1, 1], strides: [2, 1] })],
  },
  feeds: { x: randomTensor([1, 3, 6, 5], 5, -1, 1) },
};

describe('regions that an operator needs of its inputs', () => {
  it.each([...cases, signs])('$name', ({ spec, feeds }) => {
    checkGraph(imported(spec), feeds);
    checkGraph(optimize(imported(spec)), feeds);
  });

  it('of pixels', () => {
    const graph = imported({ inputs: { x: [1, 3, 4, 5] }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'] });
    checkGraph(optimize(insertPixelInputs(graph, { x: { mean: [1, 2, 3], std: [2, 3, 4] } })), { x: randomInts('uint8', [1, 4, 5, 3], 1, 0, 255) });
  });

  it('of a window are the rows and columns under it', () => {
    const attributes = new Map(Object.entries({ strides: ints([2, 1]), pads: ints([1, 1, 1, 1]), dilations: ints([1, 2]), group: int(1) }));
    const conv: Node = { name: 'c', op: 'ConvQ8', inputs: ['x', 'w', '', 's'], outputs: ['y'], attributes };
    const region = [{ from: 0, to: 1 }, { from: 1, to: 3 }, { from: 0, to: 2 }, { from: 3, to: 5 }];
    const needs = neededRegions({ node: conv, inputs: [[1, 8, 9, 4], [6, 3, 3, 4], undefined, [6]], output: [1, 4, 7, 6] }, region);
    expect(needs).toEqual([[{ from: 0, to: 1 }, { from: 1, to: 6 }, { from: 0, to: 5 }, { from: 0, to: 4 }], wholeRegion([6, 3, 3, 4]), undefined, wholeRegion([6])]);
  });

  it('are stated by every operator of the engine but those whose outputs depend on everything', () => {
    const silent = loweredOperators.filter((op) => recordOf({ op })?.needs === undefined);
    expect(silent).toEqual(['DataRange', 'FusedAttention', 'GatherND', 'RangeScale', 'RangeZero', 'Recurrence', 'SelectBoxes']);
    expect(loweredOperators.filter((op) => !silent.includes(op) && !checked.has(op))).toEqual([]);
  });

  it('are all inputs where a record says nothing', () => {
    const gather: Node = { name: 'n', op: 'GatherND', inputs: ['x', '', 'i'], outputs: ['y'], attributes: new Map() };
    const context = { node: gather, inputs: [[4, 3], undefined, [2, 1]], output: [2, 3] };
    expect(neededRegions(context, [{ from: 0, to: 1 }, { from: 0, to: 1 }])).toEqual([wholeRegion([4, 3]), undefined, wholeRegion([2, 1])]);
  });

  it('of a view are the smallest box that holds the elements', () => {
    expect(reshapedRegion([4, 6], [24], [{ from: 8, to: 10 }])).toEqual([{ from: 1, to: 2 }, { from: 2, to: 4 }]);
    expect(reshapedRegion([4, 6], [24], [{ from: 5, to: 7 }])).toEqual([{ from: 0, to: 2 }, { from: 0, to: 6 }]);
    expect(reshapedRegion([4, 6], [24], [{ from: 3, to: 3 }])).toEqual([{ from: 0, to: 0 }, { from: 0, to: 0 }]);
  });
});

describe('steps of the reference evaluation', () => {
  const of = (op: string): Node => ({ name: op, op, inputs: ['a', 'b'], outputs: ['y'], attributes: new Map() });

  it('are bounded by inputs times outputs where each output may depend on all inputs', () => {
    for (const op of ['Recurrence', 'MatMulS32', 'ResampleAxis', 'SelectBoxes', 'Conv']) expect(stepsOf(of(op), [[100], [50]], [[10]]), op).toBe(1500);
    expect(stepsOf(of('Add'), [[100], [100]], [[100]])).toBe(400);
  });
});
