import { requiredInts } from '../../graph/attributes.js';
import type { Graph } from '../../graph/graph.js';
import { Rewriter } from '../rewriter.js';

/**
 * Moves the transposes that are left above a DequantizeLinear, so that it stands next to the operator that reads it (the form
 * in which fold-quantization recognises it) and the data are moved while they are 8-bit.
 */
export function hoistTransposes(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const producer = node.op === 'Transpose' ? editor.producer(node.inputs[0]) : undefined;
    if (producer?.op !== 'DequantizeLinear' || editor.constant(producer.inputs[1])?.data.length !== 1) continue;
    const perm = { perm: { type: 'ints', value: requiredInts(node, 'perm') } } as const;
    const moved = editor.emit({ name: node.name, op: 'Transpose', inputs: [producer.inputs[0] ?? ''], attributes: perm });
    editor.remove(node);
    editor.emitTo(node.outputs[0] ?? '', { name: producer.name, op: 'DequantizeLinear', inputs: [moved, ...producer.inputs.slice(1)] });
  }
  return editor.finish();
}
