import { notConstant } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import type { Rewriter } from '../rewriter.js';

/** Replaces a node by core operators that make the same output. */
export type Canonical = (editor: Rewriter, node: Node) => void;

/** An operand that decides a shape, as whole numbers; undefined when absent. */
export function constantInts(editor: Rewriter, node: Node, index: number, what: string): number[] | undefined {
  const name = node.inputs[index] ?? '';
  if (name === '') return undefined;
  const value = editor.constant(name);
  if (value === undefined) throw notConstant(node, index, what);
  return Array.from(value.data, Number);
}
