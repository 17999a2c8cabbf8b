import { float, requiredInts } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { fusedUnary } from '../../ops/convolution.js';
import { coreReduceKind } from '../../ops/core.js';
import { numberOf, operandsBy } from '../operands.js';
import { Rewriter } from '../rewriter.js';

/** Whether a node reduces rows of `length` numbers along the last axis by `kind`. */
function reducesRows(editor: Rewriter, node: Node | undefined, kind: 'mean' | 'sum_square'): node is Node {
  if (node?.op !== 'Reduce' || coreReduceKind(node) !== kind) return false;
  return requiredInts(node, 'axes').join() === String(editor.type(operand(node, 0)).shape.length - 1);
}

/** Whether `value` is the square of `x`. */
function isSquare(editor: Rewriter, value: string, x: string): boolean {
  const node = editor.producer(value);
  if (node?.op === 'Mul') return node.inputs.every((input) => input === x);
  return node?.op === 'Pow' && node.inputs[0] === x && numberOf(editor, operand(node, 1)) === 2;
}

/** The epsilon, where `value` is the variance of rows that are centred, and epsilon: ours, or as models of older operator sets write it. */
function epsilonOf(editor: Rewriter, value: string, centred: string): number | undefined {
  const node = editor.producer(value);
  if (node?.op === 'Unary') {
    const { kind, alpha, beta } = fusedUnary(node);
    const sum = editor.producer(node.inputs[0]);
    const length = editor.type(centred).shape.at(-1) ?? 1;
    return kind === 'affine' && reducesRows(editor, sum, 'sum_square') && sum.inputs[0] === centred && Math.abs(alpha * length - 1) < 1e-6 ? beta : undefined;
  }
  const [epsilon, mean] = node?.op === 'Add' ? (operandsBy(node, (input) => numberOf(editor, input) !== undefined) ?? ['', '']) : ['', ''];
  const reduced = editor.producer(mean);
  return reducesRows(editor, reduced, 'mean') && isSquare(editor, operand(reduced, 0), centred) ? numberOf(editor, epsilon) : undefined;
}

/** What a quotient normalizes, when it is (x - mean) / sqrt(variance + epsilon) of rows. */
function normalized(editor: Rewriter, node: Node): { x: string; epsilon: number } | undefined {
  const [centred, deviation] = [operand(node, 0), editor.producer(operand(node, 1))];
  const sub = editor.producer(centred);
  if (sub?.op !== 'Sub' || deviation?.op !== 'Unary' || fusedUnary(deviation).kind !== 'sqrt') return undefined;
  const x = operand(sub, 0);
  const mean = editor.producer(operand(sub, 1));
  const epsilon = reducesRows(editor, mean, 'mean') && mean.inputs[0] === x ? epsilonOf(editor, operand(deviation, 0), centred) : undefined;
  return epsilon === undefined ? undefined : { x, epsilon };
}

/** Mean, variance and quotient of rows, and a constant factor and summand for each channel, in one. */
export function recognizeNormalization(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const found = node.op === 'Div' && editor.has(node) ? normalized(editor, node) : undefined;
    if (found === undefined) continue;
    const { shape } = editor.type(found.x);
    const isRow = (value: string): boolean => {
      const dims = editor.constant(value)?.dims ?? [];
      return dims.length <= shape.length && dims.every((dim, i) => dim === (i === dims.length - 1 ? shape.at(-1) : 1)) && dims.length > 0;
    };
    const inputs = [found.x];
    let last = node;
    for (const op of ['Mul', 'Add']) {
      const reader = editor.soleConsumer(outputOf(last));
      const [row] = reader?.op === op ? (operandsBy(reader, isRow) ?? []) : [];
      inputs.push(row ?? '');
      if (reader !== undefined && row !== undefined) last = reader;
    }
    editor.replace(last, { op: 'NormalizeRows', inputs, attributes: { epsilon: float(found.epsilon) } });
  }
  return editor.finish();
}
