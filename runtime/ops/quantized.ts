import { floatAttribute, oneOf, requiredInt, unsupported } from '../graph/attributes.js';
import { type DType, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { throughWindow } from './cell-flow.js';
import { convolve, needsWindow, nhwcConvShape, nhwcGeometry, throughConvolution } from './convolution.js';
import { broadcastOffsets } from './indexing.js';
import { broadcast, inputType, inputValue, outputType, type EvaluateContext, type OperatorRecord, type OpTable } from './op.js';
import { needsPooled, nhwcPool, poolWindows } from './pooling.js';
import { rangeOf } from './quantization.js';
import { needsBroadcast, needsOfFirst, needsSame, wholeSpan } from './regions.js';
import { interpolate, needsResized, nhwcResize } from './resize.js';
import { roundHalfEven } from './unary-functions.js';

// The quantized operators of the engine (program.h), on values as the model stores them: zero-points are those of the
// tensor's own type, uint8 or int8. Lowering moves them by 128 where the CPU's kernels want the other type.

/** R(clamp(v)) + zp of program.h, with [low, high] bounding the result. */
function roundClamped(v: number, low: number, high: number, zeroPoint: number): number {
  return roundHalfEven(Math.min(Math.max(v, low - zeroPoint), high - zeroPoint)) + zeroPoint;
}

/** Position in a table of 256: the smallest value of the type comes first. */
export const tableIndex = (q: number, dtype: DType): number => q - rangeOf(dtype)[0];

/** Operands of ConvQ8 by position. */
export const convQ8Operands = { x: 0, weights: 1, bias: 2, scale: 3, scaleNeg: 4, table: 5, residual: 6 } as const;

/** The epilogue of ConvQ8 for element `i` of output channel `o`. */
function convEpilogue(context: EvaluateContext): (acc: number, o: number, i: number) => number {
  const { node } = context;
  const optional = (index: number) => (context.inputs[index] === undefined ? undefined : toNumbers(context.inputs[index]));
  const scale = toNumbers(inputValue(context, convQ8Operands.scale));
  const scaleNeg = optional(convQ8Operands.scaleNeg);
  const table = optional(convQ8Operands.table);
  const residual = optional(convQ8Operands.residual);
  const at = (name: string) => requiredInt(node, name);
  const [midZp, midLo, midHi] = [at('mid_zp'), at('mid_lo'), at('mid_hi')];
  const [resZp, yZp, yLo, yHi] = [at('res_zp'), at('y_zp'), at('y_lo'), at('y_hi')];
  const [midMul, resMul] = [Math.fround(floatAttribute(node, 'mid_mul', 1)), Math.fround(floatAttribute(node, 'res_mul', 1))];
  const { dtype } = outputType(context);
  return (acc, o, i) => {
    const m = (acc < 0 && scaleNeg !== undefined ? scaleNeg[o] : scale[o]) ?? 0;
    let q = roundClamped(Math.fround(Math.fround(acc) * m), midLo, midHi, midZp);
    if (table !== undefined) q = table[tableIndex(q, dtype)] ?? 0;
    if (residual === undefined) return q;
    const sum = Math.fround(Math.fround((q - midZp) * midMul) + Math.fround(((residual[i] ?? 0) - resZp) * resMul));
    return roundClamped(sum, yLo, yHi, yZp);
  };
}

/** kConvQ8: x, w s8 [O, KH, KW, C / group], bias? s32, scale f32, scale_neg?, table?, residual? */
const convQ8: OperatorRecord = {
  needs: needsWindow(convQ8Operands.residual), cells: throughConvolution, pixels: 'aligned', format: 'int8',
  infer(context) {
    const x = inputType(context, 0);
    const w = inputType(context, 1);
    return [{ dtype: quantizedOutput(context.node), shape: nhwcConvShape(context.node, x.shape, w.shape) }];
  },
  evaluate(context) {
    const [x, w] = [inputValue(context, 0), inputValue(context, 1)];
    const sums = convolve(x, w, nhwcGeometry(context.node, x.dims, w.dims), requiredInt(context.node, 'x_zp'));
    const bias = context.inputs[convQ8Operands.bias];
    const added = bias === undefined ? undefined : toNumbers(bias);
    const outputs = w.dims[0] ?? 1;
    const finish = convEpilogue(context);
    const { dtype, shape } = outputType(context);
    return [fromNumbers(dtype, shape, sums.map((sum, i) => finish(sum + (added?.[i % outputs] ?? 0), i % outputs, i)))];
  },
};

/** kConvQ8F32: x, w s8 [O, KH, KW, C / group], scale f32, bias? f32 */
const convQ8F32: OperatorRecord = {
  needs: needsWindow(), cells: throughConvolution, pixels: 'aligned', format: 'float32',
  infer(context) {
    const [x, w] = [inputType(context, 0), inputType(context, 1)];
    return [{ dtype: 'float32', shape: nhwcConvShape(context.node, x.shape, w.shape) }];
  },
  evaluate(context) {
    const [x, w, scale] = [inputValue(context, 0), inputValue(context, 1), toNumbers(inputValue(context, 2))];
    const sums = convolve(x, w, nhwcGeometry(context.node, x.dims, w.dims), requiredInt(context.node, 'x_zp'));
    const bias = context.inputs[3] === undefined ? undefined : toNumbers(context.inputs[3]);
    const o = (i: number) => i % (w.dims[0] ?? 1);
    return [fromNumbers('float32', outputType(context).shape, sums.map((sum, i) => Math.fround(Math.fround(sum) * (scale[o(i)] ?? 0)) + (bias?.[o(i)] ?? -0)))];
  },
};

/** kMatMulW4: a f32 [.., K], codes s8 [N, K], scales f32 [N, K / group], bias? f32 [N] */
const matMulW4: OperatorRecord = {
  needs: needsOfFirst((_, region, shape) => [...region.slice(0, -1), wholeSpan(shape.at(-1) ?? 1)]), pixels: 'any', format: 'float32',
  infer(context) {
    const [a, codes] = [inputType(context, 0), inputType(context, 1)];
    if (a.dtype !== 'float32' || a.shape.at(-1) !== codes.shape[1]) throw unsupported(context.node, `[${a.shape.join(', ')}] by [${codes.shape.join(', ')}]`);
    return [{ dtype: 'float32', shape: [...a.shape.slice(0, -1), codes.shape[0] ?? 1] }];
  },
  evaluate(context) {
    const [a, codes] = [toNumbers(inputValue(context, 0)), inputValue(context, 1)];
    const [scales, w] = [toNumbers(inputValue(context, 2)), toNumbers(codes)];
    const bias = context.inputs[3] === undefined ? undefined : toNumbers(context.inputs[3]);
    const [outputs = 1, depth = 1] = codes.dims;
    const group = requiredInt(context.node, 'group');
    const product = mapNumbers({ length: (a.length / depth) * outputs }, (_, i) => {
      const [row, o] = [Math.floor(i / outputs), i % outputs];
      let sum = bias?.[o] ?? 0;
      for (let k = 0; k < depth; k++) sum += (a[row * depth + k] ?? 0) * (w[o * depth + k] ?? 0) * (scales[Math.floor((o * depth + k) / group)] ?? 0);
      return sum;
    });
    return [fromNumbers('float32', outputType(context).shape, product)];
  },
};

/** kThreshold: x f32, lower and upper f32, one number or one for each channel (the last axis). */
const threshold: OperatorRecord = {
  needs: needsSame, pixels: 'any',
  infer: (context) => [{ dtype: quantizedOutput(context.node), shape: inputType(context, 0).shape }],
  evaluate(context) {
    const x = inputValue(context, 0);
    const [lower, upper] = [toNumbers(inputValue(context, 1)), toNumbers(inputValue(context, 2))];
    const zeroPoint = requiredInt(context.node, 'y_zp');
    const code = (value: number, i: number) => (value >= (upper[i % upper.length] ?? 0) ? 1 : value >= (lower[i % lower.length] ?? 0) ? 0 : -1);
    return [fromNumbers(outputType(context).dtype, x.dims, mapNumbers(toNumbers(x), (value, i) => zeroPoint + code(value, i)))];
  },
};

const quantizedOutput = (node: EvaluateContext['node']): DType => oneOf(node, 'y_type', ['uint8', 'int8'], 'uint8');

/** kBinaryQ8: add, sub, mul with numpy broadcasting. */
const binaryQ8: OperatorRecord = {
  needs: needsBroadcast, overwrites: true, pixels: 'any', format: 'int8',
  infer: (context) => [{ dtype: quantizedOutput(context.node), shape: broadcast(context.node, inputType(context, 0).shape, inputType(context, 1).shape) }],
  evaluate(context) {
    const { node } = context;
    const { dtype, shape } = outputType(context);
    const [a, b] = [inputValue(context, 0), inputValue(context, 1)];
    const [left, right] = [toNumbers(a), toNumbers(b)];
    const [leftAt, rightAt] = [broadcastOffsets(a.dims, shape), broadcastOffsets(b.dims, shape)];
    const at = (name: string) => requiredInt(node, name);
    const [aZp, bZp, yZp, yLo, yHi] = [at('a_zp'), at('b_zp'), at('y_zp'), at('y_lo'), at('y_hi')];
    const [aMul, bMul] = [Math.fround(floatAttribute(node, 'a_mul', 1)), Math.fround(floatAttribute(node, 'b_mul', 1))];
    const kind = oneOf(node, 'kind', ['add', 'sub', 'mul'], 'add');
    const out = mapNumbers(leftAt, (offset, i) => {
      const p = (left[offset] ?? 0) - aZp;
      const q = (right[rightAt[i] ?? 0] ?? 0) - bZp;
      const sign = kind === 'sub' ? -1 : 1;
      const v = kind === 'mul' ? Math.fround(p * q * aMul) : Math.fround(Math.fround(p * aMul) + sign * Math.fround(q * bMul));
      return roundClamped(v, yLo, yHi, yZp);
    });
    return [fromNumbers(dtype, shape, out)];
  },
};

/** kLutQ8: a table of 256 entries, or one for each channel (the last axis). The result has the type of the table. */
const lutQ8: OperatorRecord = {
  repeats: true, needs: needsSame, overwrites: true, pixels: 'any', format: 'int8',
  infer: (context) => [{ dtype: inputType(context, 1).dtype, shape: inputType(context, 0).shape }],
  evaluate(context) {
    const [x, table] = [inputValue(context, 0), inputValue(context, 1)];
    const channels = table.data.length / 256;
    if (!Number.isInteger(channels) || (channels > 1 && channels !== x.dims.at(-1))) {
      throw unsupported(context.node, `a table of ${table.data.length} entries for [${x.dims.join(', ')}]`);
    }
    const entries = toNumbers(table);
    const values = mapNumbers(toNumbers(x), (q, i) => entries[(i % channels) * 256 + tableIndex(q, x.dtype)] ?? 0);
    return [fromNumbers(table.dtype, x.dims, values)];
  },
};

/** kPoolQ8 */
const poolQ8: OperatorRecord = {
  needs: needsPooled, cells: throughWindow, pixels: 'aligned', format: 'int8',
  infer(context) {
    const { shape } = inputType(context, 0);
    return [{ dtype: quantizedOutput(context.node), shape: [shape[0] ?? 1, ...nhwcPool(context.node, shape).output, shape[3] ?? 1] }];
  },
  evaluate(context) {
    const { node } = context;
    const x = inputValue(context, 0);
    const pool = nhwcPool(node, x.dims);
    const at = (name: string) => requiredInt(node, name);
    const { values, counts } = poolWindows(x, pool, at('x_zp'));
    const mul = Math.fround(floatAttribute(node, 'mul', 1));
    const { dtype, shape } = outputType(context);
    const scaled = (sum: number, i: number) => Math.fround(Math.fround(Math.fround(sum) * mul) / (counts[i] ?? 1));
    const out = values.map((value, i) => roundClamped(pool.kind === 'max' ? value : scaled(value, i), at('y_lo'), at('y_hi'), at('y_zp')));
    return [fromNumbers(dtype, shape, out)];
  },
};

/** kResizeQ8: scale and zero-point of the input. */
const resizeQ8: OperatorRecord = {
  needs: needsResized, cells: throughWindow, pixels: 'aligned', format: 'int8',
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: [shape[0] ?? 1, ...nhwcResize(context.node).output, shape[3] ?? 1] }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const values = interpolate(inputValue(context, 0), nhwcResize(context.node));
    return [fromNumbers(dtype, shape, values.map(roundHalfEven))];
  },
};

/** kNormalizeU8: pixels u8 [.., C], mul f32 [C], add f32 [C]. */
const normalizeU8: OperatorRecord = {
  needs: needsSame, pixels: 'any',
  infer: (context) => [{ dtype: 'float32', shape: inputType(context, 0).shape }],
  evaluate(context) {
    const x = inputValue(context, 0);
    const [mul, add] = [toNumbers(inputValue(context, 1)), toNumbers(inputValue(context, 2))];
    const values: Float64Array = mapNumbers(toNumbers(x), (pixel, i) => Math.fround(pixel * (mul[i % mul.length] ?? 0)) + (add[i % add.length] ?? 0));
    const result: TensorValue = fromNumbers('float32', x.dims, values);
    return [result];
  },
};

export const quantizedOps: OpTable = {
  ConvQ8: convQ8, ConvQ8F32: convQ8F32, Threshold: threshold, MatMulW4: matMulW4, BinaryQ8: binaryQ8, LutQ8: lutQ8, PoolQ8: poolQ8, ResizeQ8: resizeQ8, NormalizeU8: normalizeU8,
};
