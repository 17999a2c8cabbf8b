import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { sameShape } from '../../graph/tensor-value.js';
import { optionalOperand, optionalOutput } from '../../graph/operands.js';
import { recordOf } from '../../ops/registry.js';
import { single } from '../../ops/views.js';

function isIdentity(editor: GraphEditor, node: Node): boolean {
  const [input, output] = [optionalOperand(node, 0), optionalOutput(node, 0)];
  if (input === undefined || output === undefined || recordOf(node)?.identity?.(node) !== true) return false;
  const [from, to] = [editor.type(input), editor.type(output)];
  const unread = node.outputs.slice(1).every((other) => other === '' || (editor.consumers(other).length === 0 && !editor.isOutput(other)));
  return unread && from.dtype === to.dtype && sameShape(from.shape, to.shape);
}

/** Bypasses nodes that give back their input. A node whose input is a graph input, and its output a graph output, stays. */
export function removeIdentities(graph: Graph): Graph {
  const editor = new GraphEditor(graph);
  for (const original of editor.all()) {
    // Redirecting replaces the readers, so look each node up again by what it makes.
    const node = editor.producer(original.outputs.find((output) => output !== ''));
    if (node === undefined || !isIdentity(editor, node)) continue;
    const { x, output } = single(node);
    if (editor.redirect(output, x)) editor.remove(node);
  }
  return editor.finish();
}
