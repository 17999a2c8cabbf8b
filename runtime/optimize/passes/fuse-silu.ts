import type { Graph } from '../../graph/graph.js';
import { fusedUnary } from '../../ops/convolution.js';
import { unaryAttribute } from '../../ops/core.js';
import type { Unary } from '../../ops/unary-functions.js';
import { pair } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

/** The function that x * gate(x) is, when it has a name. */
function gated({ kind, alpha, beta }: Unary): Unary | undefined {
  if (kind === 'sigmoid') return { kind: 'silu', alpha: 0, beta: 0 };
  if (kind === 'hard_sigmoid' && Math.fround(alpha) === Math.fround(1 / 6) && beta === 0.5) return { kind: 'hard_swish', alpha: 0, beta: 0 };
  return undefined;
}

/** What makes `value` a function of `x`. */
function gateOf(editor: Rewriter, x: string, value: string): { x: string; value: string; fn: Unary } | undefined {
  const maker = editor.producer(value);
  return maker?.op === 'Unary' && maker.inputs[0] === x ? { x, value, fn: fusedUnary(maker) } : undefined;
}

/** x * sigmoid(x) and x * hardSigmoid(x), as exporters write Silu and HardSwish, in one. */
export function fuseSilu(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'Mul') continue;
    const { a, b } = pair(node);
    const gate = gateOf(editor, a, b) ?? gateOf(editor, b, a);
    if (gate === undefined) {
      explain('fuse-silu', node, 'neither factor is a function of the other');
      continue;
    }
    const fn = gated(gate.fn);
    if (editor.soleConsumer(gate.value) !== node) explain('fuse-silu', node, () => `'${gate.value}' has other readers, or is an output of the model`);
    else if (fn === undefined) explain('fuse-silu', node, () => `x * ${gate.fn.kind}(x) is not one function of the engine`);
    else editor.substitute(node, { op: 'Unary', inputs: [gate.x], attributes: unaryAttribute(fn) });
  }
  return editor.finish();
}
