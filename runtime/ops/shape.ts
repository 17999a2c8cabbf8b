import { hasAttribute, intAttribute, intsAttribute, misshapen, tensorAttribute, unsupported, floatAttribute, floatsAttribute, requiredInt } from '../graph/attributes.js';
import { allocate, type DType, elementCount, fromNumbers, int64s, isBig, isUnsignedWide, mapNumbers, reshaped, scalar, type TensorArray, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { adviceOnWireType, dtypeOfWire, nameOfWireType } from '../onnx/tensor-data.js';
import { filled, isWhole, nearestFloat } from './exact.js';
import { always, constantInput, constantInts, inputType, inputValue, normalizeAxis, outputType, sameAsInput, sharing, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { needsSame } from './regions.js';
import { throughFirst } from './transpose-rules.js';

/** Operators that only give the same elements another shape. */
const reshaping = (shape: (context: InferContext) => number[]): OperatorRecord => ({
  identity: always,
  infer: (context) => [{ dtype: inputType(context, 0).dtype, shape: shape(context) }],
  evaluate: (context) => [reshaped(inputValue(context, 0), outputType(context).shape)],
});

function reshapeShape(context: InferContext): number[] {
  const { shape } = inputType(context, 0);
  const wanted = constantInts(context, 1, 'shape');
  if (wanted === undefined) throw misshapen(context.node, 'Expected a shape but received none');
  const keepZero = intAttribute(context.node, 'allowzero', 0) === 1;
  const dims = wanted.map((dim, i) => (dim === 0 && !keepZero ? (shape[i] ?? 0) : dim));
  const open = dims.indexOf(-1);
  if (open >= 0) {
    const rest = elementCount(dims.filter((_, i) => i !== open));
    dims[open] = rest === 0 ? 0 : elementCount(shape) / rest;
  }
  if (dims.some((dim) => !Number.isInteger(dim) || dim < 0) || elementCount(dims) !== elementCount(shape)) {
    throw misshapen(context.node, `[${shape.join(', ')}] cannot become [${wanted.join(', ')}]`);
  }
  return dims;
}

function flattenShape(context: InferContext): number[] {
  const { shape } = inputType(context, 0);
  const given = intAttribute(context.node, 'axis', 1);
  const axis = given < 0 ? given + shape.length : given;
  if (axis < 0 || axis > shape.length) throw misshapen(context.node, `axis ${given} is outside rank ${shape.length}`);
  return [elementCount(shape.slice(0, axis)), elementCount(shape.slice(axis))];
}

/** Axes are an attribute before operator set 13, an input since. */
const axesOf = (context: InferContext): readonly number[] | undefined => intsAttribute(context.node, 'axes') ?? constantInts(context, 1, 'axes');

function squeezeShape(context: InferContext): number[] {
  const { shape } = inputType(context, 0);
  const axes = axesOf(context)?.map((axis) => normalizeAxis(context.node, axis, shape.length));
  if (axes?.some((axis) => shape[axis] !== 1)) throw misshapen(context.node, `axes ${axes.join(', ')} of [${shape.join(', ')}] are not all 1`);
  return shape.filter((dim, i) => (axes === undefined ? dim !== 1 : !axes.includes(i)));
}

function unsqueezeShape(context: InferContext): number[] {
  const { shape } = inputType(context, 0);
  const given = axesOf(context);
  if (given === undefined) throw misshapen(context.node, 'Expected axes but received none');
  const rank = shape.length + given.length;
  const axes = new Set(given.map((axis) => normalizeAxis(context.node, axis, rank)));
  if (axes.size !== given.length) throw misshapen(context.node, `axes ${given.join(', ')} repeat`);
  const rest = [...shape];
  return Array.from({ length: rank }, (_, i) => (axes.has(i) ? 1 : (rest.shift() ?? 1)));
}

const shapeOp: OperatorRecord = {
  infer(context) {
    return [{ dtype: 'int64', shape: [shapeRange(context, inputType(context, 0).shape).length] }];
  },
  evaluate: (context) => [int64s(shapeRange(context, inputValue(context, 0).dims))],
};

/** The part of a shape that Shape returns; both the inference and the folding of the operator use it. */
export function shapeRange({ node }: { node: InferContext['node'] }, shape: readonly number[]): readonly number[] {
  const end = hasAttribute(node, 'end') ? intAttribute(node, 'end', 0) : shape.length;
  return shape.slice(intAttribute(node, 'start', 0), end);
}

const sizeOp: OperatorRecord = {
  infer: () => [{ dtype: 'int64', shape: [] }],
  evaluate: (context) => [scalar('int64', elementCount(inputValue(context, 0).dims))],
};

/** The forms of Constant that import leaves in place (a tensor `value` becomes a constant there). */
const constantOp: OperatorRecord = {
  infer: (context) => [typeOf(constantValue(context))],
  evaluate: (context) => [constantValue(context)],
};
const typeOf = (value: TensorValue) => ({ dtype: value.dtype, shape: value.dims });

function constantValue({ node }: { node: InferContext['node'] }): TensorValue {
  const tensor = tensorAttribute(node, 'value');
  if (tensor !== undefined) return tensor;
  if (hasAttribute(node, 'value_int')) return scalar('int64', intAttribute(node, 'value_int', 0));
  if (hasAttribute(node, 'value_float')) return scalar('float32', floatAttribute(node, 'value_float', 0));
  const ints = intsAttribute(node, 'value_ints');
  if (ints !== undefined) return int64s(ints);
  const floats = floatsAttribute(node, 'value_floats');
  if (floats !== undefined) return fromNumbers('float32', [floats.length], floats);
  throw unsupported(node, 'Expected a tensor, integers or floats', [...node.attributes.keys()][0] ?? 'value');
}

const constantOfShape: OperatorRecord = {
  infer(context) {
    const shape = constantInts(context, 0, 'shape');
    if (shape === undefined) throw misshapen(context.node, 'Expected a shape but received none');
    return [{ dtype: tensorAttribute(context.node, 'value')?.dtype ?? 'float32', shape }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    return [{ dtype, dims: shape, data: filled(dtype, elementCount(shape), tensorAttribute(context.node, 'value')?.data[0] ?? 0) }];
  },
};

const range: OperatorRecord = {
  infer(context) {
    const [start = NaN, limit = NaN, delta = NaN] = ['start', 'limit', 'delta'].map((what, i) => constantInput(context, i, what)?.data[0]);
    // The difference of two numbers of 64 bits may be small, and they alike as doubles.
    const length = typeof start === 'bigint' && typeof limit === 'bigint' ? Number(limit - start) : Number(limit) - Number(start);
    const count = Math.max(0, Math.ceil(length / Number(delta)));
    return [{ dtype: inputType(context, 0).dtype, shape: [count] }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const [start = 0, delta = 0] = [inputValue(context, 0).data[0], inputValue(context, 2).data[0]];
    const out = allocate(dtype, shape[0] ?? 0);
    if (isBig(out)) {
      for (let i = 0; i < out.length; i++) out[i] = BigInt(start) + BigInt(i) * BigInt(delta);
      return [{ dtype, dims: shape, data: out }];
    }
    return [fromNumbers(dtype, shape, mapNumbers({ length: shape[0] ?? 0 }, (_, i) => Number(start) + i * Number(delta)))];
  },
};

function castTarget(node: InferContext['node']): DType {
  const to = requiredInt(node, 'to');
  const dtype = dtypeOfWire(to);
  if (dtype === undefined) throw unsupported(node, `type ${nameOfWireType(to)}${adviceOnWireType(to)}`, 'to');
  return dtype;
}

/** Whole numbers of 64 bits as another type: the lowest bits, or the nearest float. */
function castBig(data: TensorArray, dtype: DType): TensorArray {
  const out = allocate(dtype, data.length);
  if (isBig(out)) for (let i = 0; i < out.length; i++) out[i] = BigInt(data[i] ?? 0);
  else for (let i = 0; i < out.length; i++) out[i] = dtype === 'float32' ? nearestFloat(BigInt(data[i] ?? 0)) : dtype === 'bool' ? (data[i] ? 1 : 0) : Number(BigInt.asIntN(32, BigInt(data[i] ?? 0)));
  return out;
}

/** What a float is beyond its new type is undefined in ONNX; as in the engine, it saturates at 32 bits, and narrower types take the lowest of these. */
const cast: OperatorRecord = {
  elementwise: 'any', transpose: throughFirst, identity: always, needs: needsSame, pixels: 'any',
  infer: (context) => [{ dtype: castTarget(context.node), shape: inputType(context, 0).shape }],
  evaluate(context) {
    const x = inputValue(context, 0);
    const dtype = castTarget(context.node);
    if (isBig(x.data)) return [{ dtype, dims: x.dims, data: castBig(x.data, dtype) }];
    const narrow = !isUnsignedWide(dtype) && dtype !== 'int64';
    const whole = narrow ? (v: number) => Math.min(Math.max(Math.trunc(v), -(2 ** 31)), 2 ** 31 - 1) : Math.trunc;
    const convert = dtype === 'bool' ? (v: number) => (v === 0 ? 0 : 1) : dtype === 'float32' || isWhole(x.dtype) ? (v: number) => v : whole;
    return [fromNumbers(dtype, x.dims, mapNumbers(toNumbers(x), convert))];
  },
};

const passThrough: OperatorRecord = { identity: always, needs: needsSame, infer: sameAsInput, evaluate: (context) => [inputValue(context, 0)] };

/** Inference mode, or training that drops nothing: the data passes, and the mask is all true. */
const dropout: OperatorRecord = {
  identity: always, needs: needsSame,
  infer(context) {
    const training = constantInts(context, 2, 'training_mode')?.[0] === 1;
    if (training && constantInput(context, 1, 'ratio')?.data[0] !== 0) throw unsupported(context.node, 'training mode', 'training_mode');
    const x = inputType(context, 0);
    return context.node.outputs.length > 1 ? [x, { dtype: context.opset < 10 ? x.dtype : 'bool', shape: x.shape }] : [x];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const mask = fromNumbers(context.outputs[1]?.dtype ?? 'bool', x.dims, new Uint8Array(elementCount(x.dims)).fill(1));
    return context.node.outputs.length > 1 ? [x, mask] : [x];
  },
};

export const shapeOps: OpTable = sharing({ linear: true }, {
  Reshape: reshaping(reshapeShape),
  Flatten: reshaping(flattenShape),
  Squeeze: reshaping(squeezeShape),
  Unsqueeze: reshaping(unsqueezeShape),
  Shape: shapeOp,
  Size: sizeOp,
  Constant: constantOp,
  ConstantOfShape: constantOfShape,
  Range: range,
  Cast: cast,
  Identity: passThrough,
  Dropout: dropout,
});
