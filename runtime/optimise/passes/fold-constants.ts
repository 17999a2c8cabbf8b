import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import type { TensorValue } from '../../graph/tensor-value.js';
import { inferNode, knownOutputs } from '../../infer/infer.js';

export interface FoldOptions {
  /**
   * Leave DequantizeLinear of a constant in place: it marks quantized weights, which later passes turn into integer
   * arithmetic. Default true.
   */
  keepDequantize?: boolean;
}

/** Folding must not blow a small model up: a result may be larger than what it is made of only up to this size. */
const alwaysFolded = 65_536;

function worthwhile(node: Node, inputs: readonly (TensorValue | undefined)[], results: readonly TensorValue[]): boolean {
  const before = inputs.reduce((sum, value) => sum + (value?.data.byteLength ?? 0), 0);
  const after = results.reduce((sum, value) => sum + value.data.byteLength, 0);
  return node.op === 'DequantizeLinear' || after <= Math.max(alwaysFolded, 2 * before);
}

/** Evaluates every node whose inputs are constants, shape arithmetic included. Needs and keeps an inferred graph. */
export function foldConstants(graph: Graph, { keepDequantize = true }: FoldOptions = {}): Graph {
  const editor = new GraphEditor(graph);
  const known = new Map<string, TensorValue>();
  for (const node of graph.nodes) {
    if (keepDequantize && node.op === 'DequantizeLinear') continue;
    const isShape = node.op === 'Shape' || node.op === 'Size';
    if (!isShape && !node.inputs.every((name) => name === '' || known.has(name) || graph.constants.has(name))) continue;
    const types = inferNode(graph, node, graph.types, known);
    const results = knownOutputs(graph, node, graph.types, known, types);
    if (results === undefined || !worthwhile(node, node.inputs.map((name) => known.get(name) ?? graph.constants.get(name)), results)) continue;
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
