import { int, intAttribute, string, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { fromNumbers, isByte, scalar, type DType } from '../../graph/tensor-value.js';
import { wireOfDtype } from '../../onnx/tensor-data.js';
import { viewAttributes } from '../../ops/core.js';
import { unaryOf } from '../../ops/unary.js';
import { kindAttribute, reduceS32Attributes, type CompareKind, type IntegerKind, type LogicKind } from '../../ops/whole.js';
import * as views from '../../ops/views.js';
import type { Rewriter } from '../rewriter.js';
import type { Canonical } from './types.js';

export const dtypeOf = (editor: Rewriter, value: string): DType => editor.type(value).dtype;

/** A value as another type; itself when it has that type. */
export function castTo(editor: Rewriter, node: Node, value: string, dtype: DType): string {
  if (dtypeOf(editor, value) === dtype) return value;
  return editor.emit({ name: node.name, op: 'Cast', inputs: [value], attributes: { to: int(wireOfDtype(dtype)) } });
}

/** Bytes and booleans as int32, which the engine counts with; numbers of 32 bits and more as they are. */
export function widened(editor: Rewriter, node: Node, value: string): string {
  const dtype = dtypeOf(editor, value);
  return isByte(dtype) || dtype === 'bool' ? castTo(editor, node, value, 'int32') : value;
}

/** Lets a value be the node's output, in the output's type and shape. The views and casts that change nothing are removed later. */
export function become(editor: Rewriter, node: Node, value: string): void {
  const { dtype, shape } = editor.type(outputOf(node));
  editor.substitute(node, { op: 'View', inputs: [castTo(editor, node, value, dtype)], attributes: viewAttributes(shape) });
}

/** Arithmetic of two values of one type, widened. */
export function integerPair(editor: Rewriter, node: Node, kind: IntegerKind, a: string, b: string): string {
  return editor.emit({ name: node.name, op: 'BinaryS32', inputs: [widened(editor, node, a), widened(editor, node, b)], attributes: kindAttribute(kind) });
}

/** A number to calculate with. */
const number = (editor: Rewriter, node: Node, like: string, value: number): string => editor.addConstant(`${node.name}.constant`, scalar(dtypeOf(editor, like), value));

const isFloat = (editor: Rewriter, node: Node): boolean => dtypeOf(editor, operand(node, 0)) === 'float32';

/** Add, Sub, Mul, Div of whole numbers; those of floats are core operators already. */
const arithmetic = (kind: IntegerKind): Canonical => (editor, node) => {
  const { a, b } = views.pair(node);
  if (!isFloat(editor, node)) become(editor, node, integerPair(editor, node, kind, a, b));
};

/** Floats take a whole exponent as a float; whole numbers have whole powers. */
const power: Canonical = (editor, node) => {
  const { a, b } = views.pair(node);
  const exponent = dtypeOf(editor, b);
  if (isFloat(editor, node)) {
    if (exponent !== 'float32') editor.replace(node, { inputs: [a, castTo(editor, node, b, 'float32')] });
  } else if (exponent === 'float32') {
    throw unsupported(node, `${dtypeOf(editor, a)} to the power of ${exponent}`);
  } else become(editor, node, integerPair(editor, node, 'pow', a, b));
};

const modulo: Canonical = (editor, node) => arithmetic(intAttribute(node, 'fmod', 0) === 1 ? 'fmod' : 'mod')(editor, node);

/** Min, Max and Sum of any number of operands, in pairs. */
const variadic = (kind: 'min' | 'max' | 'add', op: string): Canonical => (editor, node) => {
  const [first, rest] = [operand(node, 0), node.inputs.slice(1)];
  const float = isFloat(editor, node);
  if (float && rest.length === 1 && op === node.op) return;
  const pair = (a: string, b: string): string => (float ? editor.emit({ name: node.name, op, inputs: [a, b] }) : integerPair(editor, node, kind, a, b));
  const last = rest.pop();
  const left = rest.reduce(pair, first);
  if (float && last !== undefined) editor.substitute(node, { op, inputs: [left, last] });
  else become(editor, node, last === undefined ? left : pair(left, last));
};

const mean: Canonical = (editor, node) => {
  const [first, rest] = [operand(node, 0), node.inputs.slice(1)];
  const sum = rest.reduce((total, input) => editor.emit({ name: node.name, op: 'Add', inputs: [total, input] }), first);
  editor.substitute(node, { op: 'Mul', inputs: [sum, number(editor, node, first, 1 / node.inputs.length)] });
};

const negated = (editor: Rewriter, node: Node, x: string): string => integerPair(editor, node, 'sub', number(editor, node, x, 0), x);
export const absolute = (editor: Rewriter, node: Node, x: string): string => integerPair(editor, node, 'max', x, negated(editor, node, x));

/** The lowest and the highest number that bound a Clip, when they bind at all. */
function clipped(editor: Rewriter, node: Node, x: string): string {
  const bounds = unaryOf(node, (index) => editor.constant(node.inputs[index]));
  const [low, high] = [bounds?.alpha ?? -Infinity, bounds?.beta ?? Infinity];
  // All numbers of a program have 32 bits.
  const above = low > -(2 ** 31) ? integerPair(editor, node, 'max', x, number(editor, node, x, low)) : x;
  return high < 2 ** 31 - 1 ? integerPair(editor, node, 'min', above, number(editor, node, x, high)) : above;
}

const integerUnary: Readonly<Record<string, (editor: Rewriter, node: Node, x: string) => string>> = {
  Neg: negated,
  Abs: absolute,
  Relu: (editor, node, x) => integerPair(editor, node, 'max', x, number(editor, node, x, 0)),
  Sign: (editor, node, x) => integerPair(editor, node, 'min', integerPair(editor, node, 'max', x, number(editor, node, x, -1)), number(editor, node, x, 1)),
  Clip: clipped,
};

/** The functions that exist for whole numbers too. False: the operand is a float, or there is no such function. */
export function canonicalIntegerUnary(editor: Rewriter, node: Node): boolean {
  const fn = integerUnary[node.op];
  if (fn === undefined || isFloat(editor, node)) return false;
  become(editor, node, fn(editor, node, widened(editor, node, operand(node, 0))));
  return true;
}

/** `a > b` is `b < a`. */
const comparison = (kind: CompareKind, swapped = false): Canonical => (editor, node) => {
  const operands = node.inputs.slice(0, 2).map((value) => widened(editor, node, value));
  editor.substitute(node, { op: 'Compare', inputs: swapped ? operands.reverse() : operands, attributes: kindAttribute(kind) });
};

const logic = (kind: LogicKind): Canonical => (editor, node) => {
  editor.substitute(node, { op: 'Logic', inputs: node.inputs.slice(0, 2), attributes: kindAttribute(kind) });
};

const not: Canonical = (editor, node) => {
  const always = editor.addConstant(`${node.name}.true`, fromNumbers('bool', [], [1]));
  editor.substitute(node, { op: 'Logic', inputs: [operand(node, 0), always], attributes: { kind: string('xor') } });
};

/** Reductions of whole numbers, one axis after the other. */
const integerReductions: Readonly<Record<string, IntegerKind>> = { ReduceSum: 'add', ReduceProd: 'mul', ReduceMin: 'min', ReduceMax: 'max', ReduceL1: 'add', ReduceSumSquare: 'add' };

/** Reduces whole numbers along `axes`. @throws RuntimeError E_MODEL_OP: a reduction whose result need not be whole */
export function reduceIntegers(editor: Rewriter, node: Node, axes: readonly number[]): void {
  const kind = Object.hasOwn(integerReductions, node.op) ? integerReductions[node.op] : undefined;
  const input = operand(node, 0);
  if (kind === undefined) throw unsupported(node, `${dtypeOf(editor, input)} is not supported`);
  const x = widened(editor, node, input);
  const start = node.op === 'ReduceL1' ? absolute(editor, node, x) : node.op === 'ReduceSumSquare' ? integerPair(editor, node, 'mul', x, x) : x;
  const reduced = axes.reduce((value, axis) => editor.emit({ name: node.name, op: 'ReduceS32', inputs: [value], attributes: reduceS32Attributes(kind, axis) }), start);
  become(editor, node, reduced);
}

export const canonicalWhole: Readonly<Record<string, Canonical>> = {
  Add: arithmetic('add'), Sub: arithmetic('sub'), Mul: arithmetic('mul'), Div: arithmetic('div'), Mod: modulo, Pow: power,
  Min: variadic('min', 'Min'), Max: variadic('max', 'Max'), Sum: variadic('add', 'Add'), Mean: mean,
  Equal: comparison('equal'), Less: comparison('less'), LessOrEqual: comparison('less_or_equal'), Greater: comparison('less', true), GreaterOrEqual: comparison('less_or_equal', true),
  And: logic('and'), Or: logic('or'), Xor: logic('xor'), Not: not,
};
