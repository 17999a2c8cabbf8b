import { misshapen, type Attributed } from './attributes.js';
import type { Node } from './graph.js';

// Operands and results of a node by position. Which position is what, the views of ops/views.ts say for operators with several operands.

/** Stands for an absent operand, or for an output that nobody wants, in a node's lists. */
export const absent = '';

type Reading = Attributed & Pick<Node, 'inputs'>;
type Making = Attributed & Pick<Node, 'outputs'>;

/** Whether an optional operand is there. */
export function hasOperand({ inputs }: Pick<Node, 'inputs'>, index: number): boolean {
  const name = inputs[index];
  return name !== undefined && name !== absent;
}

/** The name of an operand; undefined where an optional one is absent. */
export function optionalOperand({ inputs }: Pick<Node, 'inputs'>, index: number): string | undefined {
  const name = inputs[index];
  return name === absent ? undefined : name;
}

/** The name of an operand that must be there. @throws RuntimeError E_MODEL_SHAPE */
export function operand(node: Reading, index: number): string {
  const name = node.inputs[index];
  if (name === undefined || name === absent) throw misshapen(node, `Expected input ${index} but received none`);
  return name;
}

/** The name of an output; undefined where nobody wants it. */
export function optionalOutput({ outputs }: Pick<Node, 'outputs'>, index: number): string | undefined {
  const name = outputs[index];
  return name === absent ? undefined : name;
}

/** The name of an output that must be there, the first one by default. @throws RuntimeError E_MODEL_SHAPE */
export function outputOf(node: Making, index = 0): string {
  const name = node.outputs[index];
  if (name === undefined || name === absent) throw misshapen(node, `Expected output ${index} but found none`);
  return name;
}

/** The first output that somebody wants: no other node has it, so that it names the node. @throws RuntimeError E_MODEL_SHAPE */
export function firstOutput(node: Making): string {
  const name = node.outputs.find((output) => output !== absent);
  if (name === undefined) throw misshapen(node, 'Expected an output but found none');
  return name;
}

/** The operands with `value` at `index`; absent ones before it are filled in. */
export const withOperand = (inputs: readonly string[], index: number, value: string): string[] =>
  Array.from({ length: Math.max(inputs.length, index + 1) }, (_, i) => (i === index ? value : (inputs[i] ?? absent)));
