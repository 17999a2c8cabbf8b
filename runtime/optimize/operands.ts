import type { Node } from '../graph/graph.js';
import { operand } from '../graph/operands.js';
import { fusedUnary } from '../ops/convolution.js';
import type { Rewriter } from './rewriter.js';

/** Both operands of a sum or a product, the one that `is` accepts first; undefined where it accepts none. */
export function operandsBy(node: Node, is: (value: string) => boolean): readonly [string, string] | undefined {
  const [a, b] = [operand(node, 0), operand(node, 1)];
  if (is(a)) return [a, b];
  return is(b) ? [b, a] : undefined;
}

/** The only number of a constant; undefined for any other value. */
export function numberOf(editor: Rewriter, value: string): number | undefined {
  const constant = editor.constant(value);
  return constant?.data.length === 1 ? Number(constant.data[0]) : undefined;
}

/** What a node multiplies by one number, and that number: a product, a quotient or an affine function without a summand. */
export function scaledBy(editor: Rewriter, node: Node | undefined): { x: string; factor: number } | undefined {
  if (node?.op === 'Unary') {
    const { kind, alpha, beta } = fusedUnary(node);
    return kind === 'affine' && beta === 0 ? { x: operand(node, 0), factor: alpha } : undefined;
  }
  if (node?.op !== 'Mul' && node?.op !== 'Div') return undefined;
  const [factor, x] = operandsBy(node, (value) => numberOf(editor, value) !== undefined) ?? ['', ''];
  const number = numberOf(editor, factor);
  if (number === undefined || (node.op === 'Div' && node.inputs[0] === factor)) return undefined;
  if (editor.type(x).shape.length < editor.type(factor).shape.length) return undefined;
  return { x, factor: node.op === 'Div' ? 1 / number : number };
}
