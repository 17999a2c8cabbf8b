import { string } from '../../graph/attributes.js';
import type { Graph } from '../../graph/graph.js';
import { outputOf } from '../../graph/operands.js';
import { fusedUnary, unaryAttributes } from '../../ops/convolution.js';
import { binaryKinds, type BinaryKind } from '../../ops/core.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

const kindOf = (op: string): BinaryKind | undefined => binaryKinds.find((kind) => kind === op.toLowerCase());

/** Float arithmetic in the engine's form, with the function of the result that follows. */
export function fuseBinary(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const kind = kindOf(node.op);
    if (kind === undefined || editor.type(outputOf(node)).dtype !== 'float32') continue;
    const reader = editor.soleConsumer(outputOf(node));
    const fused = reader?.op === 'Unary' ? reader : undefined;
    if (fused === undefined) explain('fuse-binary', node, 'its output is an output of the model, or is not read by exactly one function');
    if (fused !== undefined) editor.remove(fused);
    editor.replace(node, {
      op: 'BinaryF32',
      name: (fused ?? node).name,
      outputs: (fused ?? node).outputs,
      attributes: { kind: string(kind), ...(fused === undefined ? {} : unaryAttributes(fusedUnary(fused))) },
    });
  }
  return editor.finish();
}

