import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { fusedUnary } from '../../ops/convolution.js';
import { unaryAttribute } from '../../ops/core.js';
import { scaledBy } from '../operands.js';
import { Rewriter } from '../rewriter.js';

const near = (value: number | undefined, wanted: number): boolean => value !== undefined && Math.abs(value - wanted) < 1e-6;

/** The node that makes x (1 + erf(x / sqrt 2)) / 2, where `sum` is 1 + erf: x and the half come in any order. */
function productOf(editor: Rewriter, x: string, sum: string): Node | undefined {
  const first = editor.soleConsumer(sum);
  if (first === undefined) return undefined;
  const made = scaledBy(editor, first);
  if (made !== undefined) {
    const last = editor.soleConsumer(outputOf(first));
    return near(made.factor, 0.5) && last?.op === 'Mul' && last.inputs.includes(x) ? last : undefined;
  }
  if (first.op !== 'Mul') return undefined;
  const other = operand(first, first.inputs[0] === sum ? 1 : 0);
  if (other !== x) {
    const half = scaledBy(editor, editor.producer(other));
    return half?.x === x && near(half.factor, 0.5) ? first : undefined;
  }
  const last = editor.soleConsumer(outputOf(first));
  return near(scaledBy(editor, last)?.factor, 0.5) ? last : undefined;
}

/** x (1 + erf(x / sqrt 2)) / 2, as exporters of operator sets before 20 write Gelu, in one. */
export function recognizeGelu(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const add = node.op === 'Unary' && editor.has(node) && fusedUnary(node).kind === 'erf' ? editor.soleConsumer(outputOf(node)) : undefined;
    const scaled = add?.op === 'Add' ? scaledBy(editor, editor.producer(node.inputs[0])) : undefined;
    if (add === undefined || scaled === undefined || !near(scaled.factor, Math.SQRT1_2)) continue;
    const one = editor.constant(operand(add, add.inputs[0] === outputOf(node) ? 1 : 0));
    if (one?.data.length !== 1 || one.data[0] !== 1) continue;
    const last = productOf(editor, scaled.x, outputOf(add));
    if (last === undefined) continue;
    editor.replace(last, { op: 'Unary', inputs: [scaled.x], attributes: unaryAttribute({ kind: 'gelu', alpha: 0, beta: 0 }) });
  }
  return editor.finish();
}
