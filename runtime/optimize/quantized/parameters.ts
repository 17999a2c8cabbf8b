import type { Attribute } from '../../graph/attributes.js';
import type { GraphEditor } from '../../graph/editor.js';
import type { Node } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { isByte, type DType } from '../../graph/tensor-value.js';
import { quantizationOf, quantizeNumber, rangeOf } from '../../ops/quantization.js';
import { quantization } from '../../ops/views.js';

/** One scale and zero-point for a whole tensor of 8-bit values. */
export interface TensorQuantization {
  readonly dtype: DType;
  readonly scale: number;
  readonly zeroPoint: number;
  /** Codes below and above are clamped to these: those of the type, or fewer where the model clips before it quantizes. */
  readonly bounds: readonly [number, number];
}

/** A quantized value: its name in the graph, and what its bytes mean. */
export interface QuantizedValue {
  readonly value: string;
  readonly q: TensorQuantization;
}

export const sameQuantization = (a: TensorQuantization, b: TensorQuantization): boolean =>
  a.dtype === b.dtype && a.scale === b.scale && a.zeroPoint === b.zeroPoint && a.bounds.join() === b.bounds.join();

/** Parameters of a QuantizeLinear or DequantizeLinear, undefined unless they are constant, per tensor, and of 8 bits. */
export function tensorQuantization(editor: GraphEditor, node: Node): TensorQuantization | undefined {
  const { x, scale: scaleName, zeroPoint: zeroName, output, blockSize } = quantization(node);
  const [scale, zeroPoint] = [editor.constant(scaleName), editor.constant(zeroName)];
  const { dtype, shape } = editor.type(node.op === 'QuantizeLinear' ? output : x);
  if (scale === undefined || scale.data.length !== 1 || (zeroName !== undefined && zeroPoint === undefined) || !isByte(dtype)) return undefined;
  if (blockSize !== 0) return undefined;
  const { scales, zeroPoints } = quantizationOf(node, shape.length, scale, zeroPoint, dtype);
  return { dtype, scale: scales[0] ?? 1, zeroPoint: zeroPoints[0] ?? 0, bounds: rangeOf(dtype) };
}

/** The quantized data behind a float value: that of the DequantizeLinear that makes it. */
export function quantizedSource(editor: GraphEditor, value: string | undefined): QuantizedValue | undefined {
  const node = editor.producer(value);
  if (node?.op !== 'DequantizeLinear') return undefined;
  const q = tensorQuantization(editor, node);
  return q === undefined ? undefined : { value: operand(node, 0), q };
}

export const quantizeOne = (x: number, { scale, zeroPoint, bounds }: TensorQuantization): number => quantizeNumber(x, scale, zeroPoint, bounds);

/** Bounds in quantized steps of a result that is clamped to [low, high] before it is rounded. */
export function quantizedBounds(q: TensorQuantization, low: number, high: number): readonly [number, number] {
  return [quantizeOne(low, q), quantizeOne(high, q)];
}

export const yType = ({ dtype }: TensorQuantization): Attribute => ({ type: 'string', value: dtype });

/** All 256 stored values of a type as float, lowest first. */
export function dequantizedValues({ dtype, scale, zeroPoint }: TensorQuantization): Float32Array {
  const [lowest] = rangeOf(dtype);
  return Float32Array.from({ length: 256 }, (_, i) => (i + lowest - zeroPoint) * scale);
}


