import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { elementCount, type TensorValue, type ValueType } from '../../graph/tensor-value.js';
import { foldBudget, inferNode, knownOutputs } from '../../infer/infer.js';

export interface FoldOptions {
  /**
   * Leave DequantizeLinear of a constant in place: it marks quantized weights, which later passes turn into integer
   * arithmetic. Default true.
   */
  keepDequantize?: boolean;
}

/** Elements that a result may have however small its operands are: folding must not blow a small (or hostile) model up. */
const alwaysFolded = 16_384;

/** Decided from the types alone, before anything is computed. */
function worthwhile(graph: Graph, node: Node, known: ReadonlyMap<string, TensorValue>, results: readonly ValueType[]): boolean {
  const before = node.inputs.reduce((sum, name) => sum + ((known.get(name) ?? graph.constants.get(name))?.data.length ?? 0), 0);
  const after = results.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return after <= Math.max(alwaysFolded, 2 * before);
}

/** Evaluates every node whose inputs are constants, shape arithmetic included. Needs and keeps an inferred graph. */
export function foldConstants(graph: Graph, { keepDequantize = true }: FoldOptions = {}): Graph {
  const editor = new GraphEditor(graph);
  const known = new Map<string, TensorValue>();
  const budget = foldBudget(graph);
  for (const node of graph.nodes) {
    if (keepDequantize && node.op === 'DequantizeLinear') continue;
    const isShape = node.op === 'Shape' || node.op === 'Size';
    if (!isShape && !node.inputs.every((name) => name === '' || known.has(name) || graph.constants.has(name))) continue;
    const types = inferNode(graph, node, graph.types, known);
    const results = worthwhile(graph, node, known, types) ? knownOutputs(graph, node, { types: graph.types, known, budget }, types) : undefined;
    if (results === undefined) continue;
    editor.remove(node);
    node.outputs.forEach((name, i) => {
      const value = results[i];
      if (name === '' || value === undefined) return;
      known.set(name, value);
      editor.fold(name, value);
    });
  }
  return editor.finish();
}
