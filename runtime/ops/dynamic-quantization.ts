import { int, misshapen, requiredInt, type AttributeRecord } from '../graph/attributes.js';
import { elementCount, fromNumbers, mapNumbers, scalar, type Shape, toNumbers } from '../graph/tensor-value.js';
import { centred, columnNumbers, matMulSums } from './integer.js';
import { matMulShape, needsProduct } from './linear.js';
import { expectType, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { rangeOf, scaleOfRange, zeroOfRange } from './quantization.js';
import { needsOfFirst, wholeRegion } from './regions.js';
import { throughFirst } from './transpose-rules.js';
import { roundHalfEven } from './unary-functions.js';

// Core operators of quantization by what a run's data ask for: what DynamicQuantizeLinear becomes, and the products that follow it.

/** A NaN makes both ends NaN. */
function rangeOfNumbers(numbers: ArrayLike<number>, from: number, to: number): [low: number, high: number] {
  let [low, high] = [0, 0];
  for (let i = from; i < to; i++) [low, high] = [Math.min(low, numbers[i] ?? 0), Math.max(high, numbers[i] ?? 0)];
  return [low, high];
}

/** Threads share the search for a range by parts: as many as most devices have cores, and no more than there are rows. */
const mostParts = 16;
export const rangeAttributes = (shape: Shape): AttributeRecord => ({ parts: int(Math.max(1, Math.min(mostParts, elementCount(shape.slice(0, -1))))) });

/** kRangeF32: x f32 -> f32 [parts, 2] */
const dataRange: OperatorRecord = {
  linear: true, pixels: 'any', format: 'float32',
  infer(context) {
    expectType(context, 0, ['float32']);
    return [{ dtype: 'float32', shape: [requiredInt(context.node, 'parts'), 2] }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const [numbers, parts] = [toNumbers(x), requiredInt(context.node, 'parts')];
    const rows = elementCount(x.dims.slice(0, -1));
    const at = (part: number): number => Math.floor((part * rows) / parts) * (x.dims.at(-1) ?? 1);
    return [fromNumbers('float32', [parts, 2], Array.from({ length: parts }, (_, part) => rangeOfNumbers(numbers, at(part), at(part + 1))).flat())];
  },
};

/** kRangeScale: range f32 [parts, 2] -> one number */
const ofRange = (dtype: 'float32' | 'uint8', of: (low: number, high: number) => number): OperatorRecord => ({
  linear: true,
  infer: () => [{ dtype, shape: [] }],
  evaluate(context) {
    const ends = toNumbers(inputValue(context, 0));
    return [scalar(dtype, of(...rangeOfNumbers(ends, 0, ends.length)))];
  },
});

/** kQuantizeBy: x f32, scale f32 [], zero-point 8 bits [] -> 8 bits */
const quantizeBy: OperatorRecord = {
  linear: true, pixels: 'any', transpose: throughFirst, needs: needsOfFirst((_, region) => region),
  infer: (context) => [{ dtype: expectType(context, 2, ['uint8', 'int8']).dtype, shape: expectType(context, 0, ['float32']).shape }],
  evaluate(context) {
    const [x, scale, zero] = [inputValue(context, 0), Number(inputValue(context, 1).data[0]), Number(inputValue(context, 2).data[0])];
    const { dtype } = outputType(context);
    const [low, high] = rangeOf(dtype);
    return [fromNumbers(dtype, x.dims, mapNumbers(toNumbers(x), (value) => Math.min(Math.max(roundHalfEven(Math.fround(value / scale)) + zero, low), high)))];
  },
};

/** ScaledProduct: positions of the operands. */
export const scaledProductOperands = { a: 0, b: 1, aScale: 2, aZero: 3, bZero: 4, scale: 5, bias: 6 } as const;

/** kMatMulQ8F32: a and b [K, N] 8 bits, a_scale f32 [], a_zero [], b_zero [1 or N], scale f32 [1 or N], bias? f32 [N] -> f32 */
const scaledProduct: OperatorRecord = {
  pixels: 'any', format: 'int8',
  needs: (context, region) => needsProduct(context, region).map((needed, i) => (i === 0 || context.inputs[i] === undefined ? needed : wholeRegion(context.inputs[i]))),
  infer(context) {
    const [a, b] = [expectType(context, 0, ['uint8', 'int8']), expectType(context, 1, ['uint8', 'int8'])];
    if (b.shape.length !== 2 || a.shape.length === 0) throw misshapen(context.node, `[${a.shape.join(', ')}] by [${b.shape.join(', ')}]`);
    return [{ dtype: 'float32', shape: matMulShape(context.node, a.shape, inputType(context, 1).shape) }];
  },
  evaluate(context) {
    const at = scaledProductOperands;
    const [a, b] = [inputValue(context, at.a), inputValue(context, at.b)];
    const whole = fromNumbers('int32', outputType(context).shape, matMulSums(context, centred(a, columnNumbers(context, at.aZero, 0, 0)), centred(b, columnNumbers(context, at.bZero, 1, 2))));
    const [aScale, scales] = [Number(inputValue(context, at.aScale).data[0]), toNumbers(inputValue(context, at.scale))];
    const bias = context.inputs[at.bias] === undefined ? undefined : toNumbers(context.inputs[at.bias] ?? inputValue(context, at.bias));
    const columns = b.dims[1] ?? 1;
    return [fromNumbers('float32', whole.dims, mapNumbers(toNumbers(whole), (sum, i) => {
      const column = i % columns;
      const scaled = Math.fround(Math.fround(sum) * Math.fround(aScale * (scales[scales.length === 1 ? 0 : column] ?? 0)));
      return bias === undefined ? scaled : scaled + (bias[column] ?? 0);
    }))];
  },
};

export const dynamicCoreOps: OpTable = {
  DataRange: dataRange, RangeScale: ofRange('float32', scaleOfRange), RangeZero: ofRange('uint8', zeroOfRange), QuantizeBy: quantizeBy, ScaledProduct: scaledProduct,
};
