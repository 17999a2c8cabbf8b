import { intAttribute, misshapen, unsupported } from '../graph/attributes.js';
import { positiveUntil } from '../graph/channels.js';
import type { Node } from '../graph/graph.js';
import { RuntimeError } from '../errors.js';
import { allocate, type DType, elementCount, fromNumbers, isBig, sameShape, type Shape, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { inputType, inputValue, normalizeAxis, outputType, sharing, type OperatorRecord, type OpTable } from './op.js';
import { needsSame } from './regions.js';
import { throughQuantization } from './transpose-rules.js';
import { adviceOnWireType, dtypeOfWire, nameOfWireType } from '../onnx/tensor-data.js';
import { roundHalfEven } from './unary-functions.js';

const ranges: Partial<Record<DType, readonly [number, number]>> = {
  uint8: [0, 255], int8: [-128, 127], uint4: [0, 15], int4: [-8, 7], uint2: [0, 3], int2: [-2, 1], int32: [-(2 ** 31), 2 ** 31 - 1],
};

/** Smallest and largest value of a quantized type. */
export function rangeOf(dtype: DType): readonly [number, number] {
  const range = ranges[dtype];
  if (range === undefined) throw new RuntimeError('E_MODEL_OP', `${dtype} is not a quantized type`);
  return range;
}

/** Scale and zero-point of a QuantizeLinear or DequantizeLinear; one of each, one for every index of `axis`, or one for every block along it. */
export interface Quantization {
  readonly dtype: DType;
  readonly scales: Float32Array;
  readonly zeroPoints: Int32Array;
  /** Meaningful only when there are several scales. */
  readonly axis: number;
  /** Blocked quantization: how many elements along `axis` share a scale, and the shape of the scales. */
  readonly blocks?: { readonly size: number; readonly dims: Shape };
}

/** @throws RuntimeError E_MODEL_VALUE: a scale that is not a positive number */
export function quantizationOf(node: Node, rank: number, scale: TensorValue, zeroPoint: TensorValue | undefined, dtype: DType): Quantization {
  const numbers = toNumbers(scale);
  const at = positiveUntil(numbers);
  if (at < numbers.length || at === 0) {
    const bad = numbers[at];
    throw new RuntimeError('E_MODEL_VALUE', `${node.op} '${node.name}': expected positive finite scales but received ${bad}`, { details: { node: node.name, op: node.op } });
  }
  return parametersOf(node, rank, scale, zeroPoint, dtype);
}

/** The same for scales of any sign, and 0. */
function parametersOf(node: Node, rank: number, scale: TensorValue, zeroPoint: TensorValue | undefined, dtype: DType): Quantization {
  const scales = new Float32Array(toNumbers(scale));
  const zeroPoints = zeroPoint === undefined ? new Int32Array(scales.length) : new Int32Array(toNumbers(zeroPoint));
  if (zeroPoints.length !== scales.length) throw misshapen(node, `${scales.length} scales and ${zeroPoints.length} zero-points`);
  const size = intAttribute(node, 'block_size', 0);
  const axis = scales.length === 1 && size === 0 ? 0 : normalizeAxis(node, intAttribute(node, 'axis', 1), rank);
  return { dtype, scales, zeroPoints, axis, ...(size === 0 ? {} : { blocks: { size, dims: scale.dims } }) };
}

/** The same for blocks: scales have the shape of the tensor but for `axis`, which is as long as there are blocks. */
function blockIndex(node: Node, dims: Shape, axis: number, blocks: { size: number; dims: Shape }): (i: number) => number {
  const wanted = dims.map((dim, i) => (i === axis ? Math.ceil(dim / blocks.size) : dim));
  if (blocks.size < 1 || !sameShape(wanted, blocks.dims)) {
    throw misshapen(node, `scales of shape [${blocks.dims.join(', ')}] for blocks of ${blocks.size} along axis ${axis} of [${dims.join(', ')}]`);
  }
  const [inner, length, count] = [elementCount(dims.slice(axis + 1)), dims[axis] ?? 1, wanted[axis] ?? 1];
  return (i) => {
    const [at, row] = [i % inner, Math.floor(i / inner)];
    return (Math.floor(row / length) * count + Math.floor((row % length) / blocks.size)) * inner + at;
  };
}

type OfScale = (value: number, scale: number, zeroPoint: number) => number;

/**
 * A tensor of `dtype` with fn of each element, its scale and its zero-point. Elements that share a scale and follow each other are one loop: finding the
 * scale of each of millions of weights would cost more than all the rest.
 */
function mapScaled(node: Node, x: TensorValue, q: Quantization, dtype: DType, fn: OfScale): TensorValue {
  const [values, out] = [toNumbers(x), allocate(dtype, elementCount(x.dims))];
  if (isBig(out)) throw unsupported(node, `a result of ${dtype}`);
  const { scales, zeroPoints, axis, blocks } = q;
  if (blocks !== undefined) {
    const index = blockIndex(node, x.dims, axis, blocks);
    for (let i = 0; i < out.length; i++) out[i] = fn(values[i] ?? 0, scales[index(i)] ?? 1, zeroPoints[index(i)] ?? 0);
    return { dtype, dims: [...x.dims], data: out };
  }
  if (scales.length > 1 && x.dims[axis] !== scales.length) throw misshapen(node, `${scales.length} scales for axis ${axis} of [${x.dims.join(', ')}]`);
  const run = scales.length === 1 ? out.length : elementCount(x.dims.slice(axis + 1));
  for (let i = 0, at = 0; i < out.length; at = (at + 1) % scales.length) {
    const [scale, zeroPoint] = [scales[at] ?? 1, zeroPoints[at] ?? 0];
    for (const end = i + run; i < end; i++) out[i] = fn(values[i] ?? 0, scale, zeroPoint);
  }
  return { dtype, dims: [...x.dims], data: out };
}

/** clamp(roundHalfEven(x / scale) + zeroPoint), in single precision as every engine computes it. */
export function quantizeNumber(x: number, scale: number, zeroPoint: number, [low, high]: readonly [number, number]): number {
  return Math.min(Math.max(roundHalfEven(Math.fround(x / scale)) + zeroPoint, low), high);
}

/** What a DequantizeLinear of constants gives, whatever the signs of its scales. */
export function dequantizedValue(node: Node, x: TensorValue, scale: TensorValue, zeroPoint: TensorValue | undefined): TensorValue {
  return mapScaled(node, x, parametersOf(node, x.dims.length, scale, zeroPoint, x.dtype), 'float32', (value, factor, zero) => (value - zero) * factor);
}

/** Codes and scales of the same numbers without scales of 0, which stand for nothing but 0: the codes of these are the zero-point, and their scale is any other. */
export function withoutZeroScales(node: Node, x: TensorValue, scale: TensorValue, zeroPoint: TensorValue | undefined): { x: TensorValue; scale: TensorValue } {
  const parameters = parametersOf(node, x.dims.length, scale, zeroPoint, x.dtype);
  const largest = parameters.scales.reduce((most, value) => Math.max(most, value), 0);
  return {
    x: mapScaled(node, x, parameters, x.dtype, (value, factor, zero) => (factor === 0 ? zero : value)),
    scale: fromNumbers('float32', scale.dims, parameters.scales.map((value) => (value > 0 ? value : largest > 0 ? largest : 1))),
  };
}

const quantize: OperatorRecord = {
  infer(context) {
    const x = inputType(context, 0);
    const declared = intAttribute(context.node, 'output_dtype', 0);
    const dtype = context.inputs[2]?.dtype ?? (declared === 0 ? 'uint8' : dtypeOfWire(declared));
    if (dtype === undefined) throw unsupported(context.node, `element type ${nameOfWireType(declared)}${adviceOnWireType(declared)}`, 'output_dtype');
    if (x.dtype !== 'float32') throw unsupported(context.node, `input 0: expected float32 but received ${x.dtype}`);
    rangeOf(dtype);
    return [{ dtype, shape: x.shape }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { dtype } = outputType(context);
    const q = quantizationOf(context.node, x.dims.length, inputValue(context, 1), context.inputs[2], dtype);
    const range = rangeOf(dtype);
    return [mapScaled(context.node, x, q, dtype, (value, scale, zeroPoint) => quantizeNumber(value, scale, zeroPoint, range))];
  },
};

const dequantize: OperatorRecord = {
  infer(context) {
    const x = inputType(context, 0);
    const zeroPoint = context.inputs[2]?.dtype ?? x.dtype;
    if (zeroPoint !== x.dtype) throw unsupported(context.node, `a zero-point of type ${zeroPoint} for values of type ${x.dtype}`);
    rangeOf(x.dtype);
    return [{ dtype: 'float32', shape: x.shape }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const q = quantizationOf(context.node, x.dims.length, inputValue(context, 1), context.inputs[2], x.dtype);
    return [mapScaled(context.node, x, q, 'float32', (value, scale, zeroPoint) => (value - zeroPoint) * scale)];
  },
};

export const quantizationOps: OpTable = sharing({ linear: true, transpose: throughQuantization, repeats: true, needs: needsSame, pixels: 'any' }, {
  QuantizeLinear: quantize, DequantizeLinear: dequantize,
});

/** Scales below this are those of zeros: the smallest normal float32. */
export const smallestScale = 2 ** -126;

/** The scale for data between two numbers, of which one is at most and one at least 0. */
export function scaleOfRange(low: number, high: number): number {
  const range = Math.fround(high - low);
  // Data that are all 0 have no range: any scale will do, and 1 is what onnxruntime says.
  return range === 0 ? 1 : Math.max(Math.fround(range / 255), smallestScale);
}

const clampedByte = (value: number): number => Math.min(Math.max(value, 0), 255);

/** The zero-point that belongs to `scaleOfRange`, in uint8. */
export const zeroOfRange = (low: number, high: number): number => roundHalfEven(clampedByte(Math.fround(-low / scaleOfRange(low, high))));
