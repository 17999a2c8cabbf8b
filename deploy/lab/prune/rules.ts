import { intAttribute, intsAttribute } from '../../../runtime/graph/attributes.js';
import type { Node } from '../../../runtime/graph/graph.js';
import { hasOperand, operand, outputOf } from '../../../runtime/graph/operands.js';
import { elementCount, toNumbers } from '../../../runtime/graph/tensor-value.js';
import { fixedChannel } from './channels.js';
import type { Lanes, Tracer } from './tracer.js';

/** How an operator passes channels on, and which of its constants have numbers for them. */
type Rule = (t: Tracer, node: Node) => void;

const range = <T>(length: number, of: (i: number) => T): T[] => Array.from({ length }, (_, i) => of(i));

const convolution: Rule = (t, node) => {
  const [x, w] = [operand(node, 0), node.inputs[1]];
  if (!t.isConstant(w)) return t.stop(node);
  const [outputs = 1, inputsPerGroup = 1] = t.shape(w);
  const group = intAttribute(node, 'group', 1);
  const ids = t.along(x, 1);
  const perGroup = outputs / group;
  let made: readonly number[];
  if (group > 1 && inputsPerGroup === 1) {
    made = range(outputs, (o) => ids[Math.floor(o / perGroup)] ?? fixedChannel);
    t.restate({ kind: 'group', node, ids });
  } else {
    // All groups have equally many channels: the n-th ones of all groups go together.
    for (let i = inputsPerGroup; i < ids.length; i++) t.channels.join(ids[i] ?? fixedChannel, ids[i % inputsPerGroup] ?? fixedChannel);
    const first = t.channels.fresh(perGroup);
    made = range(outputs, (o) => first[o % perGroup] ?? fixedChannel);
    t.cut(node, 1, { axis: 1, ids: ids.slice(0, inputsPerGroup) }, 'reads');
  }
  const role = group > 1 && inputsPerGroup === 1 ? 'follows' : 'makes';
  t.cut(node, 1, { axis: 0, ids: made }, role);
  t.cut(node, 2, { axis: 0, ids: made }, role);
  if (hasOperand(node, 2) && !t.isConstant(node.inputs[2])) t.channels.fix(made);
  t.put(outputOf(node), 1, made);
};

const transposedConvolution: Rule = (t, node) => {
  const w = node.inputs[1];
  if (!t.isConstant(w) || intAttribute(node, 'group', 1) !== 1 || (hasOperand(node, 2) && !t.isConstant(node.inputs[2]))) return t.stop(node);
  t.cut(node, 1, { axis: 0, ids: t.along(operand(node, 0), 1) }, 'reads');
  const made = t.channels.fresh(t.shape(w)[1] ?? 1);
  t.cut(node, 1, { axis: 1, ids: made }, 'makes');
  t.cut(node, 2, { axis: 0, ids: made }, 'makes');
  t.put(outputOf(node), 1, made);
};

/** Gemm and MatMul: the last axis is multiplied by constant weights. */
const product: Rule = (t, node) => {
  const [x, w] = [operand(node, 0), node.inputs[1]];
  const rank = t.shape(x).length;
  if (!t.isConstant(w) || t.shape(w).length !== 2 || intAttribute(node, 'transA', 0) !== 0 || rank < 2) return t.stop(node);
  const from = intAttribute(node, 'transB', 0) === 0 ? 0 : 1;
  t.cut(node, 1, { axis: from, ids: t.along(x, rank - 1) }, 'reads');
  const made = t.channels.fresh(t.shape(w)[1 - from] ?? 1);
  t.cut(node, 1, { axis: 1 - from, ids: made }, 'makes');
  const bias = node.inputs[2];
  if (hasOperand(node, 2) && bias !== undefined) {
    const dims = t.shape(bias);
    if (!t.isConstant(bias)) t.channels.fix(made);
    else if (dims.at(-1) === made.length && made.length > 1) t.cut(node, 2, { axis: dims.length - 1, ids: made }, 'makes');
  }
  t.put(outputOf(node), t.shape(outputOf(node)).length - 1, made);
};

