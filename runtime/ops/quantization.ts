import { intAttribute, misshapen, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { RuntimeError } from '../errors.js';
import { type DType, elementCount, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { inputType, inputValue, normalizeAxis, outputType, type OpDefinition, type OpTable } from './op.js';
import { roundHalfEven } from './unary-functions.js';

const ranges: Partial<Record<DType, readonly [number, number]>> = {
  uint8: [0, 255], int8: [-128, 127], uint4: [0, 15], int4: [-8, 7], int32: [-(2 ** 31), 2 ** 31 - 1],
};

/** Smallest and largest value of a quantized type. */
export function rangeOf(dtype: DType): readonly [number, number] {
  const range = ranges[dtype];
  if (range === undefined) throw new RuntimeError('E_MODEL_OP', `${dtype} is not a quantized type`);
  return range;
}

/** Scale and zero-point of a QuantizeLinear or DequantizeLinear; one of each, or one for every index of `axis`. */
export interface Quantization {
  readonly dtype: DType;
  readonly scales: Float32Array;
  readonly zeroPoints: Int32Array;
  /** Meaningful only when there are several scales. */
  readonly axis: number;
}

/** @throws RuntimeError E_MODEL_VALUE: a scale that is not a positive number */
export function quantizationOf(node: Node, rank: number, scale: TensorValue, zeroPoint: TensorValue | undefined, dtype: DType): Quantization {
  if (intAttribute(node, 'block_size', 0) !== 0) throw unsupported(node, 'blocked quantization', 'block_size');
  const scales = Float32Array.from(toNumbers(scale));
  const bad = scales.find((value) => !(Number.isFinite(value) && value > 0));
  if (bad !== undefined || scales.length === 0) {
    throw new RuntimeError('E_MODEL_VALUE', `${node.op} '${node.name}': expected positive finite scales but received ${bad}`, { details: { node: node.name, op: node.op } });
  }
  const zeroPoints = Int32Array.from(zeroPoint === undefined ? scales.map(() => 0) : toNumbers(zeroPoint));
  if (zeroPoints.length !== scales.length) throw misshapen(node, `${scales.length} scales and ${zeroPoints.length} zero-points`);
  const axis = scales.length === 1 ? 0 : normalizeAxis(node, intAttribute(node, 'axis', 1), rank);
  return { dtype, scales, zeroPoints, axis };
}

/** For each element of a tensor, which scale it has. */
function scaleIndex(node: Node, dims: readonly number[], { scales, axis }: Quantization): (i: number) => number {
  if (scales.length === 1) return () => 0;
  if (dims[axis] !== scales.length) throw misshapen(node, `${scales.length} scales for axis ${axis} of [${dims.join(', ')}]`);
  const inner = elementCount(dims.slice(axis + 1));
  return (i) => Math.floor(i / inner) % scales.length;
}

/** clamp(roundHalfEven(x / scale) + zeroPoint), in single precision as every engine computes it. */
export function quantizeNumber(x: number, scale: number, zeroPoint: number, [low, high]: readonly [number, number]): number {
  return Math.min(Math.max(roundHalfEven(Math.fround(x / scale)) + zeroPoint, low), high);
}

const quantize: OpDefinition = {
  infer(context) {
    const x = inputType(context, 0);
    const dtype = context.inputs[2]?.dtype ?? 'uint8';
    if (x.dtype !== 'float32') throw unsupported(context.node, `input 0: expected float32 but received ${x.dtype}`);
    rangeOf(dtype);
    return [{ dtype, shape: x.shape }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { dtype } = outputType(context);
    const q = quantizationOf(context.node, x.dims.length, inputValue(context, 1), context.inputs[2], dtype);
    const index = scaleIndex(context.node, x.dims, q);
    const range = rangeOf(dtype);
    return [fromNumbers(dtype, x.dims, mapNumbers(toNumbers(x), (value, i) => quantizeNumber(value, q.scales[index(i)] ?? 1, q.zeroPoints[index(i)] ?? 0, range)))];
  },
};

const dequantize: OpDefinition = {
  infer(context) {
    const x = inputType(context, 0);
    rangeOf(x.dtype);
    return [{ dtype: 'float32', shape: x.shape }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const q = quantizationOf(context.node, x.dims.length, inputValue(context, 1), context.inputs[2], x.dtype);
    const index = scaleIndex(context.node, x.dims, q);
    return [fromNumbers('float32', x.dims, mapNumbers(toNumbers(x), (value, i) => (value - (q.zeroPoints[index(i)] ?? 0)) * (q.scales[index(i)] ?? 1)))];
  },
};

export const quantizationOps: OpTable = { QuantizeLinear: quantize, DequantizeLinear: dequantize };
