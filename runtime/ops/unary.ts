import { floatAttribute, notConstant, oneOf, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { fromNumbers, mapNumbers, reshaped, scalar, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { absolute, isWhole, negated, signs, wholeFunctions, zipWhole } from './exact.js';
import { expectType, inputValue, type OperatorRecord, type OpTable } from './op.js';
import { needsSame } from './regions.js';
import { applyUnary, type Unary, type UnaryKind } from './unary-functions.js';

type Constants = (index: number) => TensorValue | undefined;
type Reader = (node: Node, constants: Constants) => Unary;

const plain = (kind: UnaryKind): Reader => () => ({ kind, alpha: 0, beta: 0 });
const withAlpha = (kind: UnaryKind, alpha: number, beta = 0): Reader => (node) => ({
  kind,
  alpha: floatAttribute(node, 'alpha', alpha),
  beta: floatAttribute(node, 'beta', beta),
});

/** Bounds are attributes before operator set 11, inputs since; absent ones do not bind. */
function readClip(node: Node, constants: Constants): Unary {
  const bound = (index: number, name: string, fallback: number): number => {
    if (node.inputs[index] === undefined || node.inputs[index] === '') return floatAttribute(node, name, fallback);
    const value = constants(index)?.data[0];
    if (value === undefined) throw notConstant(node, index, name);
    return Number(value);
  };
  return { kind: 'clip', alpha: bound(1, 'min', -Infinity), beta: bound(2, 'max', Infinity) };
}

function readGelu(node: Node): Unary {
  const approximate = oneOf(node, 'approximate', ['none', 'tanh'], 'none');
  return { kind: approximate === 'tanh' ? 'gelu_tanh' : 'gelu', alpha: 0, beta: 0 };
}

const readSelu: Reader = (node) => ({
  kind: 'selu',
  alpha: floatAttribute(node, 'alpha', 1.6732632423543772),
  beta: floatAttribute(node, 'gamma', 1.0507009873554805),
});

const readShrink: Reader = (node) => ({ kind: 'shrink', alpha: floatAttribute(node, 'bias', 0), beta: floatAttribute(node, 'lambd', 0.5) });

function readCelu(node: Node): Unary {
  const alpha = floatAttribute(node, 'alpha', 1);
  if (alpha === 0) throw unsupported(node, 'Expected a number other than 0', 'alpha');
  return { kind: 'celu', alpha, beta: 0 };
}

const readers: Readonly<Record<string, Reader>> = {
  Relu: plain('relu'),
  Clip: readClip,
  Sigmoid: plain('sigmoid'),
  Tanh: plain('tanh'),
  Exp: plain('exp'),
  Log: plain('log'),
  Sqrt: plain('sqrt'),
  Abs: plain('abs'),
  Neg: plain('neg'),
  LeakyRelu: withAlpha('leaky_relu', 0.01),
  Elu: withAlpha('elu', 1),
  HardSigmoid: withAlpha('hard_sigmoid', 0.2, 0.5),
  HardSwish: plain('hard_swish'),
  Gelu: readGelu,
  Erf: plain('erf'),
  Softplus: plain('softplus'),
  Mish: plain('mish'),
  Reciprocal: plain('reciprocal'),
  Floor: plain('floor'),
  Ceil: plain('ceil'),
  Round: plain('round'),
  Sin: plain('sin'),
  Cos: plain('cos'),
  Sign: plain('sign'),
  Selu: readSelu,
  Celu: readCelu,
  ThresholdedRelu: withAlpha('thresholded_relu', 1),
  Softsign: plain('softsign'),
  Shrink: readShrink,
  Tan: plain('tan'),
  Asin: plain('asin'),
  Acos: plain('acos'),
  Atan: plain('atan'),
  Sinh: plain('sinh'),
  Cosh: plain('cosh'),
  Asinh: plain('asinh'),
  Acosh: plain('acosh'),
  Atanh: plain('atanh'),
  // Made by the pass fuse-silu; ONNX has no such operator.
  Silu: plain('silu'),
};

/** The function of a unary node, undefined when the node is none. @throws RuntimeError E_MODEL_OP: bounds not constant */
export function unaryOf(node: Node, constants: Constants): Unary | undefined {
  return Object.hasOwn(readers, node.op) ? readers[node.op]?.(node, constants) : undefined;
}

/** Bounds are operands: only floats had them as attributes. */
function clipWhole(x: TensorValue, [low, high]: readonly (TensorValue | undefined)[]): TensorValue {
  const type = { dtype: x.dtype, shape: x.dims };
  const above = low === undefined ? x : zipWhole(x, reshaped(low, []), type, wholeFunctions.max);
  return high === undefined ? above : zipWhole(above, reshaped(high, []), type, wholeFunctions.min);
}

/** Operators that also exist for whole numbers, where shape arithmetic uses them. */
const integral: Readonly<Record<string, (x: TensorValue, operands: readonly (TensorValue | undefined)[]) => TensorValue>> = {
  Relu: (x) => zipWhole(x, scalar(x.dtype, 0), { dtype: x.dtype, shape: x.dims }, wholeFunctions.max),
  Clip: clipWhole, Abs: absolute, Neg: negated, Sign: signs,
};

const definition: OperatorRecord = {
  linear: true,
  needs: needsSame,
  infer: (context) => [expectType(context, 0, Object.hasOwn(integral, context.node.op) ? ['float32', 'int64', 'int32', 'int8', 'uint8', 'uint32', 'uint64'] : ['float32'])],
  evaluate(context) {
    const x = inputValue(context, 0);
    const whole = isWhole(x.dtype) && Object.hasOwn(integral, context.node.op) ? integral[context.node.op] : undefined;
    if (whole !== undefined) return [whole(x, context.inputs.slice(1))];
    const unary = unaryOf(context.node, (index) => context.inputs[index]);
    if (unary === undefined) throw unsupported(context.node, 'not a unary function');
    return [fromNumbers(x.dtype, x.dims, mapNumbers(toNumbers(x), (value) => applyUnary(unary, value)))];
  },
};

export const unaryOps: OpTable = Object.fromEntries(Object.keys(readers).map((op) => [op, definition]));
