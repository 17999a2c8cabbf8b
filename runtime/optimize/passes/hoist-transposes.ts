import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

/** Views are free where they are, except between a DequantizeLinear and the convolution that it belongs to. */
function worthMoving(editor: Rewriter, node: Node): boolean {
  if (node.op === 'Transpose') return true;
  return node.op === 'View' && editor.soleConsumer(outputOf(node))?.op === 'NhwcConv';
}

/**
 * Moves the transposes that are left above a DequantizeLinear, so that it stands next to the operator that reads it (the form
 * in which fold-quantization recognizes it) and the data are moved while they are 8-bit. The views of one-dimensional
 * convolutions too.
 */
export function hoistTransposes(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const producer = worthMoving(editor, node) ? editor.producer(node.inputs[0]) : undefined;
    if (producer === undefined) continue;
    if (producer.op !== 'DequantizeLinear' || editor.constant(producer.inputs[1])?.data.length !== 1) {
      explain('hoist-transposes', node, () => `the ${producer.op} '${producer.name}' before it is not a DequantizeLinear with one constant scale`);
      continue;
    }
    const attributes = Object.fromEntries(node.attributes);
    const moved = editor.emit({ name: node.name, op: node.op, inputs: [operand(producer, 0)], attributes });
    editor.remove(node);
    editor.emitTo(outputOf(node), { name: producer.name, op: 'DequantizeLinear', inputs: [moved, ...producer.inputs.slice(1)] });
  }
  return editor.finish();
}
