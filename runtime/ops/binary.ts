import { intAttribute, unsupported } from '../graph/attributes.js';
import { allocate, type DType, fromNumbers, mapNumbers, type TensorValue, toNumbers, type ValueType } from '../graph/tensor-value.js';
import { compareEach, isWhole, wholeFunctions, type WholeFunction, zipWhole } from './exact.js';
import { broadcastOffsets } from './indexing.js';
import { gatherElements } from './movement.js';
import { broadcast, expectType, inputType, inputValue, outputType, sharing, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { needsBroadcast } from './regions.js';
import { throughAll } from './transpose-rules.js';

type Fn = (a: number, b: number) => number;

/** Evaluates `fn` with numpy broadcasting. */
export function zip(a: TensorValue, b: TensorValue, type: { dtype: DType; shape: readonly number[] }, fn: Fn): TensorValue {
  const left = toNumbers(a);
  const right = toNumbers(b);
  const leftAt = broadcastOffsets(a.dims, type.shape);
  const rightAt = broadcastOffsets(b.dims, type.shape);
  const out = new Float64Array(leftAt.length);
  for (let i = 0; i < out.length; i++) out[i] = fn(left[leftAt[i] ?? 0] ?? 0, right[rightAt[i] ?? 0] ?? 0);
  return fromNumbers(type.dtype, type.shape, out);
}

function inferArithmetic(context: InferContext): ReturnType<OperatorRecord['infer']> {
  const a = inputType(context, 0);
  const b = inputType(context, 1);
  if (a.dtype !== b.dtype && context.node.op !== 'Pow') {
    throw unsupported(context.node, `operands of types ${a.dtype} and ${b.dtype}`);
  }
  return [{ dtype: a.dtype, shape: broadcast(context.node, a.shape, b.shape) }];
}

const arithmetic = (fn: Fn, whole: WholeFunction): OperatorRecord => ({
  infer: inferArithmetic,
  evaluate: (context) => [combine(inputValue(context, 0), inputValue(context, 1), outputType(context), { fn, whole })],
});

/** Of floats or of whole numbers, by the type of the result. */
const combine = (a: TensorValue, b: TensorValue, type: ValueType, { fn, whole }: { fn: Fn; whole: WholeFunction }): TensorValue =>
  (isWhole(type.dtype) ? zipWhole(a, b, type, whole) : zip(a, b, type, fn));

/** Min, Max and Sum take any number of operands; the pass split-variadic makes pairs of them. */
const variadic = (fn: Fn, whole: WholeFunction): OperatorRecord => ({
  infer(context) {
    const { dtype } = inputType(context, 0);
    const shape = context.inputs.reduce<number[]>((sum, _, i) => broadcast(context.node, sum, inputType(context, i).shape), []);
    return [{ dtype, shape }];
  },
  evaluate(context) {
    const type = outputType(context);
    const first = inputValue(context, 0);
    const seed = gatherElements(first, broadcastOffsets(first.dims, type.shape), type.shape);
    return [context.inputs.slice(1).reduce<TensorValue>((result, _, i) => combine(result, inputValue(context, i + 1), type, { fn, whole }), seed)];
  },
});

const sum = variadic((a, b) => a + b, wholeFunctions.add);
const mean: OperatorRecord = {
  infer: (context) => [{ ...expectType(context, 0, ['float32']), shape: sum.infer(context)[0]?.shape ?? [] }],
  evaluate(context) {
    return sum.evaluate(context).map((total) => fromNumbers(total.dtype, total.dims, mapNumbers(toNumbers(total), (value) => value / context.inputs.length)));
  },
};

/** The sign follows the divisor, with `fmod` the dividend. */
const modulo: OperatorRecord = {
  infer(context) {
    const [type] = inferArithmetic(context);
    if (type?.dtype === 'float32' && intAttribute(context.node, 'fmod', 0) !== 1) throw unsupported(context.node, 'floats need the value 1', 'fmod');
    return type === undefined ? [] : [type];
  },
  evaluate(context) {
    const whole = wholeFunctions[intAttribute(context.node, 'fmod', 0) === 1 ? 'fmod' : 'mod'];
    return [combine(inputValue(context, 0), inputValue(context, 1), outputType(context), { fn: (a, b) => a % b, whole })];
  },
};

const comparison = (fn: (a: number | bigint, b: number | bigint) => boolean): OperatorRecord => ({
  infer: (context) => [{ dtype: 'bool', shape: broadcast(context.node, inputType(context, 0).shape, inputType(context, 1).shape) }],
  evaluate: (context) => [compareEach(inputValue(context, 0), inputValue(context, 1), outputType(context).shape, fn)],
});

const where: OperatorRecord = {
  infer(context) {
    const [condition, x, y] = [inputType(context, 0), inputType(context, 1), inputType(context, 2)];
    if (x.dtype !== y.dtype) throw unsupported(context.node, `operands of types ${x.dtype} and ${y.dtype}`);
    return [{ dtype: x.dtype, shape: broadcast(context.node, condition.shape, broadcast(context.node, x.shape, y.shape)) }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const [condition, x, y] = [inputValue(context, 0), inputValue(context, 1), inputValue(context, 2)];
    const [chosen, left, right] = [broadcastOffsets(condition.dims, shape), broadcastOffsets(x.dims, shape), broadcastOffsets(y.dims, shape)];
    const out = allocate(dtype, chosen.length);
    for (let i = 0; i < out.length; i++) out[i] = (condition.data[chosen[i] ?? 0] ? x.data[left[i] ?? 0] : y.data[right[i] ?? 0]) ?? 0;
    return [{ dtype, dims: shape, data: out }];
  },
};

const not: OperatorRecord = {
  infer: (context) => [{ dtype: 'bool', shape: inputType(context, 0).shape }],
  evaluate(context) {
    const x = inputValue(context, 0);
    return [fromNumbers('bool', x.dims, mapNumbers(toNumbers(x), (value) => (value ? 0 : 1)))];
  },
};

const wholePRelu: WholeFunction = { narrow: (x, slope) => (x < 0 ? Math.imul(x, slope) : x), wide: (x, slope) => (x < 0n ? x * slope : x) };

/** Arithmetic that stays as it is until fuse-binary: the passes work on it. */
const floats = { elementwise: 'floats', transpose: throughAll } as const;
const isOne: OperatorRecord['identity'] = (node) => node.inputs.length === 1;

export const binaryOps: OpTable = sharing({ linear: true, needs: needsBroadcast }, {
  Add: { ...arithmetic((a, b) => a + b, wholeFunctions.add), ...floats },
  Sub: { ...arithmetic((a, b) => a - b, wholeFunctions.sub), ...floats },
  Mul: { ...arithmetic((a, b) => a * b, wholeFunctions.mul), ...floats },
  Div: { ...arithmetic((a, b) => a / b, wholeFunctions.div), ...floats },
  Pow: { ...arithmetic((a, b) => a ** b, wholeFunctions.pow), ...floats },
  Mod: modulo,
  PRelu: { ...arithmetic((x, slope) => (x < 0 ? x * slope : x), wholePRelu), ...floats },
  Min: { ...variadic(Math.min, wholeFunctions.min), ...floats, identity: isOne },
  Max: { ...variadic(Math.max, wholeFunctions.max), ...floats, identity: isOne },
  Sum: { ...sum, identity: isOne },
  Mean: mean,
  Equal: comparison((a, b) => a === b),
  Less: comparison((a, b) => a < b),
  Greater: comparison((a, b) => a > b),
  LessOrEqual: comparison((a, b) => a <= b),
  GreaterOrEqual: comparison((a, b) => a >= b),
  And: comparison((a, b) => Boolean(a) && Boolean(b)),
  Or: comparison((a, b) => Boolean(a) || Boolean(b)),
  Xor: comparison((a, b) => Boolean(a) !== Boolean(b)),
  Where: { ...where, elementwise: 'any', transpose: throughAll, pixels: 'any' },
  Not: not,
});