/** Element by element with broadcasting: channels that meet go together, and constants with one number a channel follow. */
const elementwise: Rule = (t, node) => {
  const output = outputOf(node);
  const rank = t.shape(output).length;
  const aligned = (value: string, { axis }: Lanes): number => axis + rank - t.shape(value).length;
  const followed = node.inputs.flatMap((value) => {
    const lanes = t.lanes(value);
    return lanes !== undefined && lanes.ids.length > 1 ? [{ value, at: aligned(value, lanes), lanes }] : [];
  });
  const [first] = followed;
  if (first === undefined || followed.some(({ at, lanes }) => at !== first.at || lanes.ids.length !== first.lanes.ids.length)) return t.stop(node);
  const { at, lanes: { ids } } = first;
  node.inputs.forEach((value, i) => {
    if (!hasOperand(node, i)) return;
    const axis = at - rank + t.shape(value).length;
    if (axis < 0 || t.shape(value)[axis] === 1) return;
    if (t.isConstant(value)) t.cut(node, i, { axis, ids }, 'follows');
    else t.channels.joinAll(ids, t.along(value, axis));
  });
  t.put(output, at, ids);
};

/** One number a channel in each operand behind the first. */
const perChannel: Rule = (t, node) => {
  if (node.outputs.length !== 1 || node.inputs.slice(1).some((value) => !t.isConstant(value))) return t.stop(node);
  const ids = t.along(operand(node, 0), 1);
  for (let i = 1; i < node.inputs.length; i++) t.cut(node, i, { axis: 0, ids }, 'follows');
  t.put(outputOf(node), 1, ids);
};

/** Channels stay where they are, if the axis keeps its size: pooling, padding, resizing, slicing along other axes. */
const inPlace: Rule = (t, node) => {
  const [x, output] = [operand(node, 0), outputOf(node)];
  const lanes = t.lanes(x);
  if (lanes === undefined) return;
  const [from, to] = [t.shape(x), t.shape(output)];
  const steps = node.op === 'Slice' ? node.inputs[4] : undefined;
  const reversed = steps !== undefined && [...toNumbers(t.graph.constants.get(steps) ?? { dtype: 'int64', dims: [1], data: BigInt64Array.of(-1n) })].some((step) => step < 0);
  const others = node.inputs.slice(1).some((value, i) => hasOperand(node, i + 1) && !t.isConstant(value));
  if (from.length !== to.length || from[lanes.axis] !== to[lanes.axis] || lanes.ids.length < 2 || node.outputs.length !== 1 || reversed || others) return t.stop(node);
  const sizes = node.op === 'Resize' && hasOperand(node, 3);
  if (sizes && node.attributes.has('axes')) return t.stop(node);
  if (sizes) t.restate({ kind: 'shape', node, operand: 3, dims: to, lanes });
  t.put(output, lanes.axis, lanes.ids);
};

const transpose: Rule = (t, node) => {
  const x = operand(node, 0);
  const lanes = t.lanes(x);
  if (lanes === undefined) return;
  const perm = intsAttribute(node, 'perm') ?? range(t.shape(x).length, (i) => t.shape(x).length - 1 - i);
  t.put(outputOf(node), perm.indexOf(lanes.axis), lanes.ids);
};

const concat: Rule = (t, node) => {
  const output = outputOf(node);
  const rank = t.shape(output).length;
  const stated = intAttribute(node, 'axis', 0);
  const joined = stated < 0 ? stated + rank : stated;
  const at = node.inputs.map((value) => t.lanes(value)?.axis).find((axis) => axis !== undefined);
  if (at === undefined) return;
  if (at === joined) return t.put(output, at, node.inputs.flatMap((value) => t.along(value, at)));
  const [first = []] = node.inputs.filter((value) => t.lanes(value)?.axis === at).map((value) => t.along(value, at));
  node.inputs.forEach((value, i) => {
    if (t.isConstant(value)) t.cut(node, i, { axis: at, ids: first }, 'follows');
    else t.channels.joinAll(first, t.along(value, at));
  });
  t.put(output, at, first);
};

