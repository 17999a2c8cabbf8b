import { intAttribute, requiredInt, unsupported } from '../../graph/attributes.js';
import { consumersOf, type Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { isByte } from '../../graph/tensor-value.js';
import { coreSuppression } from '../../ops/suppression.js';
import { coreCompareKind, coreIntegerKind, coreLogicKind } from '../../ops/whole.js';
import { single } from '../../ops/views.js';
import type { Lowering, LoweringContext } from '../context.js';
import { compareCodes, integerCodes, logicCodes } from '../program-format.js';

const x = (context: LoweringContext, node: Node): number => context.tensor(operand(node, 0));
const y = (context: LoweringContext, node: Node): number => context.tensor(outputOf(node));
const operands = (context: LoweringContext, node: Node): number[] => node.inputs.map((value) => context.tensor(value));

/** Numbers of 64 bits must fit the 32 that the engine has; those of 32 wrap as in any other engine. */
const checked = (context: LoweringContext, node: Node): number => (context.dtype(outputOf(node)) === 'int64' ? 1 : 0);

const zeroPoint = (context: LoweringContext, value: string): number => (isByte(context.dtype(value)) ? context.shift(value) : 0);

const cast: Lowering = (context, node) => {
  const { x: from, output: to } = single(node);
  context.emit(node, 'Cast', [x(context, node)], y(context, node), {
    x_zp: zeroPoint(context, from), y_zp: zeroPoint(context, to), to_bool: context.dtype(to) === 'bool' ? 1 : 0, checked: checked(context, node),
  });
};

const compare: Lowering = (context, node) => {
  context.emit(node, 'Compare', operands(context, node), y(context, node), { kind: compareCodes[coreCompareKind(node)] });
};

const logic: Lowering = (context, node) => {
  context.emit(node, 'Logic', operands(context, node), y(context, node), { kind: logicCodes[coreLogicKind(node)] });
};

const select: Lowering = (context, node) => {
  context.emit(node, 'Select', operands(context, node), y(context, node), {});
};

const binary: Lowering = (context, node) => {
  context.emit(node, 'BinaryS32', operands(context, node), y(context, node), { kind: integerCodes[coreIntegerKind(node)], checked: checked(context, node) });
};

const reduce: Lowering = (context, node) => {
  const attributes = { kind: integerCodes[coreIntegerKind(node)], axis: requiredInt(node, 'axis'), checked: checked(context, node) };
  context.emit(node, 'ReduceS32', [x(context, node)], y(context, node), attributes);
};

const gatherElements: Lowering = (context, node) => {
  context.emit(node, 'GatherElements', operands(context, node), y(context, node), { axis: requiredInt(node, 'axis') });
};

const gatherNd: Lowering = (context, node) => {
  context.emit(node, 'GatherNd', operands(context, node), y(context, node), { batch_dims: intAttribute(node, 'batch_dims', 0) });
};

const argReduce: Lowering = (context, node) => {
  const attributes = { axis: requiredInt(node, 'axis'), smallest: requiredInt(node, 'smallest'), last: requiredInt(node, 'last') };
  context.emit(node, 'ArgReduce', [x(context, node)], y(context, node), attributes);
};

const topK: Lowering = (context, node) => {
  context.emit(node, 'TopK', [x(context, node)], y(context, node), { axis: requiredInt(node, 'axis'), smallest: requiredInt(node, 'smallest') });
};

/** How many boxes stay is known when the model has run: nothing that is planned before can depend on it. */
const selectBoxes: Lowering = (context, node) => {
  const output = outputOf(node);
  if ((consumersOf(context.graph.nodes).get(output) ?? []).length > 0) {
    throw unsupported(node, 'the number of boxes is known only when the model has run: they can be an output of the model, and nothing else');
  }
  const { center, limit, iou, score } = coreSuppression(node);
  context.emit(node, 'NonMaxSuppression', operands(context, node), y(context, node), { center: center ? 1 : 0, limit, iou, score });
};

const runningSum: Lowering = (context, node) => {
  const attributes = { axis: requiredInt(node, 'axis'), exclusive: requiredInt(node, 'exclusive'), reverse: requiredInt(node, 'reverse'), checked: checked(context, node) };
  context.emit(node, 'CumSum', [x(context, node)], y(context, node), attributes);
};

export const wholeLowerings: Readonly<Record<string, Lowering>> = {
  Cast: cast, Compare: compare, Logic: logic, Where: select, BinaryS32: binary, ReduceS32: reduce, GatherElements: gatherElements, GatherND: gatherNd,
  ArgReduce: argReduce, TopKIndices: topK, SelectBoxes: selectBoxes, RunningSum: runningSum,
};
