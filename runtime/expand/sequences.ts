import { intAttribute, misshapen, notConstant, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { normalizeAxis } from '../ops/op.js';
import { Notation, type Builder, type Expansion } from './builder.js';
import { operand, optionalOperand } from '../graph/operands.js';

// Sequences exist while a model is compiled, and between its programs: a list of values, known by where it was made. An optional is what it holds, or nothing.

function partsOf(b: Builder, node: Node, index: number): readonly string[] {
  const parts = b.sequence(operand(node, index));
  if (parts === undefined) throw unsupported(node, `input ${index} is a tensor, or a sequence that the model is fed; expected a sequence that it makes`);
  return parts;
}

/** Makes `parts` the value of the node's output. */
function give(b: Builder, node: Node, parts: readonly string[]): readonly string[] {
  const name = b.fresh(`${node.name}.sequence`);
  b.setSequence(name, parts);
  return [name];
}

/** A position, which may count from the end; `end` when there is none. */
function positionOf(b: Builder, node: Node, index: number, length: number, end: number): number {
  const name = optionalOperand(node, index);
  if (name === undefined) return end;
  const value = b.known(name)?.data[0];
  if (value === undefined) throw notConstant(node, index, 'position');
  const at = Number(value) < 0 ? Number(value) + length : Number(value);
  if (at < 0 || at > end) throw misshapen(node, `position ${Number(value)} is outside a sequence of ${length}`);
  return at;
}

const insert: Expansion = (b, node) => {
  const parts = partsOf(b, node, 0);
  const at = positionOf(b, node, 2, parts.length, parts.length);
  return give(b, node, [...parts.slice(0, at), operand(node, 1), ...parts.slice(at)]);
};

const erase: Expansion = (b, node) => {
  const parts = partsOf(b, node, 0);
  const at = positionOf(b, node, 1, parts.length, parts.length - 1);
  return give(b, node, parts.filter((_, i) => i !== at));
};

const split: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, sizesName] = [operand(node, 0), optionalOperand(node, 1)];
  const shape = m.shape(x);
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), shape.length);
  const size = shape[axis] ?? 0;
  const given = b.known(sizesName);
  if (sizesName !== undefined && given === undefined) throw notConstant(node, 1, 'split');
  const step = given !== undefined && given.dims.length === 0 ? Number(given.data[0]) : 1;
  if (!(step >= 1)) throw misshapen(node, `parts of ${step} elements`);
  const sizes = given !== undefined && given.dims.length === 1
    ? Array.from(given.data, Number)
    : Array.from({ length: Math.ceil(size / step) }, (_, i) => Math.min(step, size - i * step));
  let start = 0;
  const parts = sizes.map((length) => {
    const part = m.slice(x, axis, start, start + length);
    start += length;
    const drops = sizesName === undefined && intAttribute(node, 'keepdims', 1) === 0;
    return drops ? m.reshape(part, shape.filter((_, i) => i !== axis)) : part;
  });
  return give(b, node, parts);
};

const concat: Expansion = (b, node) => {
  const m = new Notation(b);
  const parts = partsOf(b, node, 0);
  const [first] = parts;
  if (first === undefined) throw misshapen(node, 'the sequence is empty');
  const rank = m.shape(first).length;
  const fresh = intAttribute(node, 'new_axis', 0) === 1;
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), rank + (fresh ? 1 : 0));
  const raised = (part: string) => {
    const shape = m.shape(part);
    return m.reshape(part, [...shape.slice(0, axis), 1, ...shape.slice(axis)]);
  };
  return [m.concat(fresh ? parts.map(raised) : parts, axis)];
};

export const sequences: Readonly<Record<string, Expansion>> = {
  SequenceConstruct: (b, node) => give(b, node, node.inputs),
  SequenceEmpty: (b, node) => give(b, node, []),
  SequenceInsert: insert,
  SequenceErase: erase,
  SequenceAt(b, node) {
    const parts = partsOf(b, node, 0);
    const at = positionOf(b, node, 1, parts.length, parts.length - 1);
    return parts.slice(at, at + 1);
  },
  SequenceLength: (b, node) => [new Notation(b).number(partsOf(b, node, 0).length, 'int64')],
  SplitToSequence: split,
  ConcatFromSequence: concat,
  Identity(b, node) {
    const value = operand(node, 0);
    const parts = b.sequence(value);
    if (b.isEmpty(value)) return [value];
    return parts === undefined ? undefined : give(b, node, parts);
  },
  Optional(b, node) {
    const value = optionalOperand(node, 0);
    if (value !== undefined) return [value];
    const name = b.fresh(`${node.name}.nothing`);
    b.setEmpty(name);
    return [name];
  },
  OptionalHasElement(b, node) {
    const value = optionalOperand(node, 0);
    const empty = value === undefined || b.isEmpty(value);
    if (!empty && b.sequence(value) === undefined) b.type(value); // refuses what is fed and known only in a run
    return [new Notation(b).number(empty ? 0 : 1, 'bool')];
  },
  OptionalGetElement(b, node) {
    const value = operand(node, 0);
    if (b.isEmpty(value)) throw misshapen(node, 'the optional holds nothing; ask OptionalHasElement first');
    return [value];
  },
};
