import { misshapen } from '../graph/attributes.js';
import { elementCount, fromNumbers, isByte, mapNumbers, reshaped, scalar, type DType, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { convGeometry, convolve } from './convolution.js';
import { broadcastOffsets } from './indexing.js';
import { matMulShape, multiply, needsProduct } from './linear.js';
import { transposeValue } from './movement.js';
import { broadcast, expectType, inputType, inputValue, outputType, type EvaluateContext, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { rangeOf, scaleOfRange, zeroOfRange } from './quantization.js';
import { roundHalfEven } from './unary-functions.js';

// ONNX operators on integers with scales and zero-points as operands: QLinear*, *Integer, DynamicQuantizeLinear.

const bytes: readonly DType[] = ['uint8', 'int8'];

/** x - zeroPoint, the zero-point broadcast; in whole numbers of 32 bits. */
export function centred(x: TensorValue, zeroPoint: TensorValue | undefined): TensorValue {
  if (zeroPoint === undefined) return fromNumbers('int32', x.dims, toNumbers(x));
  const [data, zeros, at] = [toNumbers(x), toNumbers(zeroPoint), broadcastOffsets(zeroPoint.dims, x.dims)];
  return fromNumbers('int32', x.dims, mapNumbers(data, (value, i) => value - (zeros[at[i] ?? 0] ?? 0)));
}

/** One number, or one for each index of `axis`, so that it broadcasts over a tensor of `rank`. */
function along(value: TensorValue, axis: number, rank: number): TensorValue {
  if (value.data.length === 1) return reshaped(value, []);
  return value.dims.length > 1 ? value : reshaped(value, [value.data.length, ...new Array<number>(rank - 1 - axis).fill(1)]);
}

/** An operand as `along` has it; undefined where it is absent. */
export const columnNumbers = (context: EvaluateContext, index: number, axis: number, rank: number): TensorValue | undefined =>
  context.inputs[index] === undefined ? undefined : along(context.inputs[index], axis, rank);

/** Sums [N, O, spatial...] of a convolution of centred integers. */
function convSums(context: EvaluateContext, x: TensorValue, w: TensorValue): Float64Array {
  const withHeight = (value: TensorValue) => (value.dims.length === 3 ? reshaped(value, [value.dims[0] ?? 1, value.dims[1] ?? 1, 1, value.dims[2] ?? 1]) : value);
  const geometry = convGeometry(context.node, x.dims, w.dims);
  const sums = convolve(transposeValue(withHeight(x), [0, 2, 3, 1]), transposeValue(withHeight(w), [0, 2, 3, 1]), geometry);
  const nhwc = fromNumbers('int32', [x.dims[0] ?? 1, ...geometry.output, w.dims[0] ?? 1], sums);
  return Float64Array.from(toNumbers(transposeValue(nhwc, [0, 3, 1, 2])));
}

function convShape(context: InferContext, x: readonly number[], w: readonly number[]): number[] {
  const { output } = convGeometry(context.node, x, w);
  return [x[0] ?? 1, w[0] ?? 1, ...(x.length === 3 ? [output[1]] : output)];
}

/** Sums of a matrix product of centred integers. */
export function matMulSums(context: EvaluateContext, a: TensorValue, b: TensorValue): Float64Array {
  const left = a.dims.length === 1 ? reshaped(a, [1, a.dims[0] ?? 1]) : a;
  const right = b.dims.length === 1 ? reshaped(b, [b.dims[0] ?? 1, 1]) : b;
  return multiply(left, right, broadcast(context.node, left.dims.slice(0, -2), right.dims.slice(0, -2)));
}

/** round(sum * scale) + zeroPoint within the type, the scale x_scale * w_scale / y_scale in single precision as engines have it. */
function requantized(context: EvaluateContext, sums: Float64Array, scale: TensorValue, scaleIndex: { y: number; yZero: number; x: number }): TensorValue {
  const { dtype, shape } = outputType(context);
  const [low, high] = rangeOf(dtype);
  const [xScale, yScale] = [Number(inputValue(context, scaleIndex.x).data[0]), Number(inputValue(context, scaleIndex.y).data[0])];
  const zero = Number(inputValue(context, scaleIndex.yZero).data[0]);
  const [scales, at] = [toNumbers(scale), broadcastOffsets(scale.dims, shape)];
  return fromNumbers(dtype, shape, sums.map((sum, i) => {
    const factor = Math.fround(Math.fround(xScale * (scales[at[i] ?? 0] ?? 1)) / yScale);
    return Math.min(Math.max(roundHalfEven(Math.fround(sum * factor)) + zero, low), high);
  }));
}

/** x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, B? */
export const qlinearConvOperands = { x: 0, xScale: 1, xZero: 2, w: 3, wScale: 4, wZero: 5, yScale: 6, yZero: 7, bias: 8 } as const;

const qlinearConv: OperatorRecord = {
  infer(context) {
    const at = qlinearConvOperands;
    const x = expectType(context, at.x, bytes);
    return [{ dtype: expectType(context, at.yZero, bytes).dtype, shape: convShape(context, x.shape, expectType(context, at.w, bytes).shape) }];
  },
  evaluate(context) {
    const at = qlinearConvOperands;
    const [x, w] = [inputValue(context, at.x), inputValue(context, at.w)];
    const sums = convSums(context, centred(x, columnNumbers(context, at.xZero, 0, 0)), centred(w, columnNumbers(context, at.wZero, 0, w.dims.length)));
    const { shape } = outputType(context);
    const given = context.inputs[at.bias];
    const bias = given === undefined ? undefined : toNumbers(given);
    const inner = elementCount(shape.slice(2));
    const biased = sums.map((sum, i) => sum + (bias?.[Math.floor(i / inner) % bias.length] ?? 0));
    return [requantized(context, biased, along(inputValue(context, at.wScale), 1, shape.length), { y: at.yScale, yZero: at.yZero, x: at.xScale })];
  },
};

/** a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero */
export const qlinearMatMulOperands = { a: 0, aScale: 1, aZero: 2, b: 3, bScale: 4, bZero: 5, yScale: 6, yZero: 7 } as const;

const qlinearMatMul: OperatorRecord = {
  infer(context) {
    const at = qlinearMatMulOperands;
    const [a, b] = [expectType(context, at.a, bytes), expectType(context, at.b, bytes)];
    const aScale = inputType(context, at.aScale);
    if (elementCount(aScale.shape) !== 1) throw misshapen(context.node, `a scale for each row [${aScale.shape.join(', ')}] of the first operand`);
    return [{ dtype: expectType(context, at.yZero, bytes).dtype, shape: matMulShape(context.node, a.shape, b.shape) }];
  },
  evaluate(context) {
    const at = qlinearMatMulOperands;
    const [a, b] = [inputValue(context, at.a), inputValue(context, at.b)];
    const sums = matMulSums(context, centred(a, columnNumbers(context, at.aZero, 0, 0)), centred(b, columnNumbers(context, at.bZero, 1, 2)));
    return [requantized(context, sums, along(inputValue(context, at.bScale), 1, 2), { y: at.yScale, yZero: at.yZero, x: at.aScale })];
  },
};

/** a, b, a_zero?, b_zero?: a zero-point of a for each row, of b for each column. */
const matMulInteger: OperatorRecord = {
  infer(context) {
    const [a, b] = [expectType(context, 0, bytes), expectType(context, 1, bytes)];
    return [{ dtype: 'int32', shape: matMulShape(context.node, a.shape, b.shape) }];
  },
  evaluate(context) {
    const [a, b] = [inputValue(context, 0), inputValue(context, 1)];
    const sums = matMulSums(context, centred(a, columnNumbers(context, 2, 0, 2)), centred(b, columnNumbers(context, 3, 1, 2)));
    return [fromNumbers('int32', outputType(context).shape, sums)];
  },
};

/** x, w, x_zero?, w_zero?: a zero-point of w for each output channel. */
const convInteger: OperatorRecord = {
  infer(context) {
    const [x, w] = [expectType(context, 0, bytes), expectType(context, 1, bytes)];
    return [{ dtype: 'int32', shape: convShape(context, x.shape, w.shape) }];
  },
  evaluate(context) {
    const [x, w] = [inputValue(context, 0), inputValue(context, 1)];
    const sums = convSums(context, centred(x, columnNumbers(context, 2, 0, 0)), centred(w, columnNumbers(context, 3, 0, w.dims.length)));
    return [fromNumbers('int32', outputType(context).shape, sums)];
  },
};

/** To uint8, with the scale and zero-point that the range of the data and 0 ask for. */
const dynamicQuantize: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    return [{ dtype: 'uint8', shape: x.shape }, { dtype: 'float32', shape: [] }, { dtype: 'uint8', shape: [] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const data = toNumbers(x);
    let [low, high] = [0, 0];
    data.forEach((value) => ([low, high] = [Math.min(low, value), Math.max(high, value)]));
    const [scale, zero] = [scaleOfRange(low, high), zeroOfRange(low, high)];
    const y = mapNumbers(data, (value) => Math.min(Math.max(roundHalfEven(Math.fround(value / scale)) + zero, 0), 255));
    return [fromNumbers('uint8', x.dims, y), scalar('float32', scale), scalar('uint8', zero)];
  },
};

/**
 * The core operator, MatMulS32 of program.h: a [.., M, K] 8-bit or whole numbers of at most 255 in float32, b [.., K, N] 8-bit,
 * a_zero? and b_zero of one element or, for b, N.
 */
const matMulS32: OperatorRecord = {
  needs: needsProduct, pixels: 'any',
  infer: (context) => [{ dtype: 'int32', shape: matMulShape(context.node, inputType(context, 0).shape, inputType(context, 1).shape) }],
  evaluate(context) {
    const [a, b] = [inputValue(context, 0), inputValue(context, 1)];
    const left = isByte(a.dtype) ? centred(a, columnNumbers(context, 2, 0, 2)) : a;
    return [fromNumbers('int32', outputType(context).shape, matMulSums(context, left, centred(b, columnNumbers(context, 3, 1, 2))))];
  },
};

export const integerOps: OpTable = {
  QLinearConv: qlinearConv, QLinearMatMul: qlinearMatMul, MatMulInteger: matMulInteger, ConvInteger: convInteger, DynamicQuantizeLinear: dynamicQuantize,
};
export const integerCoreOps: OpTable = { MatMulS32: matMulS32 };
