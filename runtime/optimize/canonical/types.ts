import { notConstant } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { hasOperand, optionalOperand } from '../../graph/operands.js';
import type { TensorValue } from '../../graph/tensor-value.js';
import type { Rewriter } from '../rewriter.js';

/** Replaces a node by core operators that make the same output. */
export type Canonical = (editor: Rewriter, node: Node) => void;

/** An operand that must be known when the model is compiled. @throws RuntimeError E_MODEL_OP */
export function requiredConstant(editor: Rewriter, node: Node, index: number, what: string): TensorValue {
  const value = editor.constant(optionalOperand(node, index));
  if (value === undefined) throw notConstant(node, index, what);
  return value;
}

/** An operand that decides a shape, as whole numbers; undefined when absent. */
export function constantInts(editor: Rewriter, node: Node, index: number, what: string): number[] | undefined {
  return !hasOperand(node, index) ? undefined : Array.from(requiredConstant(editor, node, index, what).data, Number);
}
