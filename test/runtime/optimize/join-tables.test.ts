import { describe, expect, it } from 'vitest';
import type { Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { toChannelsLast } from '../../../runtime/optimize/optimize.js';
import { foldQuantization } from '../../../runtime/optimize/passes/fold-quantization.js';
import { joinTables } from '../../../runtime/optimize/passes/join-tables.js';
import { removeIdentities } from '../../../runtime/optimize/passes/remove-identities.js';
import { floats, model, node, randomTensor } from '../support/models.js';

const dims = [1, 3, 5, 4];
/** What every model here holds: quantizations of a scale each, and a constant for each of four channels. */
const constants: Record<string, TensorValue> = {
  wide: floats([], 0.03), narrow: floats([], 1 / 255), middle: fromNumbers('uint8', [], [120]), low: fromNumbers('uint8', [], [0]), signed: fromNumbers('int8', [], [-7]),
  slopes: randomTensor([4], 5, 0.5, 2),
};

/** `value`, quantized and floats again. */
const fake = (value: string, scale: string, zero: string): OnnxNode[] => [
  node('QuantizeLinear', [value, scale, zero], [`${value}.q`]), node('DequantizeLinear', [`${value}.q`, scale, zero], [`${value}.d`]),
];

function quantized(nodes: readonly OnnxNode[], outputs: readonly string[]): Graph {
  const graph = inferShapes(graphFromOnnx(model({ inputs: { x: dims, other: dims }, constants, nodes, outputs, opset: 13 })));
  return removeIdentities(foldQuantization(toChannelsLast(graph)));
}

const opsOf = (graph: Graph): string[] => graph.nodes.map(({ op }) => op).filter((op) => op.endsWith('Q8'));

/** The graph before and after; every output has the same bits for values that reach all codes. */
function joined(nodes: readonly OnnxNode[], outputs: readonly string[]): { before: string[]; after: string[] } {
  const before = quantized(nodes, outputs);
  const after = joinTables(before);
  for (const seed of [1, 2]) {
    const feeds = new Map([['x', randomTensor(dims, seed, -5, 5)], ['other', randomTensor(dims, seed + 2, -5, 5)]]);
    expect(interpret(after, feeds)).toEqual(interpret(before, feeds));
  }
  return { before: opsOf(before), after: opsOf(after) };
}

const sigmoid = [...fake('x', 'wide', 'middle'), node('Sigmoid', ['x.d'], ['s']), ...fake('s', 'narrow', 'low')];

describe('joinTables', () => {
  it.each([['x.d', 's.d'], ['s.d', 'x.d']])('makes one table of %s times %s', (a, b) => {
    expect(joined([...sigmoid, node('Mul', [a, b], ['m']), ...fake('m', 'wide', 'low')], ['m.d'])).toEqual({ before: ['LutQ8', 'BinaryQ8'], after: ['LutQ8'] });
  });

  it('makes one table of a square, and of two functions of a value', () => {
    expect(joined([...fake('x', 'wide', 'middle'), node('Mul', ['x.d', 'x.d'], ['m']), ...fake('m', 'wide', 'low')], ['m.d'])).toEqual({ before: ['BinaryQ8'], after: ['LutQ8'] });
    const two = [...sigmoid, node('Tanh', ['x.d'], ['t']), ...fake('t', 'narrow', 'low'), node('Sub', ['t.d', 's.d'], ['m']), ...fake('m', 'narrow', 'middle')];
    expect(joined(two, ['m.d'])).toEqual({ before: ['LutQ8', 'LutQ8', 'BinaryQ8'], after: ['LutQ8'] });
  });

  it('takes tables of a channel each, and another type of the result', () => {
    const scaled = [...sigmoid, node('Mul', ['s.d', 'slopes'], ['p']), ...fake('p', 'wide', 'signed')];
    const uniform = { before: ['LutQ8', 'LutQ8'], after: ['LutQ8'] };
    expect(joined(scaled, ['p.d'])).toEqual(uniform);
    expect(joined([...scaled, node('Add', ['p.d', 's.d'], ['m']), ...fake('m', 'wide', 'signed')], ['m.d'])).toEqual({ before: ['LutQ8', 'LutQ8', 'BinaryQ8'], after: ['LutQ8', 'LutQ8'] });
  });

  it('keeps a table that is an output, and joins what follows only where nobody else reads it', () => {
    expect(joined([...sigmoid, node('Mul', ['x.d', 's.d'], ['m']), ...fake('m', 'wide', 'low')], ['m.d', 's.d']).after).toEqual(['LutQ8', 'LutQ8']);
    const after = [node('Tanh', ['s.d'], ['t']), ...fake('t', 'narrow', 'low')];
    expect(joined([...sigmoid, ...after], ['t.d', 's.d']).after).toEqual(['LutQ8', 'LutQ8']);
    expect(joined([...sigmoid, ...after], ['t.d']).after).toEqual(['LutQ8']);
  });

  it('leaves products of different values', () => {
    expect(joined([...sigmoid, ...fake('other', 'wide', 'middle'), node('Mul', ['other.d', 's.d'], ['m']), ...fake('m', 'wide', 'low')], ['m.d']).after).toEqual(['LutQ8', 'BinaryQ8']);
  });
});
