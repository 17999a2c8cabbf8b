import { float, int, intAttribute, type Attribute } from '../../graph/attributes.js';
import { includesByte } from '../../graph/bulk.js';
import { dequantized, dividedBy, inSteps, onlyZeros, times } from '../../graph/channels.js';
import type { Node } from '../../graph/graph.js';
import { absent, operand, optionalOperand } from '../../graph/operands.js';
import { elementCount, float32s, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { fusedUnary } from '../../ops/convolution.js';
import { quantizationOf, type Quantization } from '../../ops/quantization.js';
import { convolution } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';
import type { Rewriter } from '../rewriter.js';
import { quantizedBounds, quantizedSource, yType, type QuantizedValue, type TensorQuantization } from './parameters.js';
import type { Planner } from './plan.js';

/** Convolution and what follows it before the result is quantized. */
interface Chain {
  readonly conv: Node;
  readonly low: number;
  readonly high: number;
  /** Factor of negative sums for each output channel (PRelu, LeakyRelu). */
  readonly slope: Float64Array | undefined;
}

/** Clamps that follow one another, from the last back to what they clamp; every link must have no other reader. */
function clampsOf(editor: Rewriter, value: string): { inner: string; low: number; high: number } {
  let [inner, low, high] = [value, -Infinity, Infinity];
  for (;;) {
    const node = editor.producer(inner);
    const unary = node?.op === 'Unary' ? fusedUnary(node) : undefined;
    if (node === undefined || (unary?.kind !== 'relu' && unary?.kind !== 'clip')) return { inner, low, high };
    const input = operand(node, 0);
    const [least, most] = unary.kind === 'relu' ? [0, Infinity] : [unary.alpha, unary.beta];
    // What an earlier clamp lets through, a later one narrows: bounds beyond its own end up at them.
    if (least > high || most < low || editor.soleConsumer(input) !== node) return { inner, low, high };
    [inner, low, high] = [input, Math.max(low, least), Math.min(high, most)];
  }
}

/** Walks from the value to be quantized up to its convolution; every link must have no other reader. */
function chainOf(editor: Rewriter, value: string): Chain | undefined {
  const { inner, low, high } = clampsOf(editor, value);
  const node = editor.producer(inner);
  if (node?.op === 'NhwcConv') return { conv: node, low, high, slope: undefined };
  const input = node === undefined ? undefined : optionalOperand(node, 0);
  const conv = editor.producer(input);
  if (node === undefined || input === undefined || conv?.op !== 'NhwcConv' || editor.soleConsumer(input) !== node) return undefined;
  const channels = editor.type(input).shape.at(-1) ?? 1;
  if (node.op === 'PRelu') {
    const slope = editor.constant(node.inputs[1]);
    const perChannel = slope !== undefined && (slope.data.length === 1 || (slope.data.length === channels && slope.dims.at(-1) === channels));
    if (!perChannel) return undefined;
    const numbers = toNumbers(slope);
    return { conv, low, high, slope: mapNumbers({ length: channels }, (_, c) => numbers[numbers.length === 1 ? 0 : c] ?? 0) };
  }
  if (node.op !== 'Unary') return undefined;
  const { kind, alpha } = fusedUnary(node);
  return kind === 'leaky_relu' ? { conv, low, high, slope: new Float64Array(channels).fill(alpha) } : undefined;
}

interface Weights {
  readonly values: TensorValue;
  /** One for each output channel. */
  readonly scales: Float32Array;
}

/** A constant behind a DequantizeLinear, and how it was quantized. */
function quantizedConstant(editor: Rewriter, name: string): { stored: TensorValue; q: Quantization } | undefined {
  const node = editor.producer(name);
  const stored = editor.constant(node?.inputs[0]);
  const scale = editor.constant(node?.inputs[1]);
  if (node?.op !== 'DequantizeLinear' || stored === undefined || scale === undefined) return undefined;
  return { stored, q: quantizationOf(node, stored.dims.length, scale, editor.constant(node.inputs[2]), stored.dtype) };
}

/** Weights as s8 in [-127, 127] around 0; undefined when they are not of that kind. */
function symmetricWeights(editor: Rewriter, name: string): Weights | undefined {
  const quantized = quantizedConstant(editor, name);
  if (quantized === undefined) return undefined;
  const { stored, q } = quantized;
  if (q.blocks !== undefined || (q.scales.length > 1 && q.axis !== 0)) return undefined;
  const outputs = stored.dims[0] ?? 1;
  const scales = new Float32Array(outputs).fill(q.scales.length === 1 ? (q.scales[0] ?? 1) : 1);
  if (q.scales.length > 1) scales.set(q.scales.subarray(0, outputs));
  // As every quantizer writes them: nothing to convert.
  if (stored.dtype === 'int8' && stored.data instanceof Int8Array && onlyZeros(q.zeroPoints)) {
    return includesByte(stored.data, -128) ? undefined : { values: stored, scales };
  }
  const inner = elementCount(stored.dims) / outputs;
  const zeroPoint = (i: number) => q.zeroPoints[q.zeroPoints.length === 1 ? 0 : Math.floor(i / inner)] ?? 0;
  const centred = mapNumbers(toNumbers(stored), (w, i) => w - zeroPoint(i));
  if (centred.some((w) => w < -127 || w > 127)) return undefined;
  return { values: fromNumbers('int8', stored.dims, centred), scales };
}

/** Bias in steps of x_scale * w_scale, or undefined when it is not constant or does not fit 32 bits. */
function integerBias(editor: Rewriter, name: string, steps: ArrayLike<number>): TensorValue | undefined {
  const constant = editor.constant(name);
  const bias = constant === undefined ? dequantizedConstant(editor, name) : toNumbers(constant);
  if (bias?.length !== steps.length) return undefined;
  const data = inSteps(bias, steps);
  return data === undefined ? undefined : { dtype: 'int32', dims: [data.length], data };
}

/** In double precision: a 32-bit integer times a scale does not fit a float32. */
function dequantizedConstant(editor: Rewriter, name: string): Float64Array | undefined {
  const quantized = quantizedConstant(editor, name);
  if (quantized === undefined) return undefined;
  const { stored, q } = quantized;
  return dequantized(toNumbers(stored), q.scales, q.zeroPoints);
}

/** Attributes that place the result: without a residual only the `mid` ones count. */
function resultAttributes(x: QuantizedValue, q: TensorQuantization, [low, high]: readonly [number, number]): Record<string, Attribute> {
  return {
    y_type: yType(q),
    x_zp: int(x.q.zeroPoint),
    mid_zp: int(q.zeroPoint), mid_lo: int(low), mid_hi: int(high),
    res_zp: int(0), y_zp: int(q.zeroPoint), y_lo: int(low), y_hi: int(high),
    mid_mul: float(1), res_mul: float(1),
  };
}

/** What a convolution of integers reads: bytes, weights around 0, and what a sum of 1 stands for in each output channel. */
interface Operands {
  readonly x: QuantizedValue;
  readonly weights: Weights;
  readonly steps: Float32Array;
}

function integerOperands(editor: Rewriter, conv: Node): Operands | undefined {
  const own = convolution(conv);
  const x = quantizedSource(editor, own.x);
  const weights = symmetricWeights(editor, own.weights);
  if (x === undefined) return explain('fold-quantization', conv, 'its input is not an 8-bit value with one constant scale');
  if (weights === undefined) return explain('fold-quantization', conv, 'its weights are not constants of 8 bits around a zero-point, with a scale for each output channel or one for all');
  return { x, weights, steps: times(weights.scales, x.q.scale) };
}

const geometryOf = (conv: Node): Record<string, Attribute> => ({
  ...Object.fromEntries(['strides', 'pads', 'dilations'].map((key) => [key, conv.attributes.get(key) ?? int(0)])), group: int(intAttribute(conv, 'group', 1)),
});

/** Longest sum of products that is exact in 32 bits (kernels/engine/ops/conv_gemm.h). */
const mostProducts = 66000;

/**
 * A convolution of quantized data by quantized weights whose result nobody quantizes: sums of integers that leave as floats. It stays float where it
 * is depthwise: the kernels of those put out bytes.
 */
export function foldFloatResult(editor: Rewriter, conv: Node): void {
  const own = convolution(conv);
  const group = intAttribute(conv, 'group', 1);
  if (quantizedSource(editor, own.x) === undefined) return;
  if (group > 1 && group === editor.type(own.x).shape.at(-1)) return explain('fold-quantization', conv, 'it is depthwise, and nobody quantizes its result');
  const operands = integerOperands(editor, conv);
  if (operands === undefined) return;
  const { x, weights, steps } = operands;
  const constant = own.bias === undefined ? undefined : editor.constant(own.bias);
  const bias = own.bias === undefined ? undefined : constant === undefined ? dequantizedConstant(editor, own.bias) : Float64Array.from(toNumbers(constant));
  if (own.bias !== undefined && bias?.length !== steps.length) return explain('fold-quantization', conv, 'its bias is not constant');
  if (elementCount(weights.values.dims) / steps.length > mostProducts) return explain('fold-quantization', conv, 'it sums more products than fit 32 bits');
  const inputs = [
    x.value,
    editor.addConstant(`${own.weights}.s8`, weights.values),
    editor.addConstant(`${conv.name}.scale`, float32s(steps)),
    ...(bias === undefined ? [] : [editor.addConstant(`${conv.name}.bias`, float32s(bias))]),
  ];
  editor.substitute(conv, { op: 'ConvQ8F32', inputs, attributes: { ...geometryOf(conv), x_zp: int(x.q.zeroPoint) } });
}

/** Convolution of quantized data by quantized weights, with its activation. */
export const planConv: Planner = (editor, value, q) => {
  const chain = chainOf(editor, value);
  if (chain === undefined) return undefined;
  const { conv, slope } = chain;
  const own = convolution(conv);
  const operands = integerOperands(editor, conv);
  if (operands === undefined) return undefined;
  const { x, weights, steps } = operands;
  const bias = own.bias === undefined ? undefined : integerBias(editor, own.bias, steps);
  if (own.bias !== undefined && bias === undefined) return explain('fold-quantization', conv, 'its bias is not constant, or does not fit 32 bits in steps of x_scale * w_scale');
  // The order of operations that onnxruntime uses: x_scale * w_scale, then / y_scale, in single precision.
  const scale = dividedBy(steps, q.scale);
  return () => {
    const name = editor.producer(value)?.name ?? conv.name;
    const inputs = [
      x.value,
      editor.addConstant(`${own.weights}.s8`, weights.values),
      bias === undefined ? absent : editor.addConstant(`${name}.bias`, bias),
      editor.addConstant(`${name}.scale`, float32s(scale)),
      ...(slope === undefined ? [] : [editor.addConstant(`${name}.scale_neg`, float32s(scale.map((s, o) => s * (slope[o] ?? 0))))]),
    ];
    const bounds = quantizedBounds(q, chain.low, chain.high);
    const attributes = { ...geometryOf(conv), ...resultAttributes(x, q, bounds) };
    return editor.emit({ name, op: 'ConvQ8', inputs, attributes });
  };
};
