import { intAttribute, unsupported } from '../graph/attributes.js';
import { type DType, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { broadcastOffsets } from './indexing.js';
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

const arithmetic = (fn: Fn): OperatorRecord => ({
  infer: inferArithmetic,
  evaluate: (context) => [zip(inputValue(context, 0), inputValue(context, 1), outputType(context), fn)],
});

/** Integers divide towards zero. */
const division: OperatorRecord = {
  infer: inferArithmetic,
  evaluate(context) {
    const type = outputType(context);
    const fn: Fn = type.dtype === 'float32' ? (a, b) => a / b : (a, b) => (b === 0 ? 0 : Math.trunc(a / b));
    return [zip(inputValue(context, 0), inputValue(context, 1), type, fn)];
  },
};

/** Min, Max and Sum take any number of operands; the pass split-variadic makes pairs of them. */
const variadic = (fn: Fn): OperatorRecord => ({
  infer(context) {
    const { dtype } = inputType(context, 0);
    const shape = context.inputs.reduce<number[]>((sum, _, i) => broadcast(context.node, sum, inputType(context, i).shape), []);
    return [{ dtype, shape }];
  },
  evaluate(context) {
    const type = outputType(context);
    const first = inputValue(context, 0);
    const seed = zip(first, first, type, (a) => a);
    return [context.inputs.slice(1).reduce<TensorValue>((result, _, i) => zip(result, inputValue(context, i + 1), type, fn), seed)];
  },
});

const sum = variadic((a, b) => a + b);
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
    const fn: Fn = intAttribute(context.node, 'fmod', 0) === 1 ? (a, b) => a % b : (a, b) => (b === 0 ? 0 : ((a % b) + b) % b);
    return [zip(inputValue(context, 0), inputValue(context, 1), outputType(context), fn)];
  },
};

const comparison = (fn: (a: number, b: number) => boolean): OperatorRecord => ({
  infer: (context) => [{ dtype: 'bool', shape: broadcast(context.node, inputType(context, 0).shape, inputType(context, 1).shape) }],
  evaluate: (context) => [zip(inputValue(context, 0), inputValue(context, 1), outputType(context), (a, b) => (fn(a, b) ? 1 : 0))],
});

const where: OperatorRecord = {
  infer(context) {
    const [condition, x, y] = [inputType(context, 0), inputType(context, 1), inputType(context, 2)];
    if (x.dtype !== y.dtype) throw unsupported(context.node, `operands of types ${x.dtype} and ${y.dtype}`);
    return [{ dtype: x.dtype, shape: broadcast(context.node, condition.shape, broadcast(context.node, x.shape, y.shape)) }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const [condition, x, y] = [0, 1, 2].map((i) => {
      const tensor = inputValue(context, i);
      return { data: toNumbers(tensor), at: broadcastOffsets(tensor.dims, shape) };
    });
    if (condition === undefined || x === undefined || y === undefined) return [];
    const out = mapNumbers(condition.at, (offset, i) => {
      const source = condition.data[offset] ? x : y;
      return source.data[source.at[i] ?? 0] ?? 0;
    });
    return [fromNumbers(dtype, shape, out)];
  },
};

const not: OperatorRecord = {
  infer: (context) => [{ dtype: 'bool', shape: inputType(context, 0).shape }],
  evaluate(context) {
    const x = inputValue(context, 0);
    return [fromNumbers('bool', x.dims, mapNumbers(toNumbers(x), (value) => (value ? 0 : 1)))];
  },
};

/** Arithmetic that stays as it is until fuse-binary: the passes work on it. */
const floats = { elementwise: 'floats', transpose: throughAll } as const;
const isOne: OperatorRecord['identity'] = (node) => node.inputs.length === 1;

export const binaryOps: OpTable = sharing({ linear: true, needs: needsBroadcast }, {
  Add: { ...arithmetic((a, b) => a + b), ...floats },
  Sub: { ...arithmetic((a, b) => a - b), ...floats },
  Mul: { ...arithmetic((a, b) => a * b), ...floats },
  Div: { ...division, ...floats },
  Pow: { ...arithmetic((a, b) => a ** b), ...floats },
  Mod: modulo,
  PRelu: { ...arithmetic((x, slope) => (x < 0 ? x * slope : x)), ...floats },
  Min: { ...variadic(Math.min), ...floats, identity: isOne },
  Max: { ...variadic(Math.max), ...floats, identity: isOne },
  Sum: { ...sum, identity: isOne },
  Mean: mean,
  Equal: comparison((a, b) => a === b),
  Less: comparison((a, b) => a < b),
  Greater: comparison((a, b) => a > b),
  LessOrEqual: comparison((a, b) => a <= b),
  GreaterOrEqual: comparison((a, b) => a >= b),
  And: comparison((a, b) => a !== 0 && b !== 0),
  Or: comparison((a, b) => a !== 0 || b !== 0),
  Xor: comparison((a, b) => (a !== 0) !== (b !== 0)),
  Where: { ...where, elementwise: 'any', transpose: throughAll, pixels: 'any' },
  Not: not,
});
