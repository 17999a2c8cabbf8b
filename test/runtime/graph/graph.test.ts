import { describe, expect, it } from 'vitest';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { cloneGraph, consumersOf, producersOf, removeDead } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { floats, model, node, randomTensor, type ModelSpec } from '../support/models.js';

const chain: ModelSpec = {
  inputs: { x: [2, 3] },
  constants: { one: floats([], 1), unused: floats([], 2) },
  // Written out of order on purpose.
  nodes: [node('Add', ['r', 'one'], ['y']), node('Relu', ['x'], ['r']), node('Neg', ['x'], ['dead'])],
  outputs: ['y'],
};



describe('importing', () => {
  it('sorts nodes, and drops what no output needs', () => {
    const graph = graphFromOnnx(model(chain));
    expect(graph.nodes.map(({ op }) => op)).toEqual(['Relu', 'Add']);
    expect([...graph.constants.keys()]).toEqual(['one']);
  });

  it('resolves symbols, 1 by default', () => {
    const spec = { ...chain, inputs: { x: ['batch', 'other'] } };
    expect(graphFromOnnx(model(spec), { symbols: { batch: 4 } }).types.get('x')?.shape).toEqual([4, 1]);
  });

  it('makes constants of Constant nodes', () => {
    const spec = { ...chain, constants: {}, nodes: [node('Constant', [], ['one'], { value: { type: 'tensor', value: floats([], 1) } }), ...chain.nodes] };
    expect(graphFromOnnx(model(spec)).constants.get('one')).toEqual(floats([], 1));
  });

  it.each<[string, ModelSpec]>([
    ['a cycle', { ...chain, nodes: [node('Add', ['x', 'b'], ['a']), node('Relu', ['a'], ['b']), node('Relu', ['b'], ['y'])] }],
    ['a value that nothing makes', { ...chain, nodes: [node('Relu', ['ghost'], ['y'])] }],
    ['a value made twice', { ...chain, nodes: [node('Relu', ['x'], ['y']), node('Neg', ['x'], ['y'])] }],
    ['an output that nothing makes', { ...chain, outputs: ['ghost'] }],
    ['no output', { ...chain, outputs: [] }],
  ])('refuses %s', (_, spec) => {
    expect(() => graphFromOnnx(model(spec))).toThrow(expect.objectContaining({ code: 'E_MODEL_MALFORMED' }));
  });

  it.each([6, 26])('refuses operator set %i for operators that changed', (opset) => {
    expect(() => graphFromOnnx(model({ ...chain, opset }))).toThrow(expect.objectContaining({ code: 'E_MODEL_OP' }));
  });

  it('reads an older operator set by the rules of 7 when nothing has changed since', () => {
    const elu = { ...chain, nodes: [node('Elu', ['x'], ['y'])] };
    expect(graphFromOnnx(model({ ...elu, opset: 6 })).opset).toBe(7);
    expect(() => graphFromOnnx(model({ ...elu, opset: 5 }))).toThrow(expect.objectContaining({ details: { opset: 5, op: 'Elu' } }));
    expect(() => graphFromOnnx(model({ ...elu, opset: 0 }))).toThrow(expect.objectContaining({ code: 'E_MODEL_OP' }));
  });

  it('names node, operator and attribute of what is not supported', () => {
    const unknown = graphFromOnnx(model({ ...chain, nodes: [node('StringNormalizer', ['x'], ['y'])] }));
    expect(() => inferShapes(unknown)).toThrow(expect.objectContaining({ code: 'E_MODEL_OP', details: { node: 'y', op: 'StringNormalizer' } }));
    const lanczos = graphFromOnnx(model({
      ...chain, inputs: { x: [1, 1, 2, 2] }, constants: { s: floats([4], 1, 1, 2, 2) }, nodes: [node('Resize', ['x', '', 's'], ['y'], { mode: 'lanczos' })],
    }));
    expect(() => inferShapes(lanczos)).toThrow(expect.objectContaining({ details: { node: 'y', op: 'Resize', attribute: 'mode' } }));
    const foreign = model({ ...chain, nodes: [{ ...node('Attention', ['x'], ['y']), domain: 'com.example' }] });
    expect(() => graphFromOnnx(foreign)).toThrow(expect.objectContaining({ details: { node: 'y', op: 'Attention' } }));
  });

  it('names the node where shapes do not fit', () => {
    const graph = graphFromOnnx(model({ ...chain, constants: { one: floats([5], 1, 2, 3, 4, 5) } }));
    expect(() => inferShapes(graph)).toThrow(expect.objectContaining({ code: 'E_MODEL_SHAPE', details: { node: 'y', op: 'Add' } }));
  });

  it('sorts a chain of 20,000 nodes without exhausting the stack', () => {
    const length = 20_000;
    const nodes = Array.from({ length }, (_, i) => node('Relu', [i === 0 ? 'x' : `v${i}`], [i === length - 1 ? 'y' : `v${i + 1}`])).reverse();
    expect(graphFromOnnx(model({ ...chain, nodes })).nodes).toHaveLength(length);
  });
});

describe('a graph', () => {
  const graph = inferShapes(graphFromOnnx(model(chain)));

  it('becomes an ONNX model again', () => {
    const again = inferShapes(graphFromOnnx(parseModel(serializeModel(graphToOnnx(graph)))));
    const feeds = new Map([['x', randomTensor([2, 3], 1)]]);
    expect(interpret(again, feeds)).toEqual(interpret(graph, feeds));
  });

  it('knows makers and readers', () => {
    expect(producersOf(graph.nodes).get('r')?.op).toBe('Relu');
    expect(consumersOf(graph.nodes).get('r')?.map(({ op }) => op)).toEqual(['Add']);
  });

  it('clones without sharing', () => {
    const copy = cloneGraph(graph);
    expect(copy).toEqual(graph);
    expect(copy.nodes[0]).not.toBe(graph.nodes[0]);
    expect(removeDead(copy)).toEqual(graph);
  });
});
