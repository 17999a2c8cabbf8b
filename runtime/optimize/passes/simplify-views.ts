import { requiredInts } from '../../graph/attributes.js';
import type { Graph } from '../../graph/graph.js';
import { keepsOrder } from '../../graph/permutation.js';
import { viewAttributes } from '../../ops/core.js';
import { Rewriter } from '../rewriter.js';

/** Transposes that leave the elements in their order become views, and views of views become one. */
export function simplifyViews(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const input = node.inputs[0] ?? '';
    const { shape } = editor.type(node.outputs[0] ?? '');
    if (node.op === 'Transpose' && keepsOrder(requiredInts(node, 'perm'), editor.type(input).shape)) {
      const producer = editor.producer(input);
      editor.substitute(node, { op: 'View', inputs: [producer?.op === 'View' ? (producer.inputs[0] ?? '') : input], attributes: viewAttributes(shape) });
    } else if (node.op === 'View') {
      const producer = editor.producer(input);
      if (producer?.op === 'View') editor.substitute(node, { op: 'View', inputs: [producer.inputs[0] ?? ''], attributes: viewAttributes(shape) });
    }
  }
  return editor.finish();
}
