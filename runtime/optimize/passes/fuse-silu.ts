import type { Graph, Node } from '../../graph/graph.js';
import { fusedUnary } from '../../ops/convolution.js';
import { unaryAttribute } from '../../ops/core.js';
import type { Unary } from '../../ops/unary-functions.js';
import { pair } from '../../ops/views.js';
import { Rewriter } from '../rewriter.js';

/** The function that x * gate(x) is, when it has a name. */
function gated({ kind, alpha, beta }: Unary): Unary | undefined {
  if (kind === 'sigmoid') return { kind: 'silu', alpha: 0, beta: 0 };
  if (kind === 'hard_sigmoid' && Math.fround(alpha) === Math.fround(1 / 6) && beta === 0.5) return { kind: 'hard_swish', alpha: 0, beta: 0 };
  return undefined;
}

/** x * sigmoid(x) and x * hardSigmoid(x), as exporters write Silu and HardSwish, in one. */
export function fuseSilu(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'Mul') continue;
    const { a, b } = pair(node);
    for (const [x, gate] of [[a, b], [b, a]] as const) {
      const maker: Node | undefined = editor.producer(gate);
      const fn = maker?.op === 'Unary' && maker.inputs[0] === x && editor.soleConsumer(gate) === node ? gated(fusedUnary(maker)) : undefined;
      if (fn === undefined) continue;
      editor.substitute(node, { op: 'Unary', inputs: [x], attributes: unaryAttribute(fn) });
      break;
    }
  }
  return editor.finish();
}
