import { int, intAttribute, ints } from '../../graph/attributes.js';
import { hasOperand, operand, optionalOutput, outputOf } from '../../graph/operands.js';
import { elementCount, fromNumbers, type TensorValue } from '../../graph/tensor-value.js';
import { viewAttributes } from '../../ops/core.js';
import { normalizeAxis } from '../../ops/op.js';
import { cumSumOf, topKOf } from '../../ops/selection.js';
import { rearrangementOf } from '../../ops/space.js';
import { suppressionAttributes, suppressionOf } from '../../ops/suppression.js';
import { argReduceAttributes, runningSumAttributes, topKAttributes } from '../../ops/whole.js';
import { constantInts, requiredConstant, type Canonical } from './types.js';
import { become, widened } from './whole.js';

/** The axis counted from the front, whatever the model says. */
const gatherElements: Canonical = (editor, node) => {
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), editor.type(operand(node, 0)).shape.length);
  editor.replace(node, { attributes: { axis: int(axis) } });
};

const argReduce = (smallest: boolean): Canonical => (editor, node) => {
  const x = operand(node, 0);
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), editor.type(x).shape.length);
  const attributes = argReduceAttributes(axis, smallest, intAttribute(node, 'select_last_index', 0) === 1);
  become(editor, node, editor.emit({ name: node.name, op: 'ArgReduce', inputs: [widened(editor, node, x)], attributes }));
};

/** The indices first; the values are gathered by them. */
const topK: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const { axis, k, smallest } = topKOf(node, editor.type(x).shape, constantInts(editor, node, 1, 'K'));
  const [values, indices] = [optionalOutput(node, 0), optionalOutput(node, 1)];
  editor.remove(node);
  const chosen = indices ?? editor.fresh(`${node.name}.indices`);
  editor.emitTo(chosen, { name: `${node.name}.indices`, op: 'TopKIndices', inputs: [widened(editor, node, x)], attributes: topKAttributes(axis, k, smallest) });
  if (values !== undefined) editor.emitTo(values, { name: node.name, op: 'GatherElements', inputs: [x, chosen], attributes: { axis: int(axis) } });
};

const nonMaxSuppression: Canonical = (editor, node) => {
  const [boxes, scores] = [operand(node, 0), operand(node, 1)];
  const value = (index: number, what: string): TensorValue | undefined => (hasOperand(node, index) ? requiredConstant(editor, node, index, what) : undefined);
  const attributes = suppressionAttributes(suppressionOf(node, editor.type(boxes).shape[1] ?? 0, value));
  editor.substitute(node, { op: 'SelectBoxes', inputs: [boxes, scores], attributes });
};

const cumSum: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const { axis, exclusive, reverse } = cumSumOf(node, editor.type(x).shape.length, constantInts(editor, node, 1, 'axis'));
  editor.substitute(node, { op: 'RunningSum', inputs: [x], attributes: runningSumAttributes(axis, exclusive, reverse) });
};

const rearrange: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const { apart, perm, result } = rearrangementOf(node, editor.type(x).shape);
  const split = editor.emit({ name: node.name, op: 'View', inputs: [x], attributes: viewAttributes(apart) });
  const moved = editor.emit({ name: node.name, op: 'Transpose', inputs: [split], attributes: { perm: ints(perm) } });
  editor.substitute(node, { op: 'View', inputs: [moved], attributes: viewAttributes(result) });
};

/** One element repeated, where folding would have made a large constant. */
const constantOfShape: Canonical = (editor, node) => {
  const { dtype, shape } = editor.type(outputOf(node));
  const value = node.attributes.get('value');
  const fill = value?.type === 'tensor' ? Number(value.value.data[0] ?? 0) : 0;
  const one = editor.addConstant(`${node.name}.value`, fromNumbers(dtype, shape.map(() => 1), [fill]));
  editor.substitute(node, { op: 'BroadcastTo', inputs: [one], attributes: { shape: ints(shape) } });
};

/** What passes, and the mask of what passes: all of it. */
const dropout: Canonical = (editor, node) => {
  const [x, output, mask] = [operand(node, 0), optionalOutput(node, 0), optionalOutput(node, 1)];
  const { shape } = editor.type(x);
  const masked = mask === undefined ? 'bool' : editor.type(mask).dtype;
  editor.remove(node);
  if (output !== undefined) editor.emitTo(output, { name: node.name, op: 'View', inputs: [x], attributes: viewAttributes(shape) });
  if (mask !== undefined) editor.fold(mask, fromNumbers(masked, shape, new Uint8Array(elementCount(shape)).fill(1)));
};

export const canonicalSelection: Readonly<Record<string, Canonical>> = {
  GatherElements: gatherElements, ArgMax: argReduce(false), ArgMin: argReduce(true), TopK: topK, NonMaxSuppression: nonMaxSuppression, CumSum: cumSum,
  DepthToSpace: rearrange, SpaceToDepth: rearrange, ConstantOfShape: constantOfShape, Dropout: dropout,
};
