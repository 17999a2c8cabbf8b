import { int, ints, intAttribute, requiredInt, requiredInts, type Attribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import type { Permutation } from '../graph/permutation.js';

/** How an operator works on data as they were before a transpose, instead of on what the transpose makes. */
export interface TransposeRule {
  /** Operands that the transpose concerns; the others stay as they are. */
  readonly operands: 'first' | 'all';
  /** Attributes of the same operator on the data before the transpose. */
  readonly remap: (node: Node, perm: Permutation) => Readonly<Record<string, Attribute>>;
}

type Remap = TransposeRule['remap'];

const unchanged: Remap = (node) => Object.fromEntries(node.attributes);

/** Values by axis of the result, as values by axis of the data before. */
function perAxis(values: readonly number[], perm: Permutation): number[] {
  const result = new Array<number>(values.length).fill(0);
  perm.forEach((from, i) => (result[from] = values[i] ?? 0));
  return result;
}

/** Element by element: only the first operand varies, or all are broadcast. */
export const throughFirst: TransposeRule = { operands: 'first', remap: unchanged };
export const throughAll: TransposeRule = { operands: 'all', remap: unchanged };

/** The attribute `name` is an axis. */
export const throughAxis = (name: string, operands: TransposeRule['operands'] = 'first'): TransposeRule => ({
  operands,
  remap: (node, perm) => ({ ...unchanged(node, perm), [name]: int(perm[requiredInt(node, name)] ?? 0) }),
});

/** The attribute `name` is a list of axes. */
export const throughAxes = (name: string): TransposeRule => ({
  operands: 'first',
  remap: (node, perm) => ({ ...unchanged(node, perm), [name]: ints(requiredInts(node, name).map((axis) => perm[axis] ?? 0)) }),
});

/** Each of the attributes has one number for each axis. */
export const throughLists = (...names: string[]): TransposeRule => ({
  operands: 'first',
  remap: (node, perm) => ({ ...unchanged(node, perm), ...Object.fromEntries(names.map((name) => [name, ints(perAxis(requiredInts(node, name), perm))])) }),
});

/** QuantizeLinear and DequantizeLinear: the axis of the scales, 1 by default. */
export const throughQuantization: TransposeRule = { operands: 'first', remap: (node, perm) => ({ axis: int(perm[intAttribute(node, 'axis', 1)] ?? 0) }) };
