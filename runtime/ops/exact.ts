import { RuntimeError } from '../errors.js';
import { allocate, elementCount, fromNumbers, isBig, type DType, type Shape, type TensorArray, type TensorValue } from '../graph/tensor-value.js';
import { broadcastOffsets } from './indexing.js';

// Arithmetic on whole numbers in the types that they have: it wraps as two's complement, and no bit of 64 is lost. Arrays of whole numbers keep the
// lowest bits of what is written into them, so that only what a double cannot hold needs care: products of 32 bits, and everything of 64.

/** A function of two whole numbers, for types of up to 32 bits and for those of 64. */
export interface WholeFunction {
  readonly narrow: (a: number, b: number) => number;
  readonly wide: (a: bigint, b: bigint) => bigint;
}

/** A whole number divided by zero: an error of the run, which constants in a branch that is never taken must not raise. */
export class DivisionByZero extends RuntimeError {
  constructor() {
    super('E_MODEL_VALUE', 'A whole number is divided by zero');
  }
}

function nonZero<T extends number | bigint>(divisor: T): T {
  if (divisor == 0) throw new DivisionByZero();
  return divisor;
}

/** Whole powers modulo 2^32, by squaring; those of negative exponents are fractions, of which nothing is left but for 1 and -1. */
function power(base: number, exponent: number): number {
  if (exponent < 0) return base === 1 ? 1 : base !== -1 ? 0 : exponent % 2 === 0 ? 1 : -1;
  let result = 1;
  for (let [square, left] = [base, exponent]; left > 0; [square, left] = [Math.imul(square, square), Math.floor(left / 2)]) if (left % 2 === 1) result = Math.imul(result, square);
  return result;
}

function widePower(base: bigint, exponent: bigint): bigint {
  if (exponent < 0n) return base === 1n ? 1n : base !== -1n ? 0n : exponent % 2n === 0n ? 1n : -1n;
  let result = 1n;
  for (let [square, left] = [base, exponent]; left > 0n; [square, left] = [BigInt.asIntN(64, square * square), left / 2n]) if (left % 2n === 1n) result = BigInt.asIntN(64, result * square);
  return result;
}

/** The remainder with the sign of the divisor. */
function modulo(a: bigint, b: bigint): bigint {
  const rest = a % nonZero(b);
  return rest !== 0n && rest < 0n !== b < 0n ? rest + b : rest;
}

export const wholeFunctions = {
  add: { narrow: (a, b) => a + b, wide: (a, b) => a + b },
  sub: { narrow: (a, b) => a - b, wide: (a, b) => a - b },
  mul: { narrow: Math.imul, wide: (a, b) => a * b },
  div: { narrow: (a, b) => Math.trunc(a / nonZero(b)), wide: (a, b) => a / nonZero(b) },
  min: { narrow: Math.min, wide: (a, b) => (a < b ? a : b) },
  max: { narrow: Math.max, wide: (a, b) => (a > b ? a : b) },
  pow: { narrow: power, wide: widePower },
  mod: { narrow: (a, b) => ((a % nonZero(b)) + b) % b, wide: modulo },
  fmod: { narrow: (a, b) => a % nonZero(b), wide: (a, b) => a % nonZero(b) },
} as const satisfies Readonly<Record<string, WholeFunction>>;

/** Whether elements of the type are whole numbers; booleans are none. */
export const isWhole = (dtype: DType): boolean => dtype !== 'float32' && dtype !== 'bool';

/** `fn` of each pair of elements, broadcast. */
export function zipWhole(a: TensorValue, b: TensorValue, { dtype, shape }: { dtype: DType; shape: Shape }, { narrow, wide }: WholeFunction): TensorValue {
  const [left, right] = [broadcastOffsets(a.dims, shape), broadcastOffsets(b.dims, shape)];
  const out = allocate(dtype, left.length);
  if (isBig(out)) for (let i = 0; i < out.length; i++) out[i] = wide(BigInt(a.data[left[i] ?? 0] ?? 0), BigInt(b.data[right[i] ?? 0] ?? 0));
  else for (let i = 0; i < out.length; i++) out[i] = narrow(Number(a.data[left[i] ?? 0] ?? 0), Number(b.data[right[i] ?? 0] ?? 0));
  return { dtype, dims: [...shape], data: out };
}