/** Another shape for the same elements: a channel may become several indices of a longer axis, as where a map is flattened. */
const reshape: Rule = (t, node) => {
  const [x, output] = [operand(node, 0), outputOf(node)];
  const lanes = t.lanes(x);
  if (lanes === undefined) return;
  const [from, to] = [t.shape(x), t.shape(output)];
  const [before, after, count] = [elementCount(from.slice(0, lanes.axis)), elementCount(from.slice(lanes.axis + 1)), lanes.ids.length];
  const at = to.findIndex((size, axis) => elementCount(to.slice(0, axis)) === before && size >= count && size % count === 0 && after % (size / count) === 0);
  if (at < 0 || count < 2) return t.stop(node);
  const times = (to[at] ?? count) / count;
  const ids = range(count * times, (i) => lanes.ids[Math.floor(i / times)] ?? fixedChannel);
  if (node.op === 'Reshape') t.restate({ kind: 'shape', node, operand: 1, dims: to, lanes: { axis: at, ids } });
  t.put(output, at, ids);
};

/** A mean or sum over other axes. */
const reduction: Rule = (t, node) => {
  const x = operand(node, 0);
  const lanes = t.lanes(x);
  if (lanes === undefined) return;
  const rank = t.shape(x).length;
  const constant = t.graph.constants.get(node.inputs[1] ?? '');
  const axes = (constant === undefined ? intsAttribute(node, 'axes') : [...toNumbers(constant)])?.map((axis) => (axis < 0 ? axis + rank : axis));
  if (axes === undefined || axes.includes(lanes.axis)) return t.stop(node);
  const removed = intAttribute(node, 'keepdims', 1) === 0 ? axes.filter((axis) => axis < lanes.axis).length : 0;
  t.put(outputOf(node), lanes.axis - removed, lanes.ids);
};

const split: Rule = (t, node) => {
  const lanes = t.lanes(operand(node, 0));
  const axis = intAttribute(node, 'axis', 0);
  if (lanes === undefined) return;
  if (lanes.axis === (axis < 0 ? axis + t.shape(operand(node, 0)).length : axis)) return t.stop(node);
  for (const output of node.outputs) t.put(output, lanes.axis, lanes.ids);
};

const all = (ops: readonly string[], rule: Rule): Record<string, Rule> => Object.fromEntries(ops.map((op) => [op, rule]));

const rules: Readonly<Record<string, Rule>> = {
  Conv: convolution, ConvTranspose: transposedConvolution, Gemm: product, MatMul: product, Transpose: transpose, Concat: concat, Split: split,
  ...all(['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Pow', 'Sum', 'Mean', 'PRelu', 'Clip', 'Where'], elementwise),
  ...all(['Relu', 'LeakyRelu', 'Sigmoid', 'Tanh', 'HardSigmoid', 'HardSwish', 'Elu', 'Selu', 'Celu', 'Softplus', 'Softsign', 'Mish', 'Gelu', 'Erf', 'Exp', 'Log', 'Sqrt', 'Abs', 'Neg', 'Identity', 'Reciprocal', 'ThresholdedRelu'], elementwise),
  ...all(['BatchNormalization', 'InstanceNormalization'], perChannel),
  ...all(['MaxPool', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool', 'LpPool', 'GlobalLpPool', 'Resize', 'Upsample', 'Pad', 'Slice', 'Dropout'], inPlace),
  ...all(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'], reshape),
  ...all(['ReduceMean', 'ReduceSum', 'ReduceMax', 'ReduceMin', 'ReduceL2', 'ReduceSumSquare'], reduction),
};

const unknown: Rule = (t, node) => t.stop(node);
const ruleOf = (op: string): Rule | undefined => (Object.hasOwn(rules, op) ? rules[op] : undefined);

/** Follows the channels through one node. Those that meet an operator without a rule stay. */
export const traceNode = (t: Tracer, node: Node): void => (ruleOf(node.op) ?? unknown)(t, node);
