/** What computes a model's outputs. */
import { producersOf } from '../graph/graph.js';
import { parseModel } from './parse.js';
import type { OnnxNode } from './types.js';

/** Operators that only move or re-code values: what computes them is further up. */
const movements = new Set(['Transpose', 'Reshape', 'Identity', 'Split', 'Slice', 'Squeeze', 'Unsqueeze', 'Flatten', 'Cast', 'DequantizeLinear', 'QuantizeLinear', 'Gather', 'Dropout']);

/** Operators of other domains, by the plain one that they are a form of. */
const plain: Readonly<Record<string, string>> = {
  QLinearSigmoid: 'Sigmoid', QLinearSoftmax: 'Softmax', QLinearConv: 'Conv', FusedConv: 'Conv', QLinearMatMul: 'MatMul', QGemm: 'Gemm', FusedGemm: 'Gemm', QLinearAdd: 'Add', QLinearMul: 'Mul',
};

/**
 * The operators that compute the values of an output: the way up passes movements of data, through all parts of a concatenation, and ends at
 * each other operator. Sorted; empty for an input or a constant.
 */
export function outputEnds(producers: ReadonlyMap<string, OnnxNode>, output: string): string[] {
  const found = new Set<string>();
  const seen = new Set<string>();
  const waiting = [output];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const node = producers.get(name);
    if (node === undefined || seen.has(name)) continue;
    seen.add(name);
    if (node.op === 'Concat') waiting.push(...node.inputs);
    // The scale and the zero-point of the result, then three operands for each part.
    else if (node.op === 'QLinearConcat') waiting.push(...node.inputs.filter((_, i) => i >= 2 && i % 3 === 2));
    else if (movements.has(node.op)) waiting.push(...node.inputs.slice(0, 1));
    else found.add(plain[node.op] ?? node.op);
  }
  return [...found].sort();
}

/** `outputEnds` of every output of a model. @throws RuntimeError E_MODEL_* */
export function endsOf(model: Uint8Array): Record<string, string[]> {
  const { graph } = parseModel(model);
  const producers = producersOf(graph.nodes);
  return Object.fromEntries(graph.outputs.map(({ name }) => [name, outputEnds(producers, name)]));
}