/** Whether `fn` holds for each pair of elements, broadcast; whole numbers of 64 bits are compared as such. */
export function compareEach(a: TensorValue, b: TensorValue, shape: Shape, fn: (a: number | bigint, b: number | bigint) => boolean): TensorValue {
  const [left, right] = [broadcastOffsets(a.dims, shape), broadcastOffsets(b.dims, shape)];
  const out = new Uint8Array(left.length);
  for (let i = 0; i < out.length; i++) out[i] = fn(a.data[left[i] ?? 0] ?? 0, b.data[right[i] ?? 0] ?? 0) ? 1 : 0;
  return { dtype: 'bool', dims: [...shape], data: out };
}

/** `fn` of each whole number. */
export function mapWhole(x: TensorValue, fn: { readonly narrow: (a: number) => number; readonly wide: (a: bigint) => bigint }): TensorValue {
  const out = allocate(x.dtype, x.data.length);
  if (isBig(out)) for (let i = 0; i < out.length; i++) out[i] = fn.wide(BigInt(x.data[i] ?? 0));
  else for (let i = 0; i < out.length; i++) out[i] = fn.narrow(Number(x.data[i] ?? 0));
  return { dtype: x.dtype, dims: x.dims, data: out };
}

export const negated = (x: TensorValue): TensorValue => mapWhole(x, { narrow: (a) => -a, wide: (a) => -a });
/** The smallest number has no absolute value in its type: it stays. */
export const absolute = (x: TensorValue): TensorValue => mapWhole(x, { narrow: Math.abs, wide: (a) => (a < 0n ? -a : a) });
export const signs = (x: TensorValue): TensorValue => mapWhole(x, { narrow: Math.sign, wide: (a) => (a < 0n ? -1n : a > 0n ? 1n : 0n) });

/** Elements of x put together by `fn` where they have the same offset into a result of `dims`; `start` where there are none. */
export function foldWhole(x: TensorValue, dims: Shape, offsets: ArrayLike<number>, { fn: { narrow, wide }, start }: { fn: WholeFunction; start: number }): TensorValue {
  const { data: out } = fromNumbers(x.dtype, dims, new Float64Array(elementCount(dims)).fill(start));
  const begun = new Uint8Array(out.length);
  for (let i = 0; i < x.data.length; i++) {
    const [at, value] = [offsets[i] ?? 0, x.data[i] ?? 0];
    if (begun[at] === 0) out[at] = value;
    else if (isBig(out)) out[at] = wide(out[at] ?? 0n, BigInt(value));
    else out[at] = narrow(Number(out[at] ?? 0), Number(value));
    begun[at] = 1;
  }
  return { dtype: x.dtype, dims: [...dims], data: out };
}

/** An array of `count` elements that are all `value`, given as the array of its type holds it. */
export function filled(dtype: DType, count: number, value: number | bigint): TensorArray {
  const out = allocate(dtype, count);
  if (isBig(out)) out.fill(BigInt(value));
  else out.fill(Number(value));
  return out;
}

/** Bits of a double; what a number has beyond them is put into the last of those that are kept, so that rounding to float32 is right. */
const doubleBits = 53;

/** A whole number of 64 bits as the nearest float32. */
export function nearestFloat(value: bigint): number {
  const size = value < 0n ? -value : value;
  const lost = size.toString(2).length - doubleBits + 1;
  if (lost <= 0) return Math.fround(Number(value));
  const kept = size >> BigInt(lost);
  const odd = kept << BigInt(lost) === size ? kept : kept | 1n;
  return Math.fround((value < 0n ? -1 : 1) * Number(odd) * 2 ** lost);
}
