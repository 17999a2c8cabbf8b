import { requiredInts } from '../../graph/attributes.js';
import type { Graph } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { keepsOrder } from '../../graph/permutation.js';
import { viewAttributes } from '../../ops/core.js';
import { single } from '../../ops/views.js';
import { Rewriter } from '../rewriter.js';

/** Transposes that leave the elements in their order become views, and views of views become one. */
export function simplifyViews(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'Transpose' && node.op !== 'View') continue;
    const { x, output } = single(node);
    const producer = editor.producer(x);
    const viewed = producer?.op === 'View';
    if (node.op === 'Transpose' ? !keepsOrder(requiredInts(node, 'perm'), editor.type(x).shape) : !viewed) continue;
    editor.substitute(node, { op: 'View', inputs: [viewed ? operand(producer, 0) : x], attributes: viewAttributes(editor.type(output).shape) });
  }
  return editor.finish();
}
