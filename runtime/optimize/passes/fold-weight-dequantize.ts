import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { evaluateNode, inferNode } from '../../infer/infer.js';
import { quantization } from '../../ops/views.js';

/** Whether a node computes on quantized data: then its constant operands must stay quantized. */
function readsQuantizedData(editor: GraphEditor, node: Node, except: string): boolean {
  return node.inputs.some((input) => {
    const producer = input === except ? undefined : editor.producer(input);
    return producer?.op === 'DequantizeLinear' && editor.constant(producer.inputs[0]) === undefined;
  });
}

/**
 * Turns quantized weights into float where the data they meet is float (models whose weights alone are quantized, for
 * their size). With `all`, everywhere: the last step after the quantized operators have been recognized.
 */
export function foldWeightDequantize(graph: Graph, { all = false }: { all?: boolean } = {}): Graph {
  const editor = new GraphEditor(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'DequantizeLinear') continue;
    const { x, output } = quantization(node);
    if (editor.constant(x) === undefined) continue;
    if (!all && editor.consumers(output).some((consumer) => readsQuantizedData(editor, consumer, output))) continue;
    const inputs = node.inputs.map((name) => editor.constant(name));
    const [value] = evaluateNode(graph, node, inputs, inferNode(graph, node, graph.types, new Map()));
    if (value === undefined) continue;
    editor.remove(node);
    editor.fold(output, value);
  }
  return editor.finish();
}
