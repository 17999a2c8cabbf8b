import { intAttribute } from '../../graph/attributes.js';
import { elementCount } from '../../graph/tensor-value.js';
import { reduceAttributes, softmaxAttributes, viewAttributes } from '../../ops/core.js';
import type { SoftmaxMode } from '../../ops/normalization.js';
import { normalizeAxis } from '../../ops/op.js';
import { reducedAxes, reducedShape, reduceKinds, type ReduceKind } from '../../ops/reduction.js';
import { constantInts, type Canonical } from './types.js';

const reduce = (kind: ReduceKind): Canonical => (editor, node) => {
  const x = node.inputs[0] ?? '';
  const { shape } = editor.type(x);
  const axes = reducedAxes(node, shape.length, constantInts(editor, node, 1, 'axes'));
  const attributes = reduceAttributes(kind, axes);
  const result = editor.type(node.outputs[0] ?? '').shape;
  if (intAttribute(node, 'keepdims', 1) === 1) {
    editor.substitute(node, { op: 'Reduce', inputs: [x], attributes });
    return;
  }
  editor.remove(node);
  const kept = editor.emit({ name: node.name, op: 'Reduce', inputs: [x], attributes });
  editor.emitTo(node.outputs[0] ?? '', { name: `${node.name}.squeezed`, op: 'View', inputs: [kept], attributes: viewAttributes(result) });
};

const modes: Readonly<Record<string, SoftmaxMode>> = { Softmax: 'soft', LogSoftmax: 'log', Hardmax: 'hard' };

/** Before operator set 13 a softmax runs over everything from its axis on: over one axis of a matrix. */
const softmax: Canonical = (editor, node) => {
  const x = node.inputs[0] ?? '';
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
  ...Object.fromEntries(Object.entries(reduceKinds).map(([op, kind]) => [op, reduce(kind)])),
  Softmax: softmax, LogSoftmax: softmax, Hardmax: softmax,
};
