import { intAttribute } from '../../graph/attributes.js';
import { operand } from '../../graph/operands.js';
import { elementCount } from '../../graph/tensor-value.js';
import type { Node } from '../../graph/graph.js';
import { reduceAttributes, softmaxAttributes, unaryAttribute, viewAttributes } from '../../ops/core.js';
import type { SoftmaxMode } from '../../ops/normalization.js';
import { normalizeAxis } from '../../ops/op.js';
import { composedKinds, reducedAxes, reducedShape, reduceKinds, type ComposedKind, type ReduceKind } from '../../ops/reduction.js';
import type { UnaryKind } from '../../ops/unary-functions.js';
import type { Rewriter } from '../rewriter.js';
import { constantInts, type Canonical } from './types.js';
import { become, reduceIntegers } from './whole.js';

type Body = (editor: Rewriter, node: Node, axes: readonly number[]) => string;

const unaryOf = (editor: Rewriter, node: Node, x: string, kind: UnaryKind, [alpha, beta] = [0, 0]): string =>
  editor.emit({ name: node.name, op: 'Unary', inputs: [x], attributes: unaryAttribute({ kind, alpha, beta }) });

/** One of the engine's own reductions of floats, the axes kept as ones. */
const plain = (kind: ReduceKind): Body => (editor, node, axes) =>
  editor.emit({ name: node.name, op: 'Reduce', inputs: [operand(node, 0)], attributes: reduceAttributes(kind, axes) });

const sumOf = (editor: Rewriter, node: Node, x: string, axes: readonly number[]): string =>
  editor.emit({ name: node.name, op: 'Reduce', inputs: [x], attributes: reduceAttributes('sum', axes) });

const largestFloat = 3.4028234663852886e38;

/** The others through them. The exponents are relative to the largest, which must be a number to subtract. */
const composed: Readonly<Record<ComposedKind, Body>> = {
  l1: (editor, node, axes) => sumOf(editor, node, unaryOf(editor, node, operand(node, 0), 'abs'), axes),
  log_sum: (editor, node, axes) => unaryOf(editor, node, sumOf(editor, node, operand(node, 0), axes), 'log'),
  log_sum_exp(editor, node, axes) {
    const largest = unaryOf(editor, node, plain('max')(editor, node, axes), 'clip', [-largestFloat, largestFloat]);
    const relative = editor.emit({ name: node.name, op: 'Sub', inputs: [operand(node, 0), largest] });
    const logarithm = unaryOf(editor, node, sumOf(editor, node, unaryOf(editor, node, relative, 'exp'), axes), 'log');
    return editor.emit({ name: node.name, op: 'Add', inputs: [logarithm, largest] });
  },
};

const reduce = (body: Body): Canonical => (editor, node) => {
  const { dtype, shape } = editor.type(operand(node, 0));
  const axes = reducedAxes(node, shape.length, constantInts(editor, node, 1, 'axes'));
  if (dtype !== 'float32') reduceIntegers(editor, node, axes);
  else become(editor, node, body(editor, node, axes));
};

const modes: Readonly<Record<string, SoftmaxMode>> = { Softmax: 'soft', LogSoftmax: 'log', Hardmax: 'hard' };

/** Before operator set 13 a softmax runs over everything from its axis on: over one axis of a matrix. */
const softmax: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const { shape } = editor.type(x);
  const mode = modes[node.op] ?? 'soft';
  const legacy = editor.opset < 13;
  const axis = normalizeAxis(node, intAttribute(node, 'axis', legacy ? 1 : -1), Math.max(1, shape.length));
  if (!legacy || elementCount(shape.slice(axis + 1)) === 1) {
    editor.substitute(node, { op: 'AxisSoftmax', inputs: [x], attributes: softmaxAttributes(axis, mode) });
    return;
  }
  const rows = elementCount(reducedShape(shape, shape.map((_, i) => i).slice(axis), false));
  const flat = editor.emit({ name: node.name, op: 'View', inputs: [x], attributes: viewAttributes([rows, elementCount(shape) / rows]) });
  const result = editor.emit({ name: node.name, op: 'AxisSoftmax', inputs: [flat], attributes: softmaxAttributes(1, mode) });
  editor.substitute(node, { op: 'View', inputs: [result], attributes: viewAttributes(shape) });
};

export const canonicalReduction: Readonly<Record<string, Canonical>> = {
  ...Object.fromEntries(Object.entries(reduceKinds).map(([op, kind]) => [op, reduce(plain(kind))])),
  ...Object.fromEntries(Object.entries(composedKinds).map(([op, kind]) => [op, reduce(composed[kind])])),
  Softmax: softmax, LogSoftmax: softmax, Hardmax: softmax,
};
