import { RuntimeError } from '../errors.js';

/**
 * Element types inside a graph. `bool` is stored as bytes 0 and 1; types of 4 and 2 bits hold one value an element
 * (they are packed on the wire only). Half, brain and double precision become float32 on import. `uint32` and `uint64` exist between
 * programs only: the reference implementations compute with them.
 */
export type DType = 'float32' | 'uint8' | 'int8' | 'int32' | 'int64' | 'uint32' | 'uint64' | 'bool' | 'int4' | 'uint4' | 'int2' | 'uint2';

export type TensorArray = Float32Array | Uint8Array | Int8Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array;

export type Shape = readonly number[];

/** A constant: dense, row-major. */
export interface TensorValue {
  readonly dtype: DType;
  readonly dims: Shape;
  readonly data: TensorArray;
  /** Whole numbers of 16 bits are held as int32: the type that the file says, which bounds what is quantized to it. */
  readonly narrow?: NarrowType;
}

/** Types of 16 bits, which the engine has no tensors of. */
export type NarrowType = 'uint16' | 'int16';

/** What shape inference knows of a value. */
export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

export const isFloat = (dtype: DType): boolean => dtype === 'float32';
/** Types that no program has tensors of. */
export const isUnsignedWide = (dtype: DType): boolean => dtype === 'uint32' || dtype === 'uint64';
export const isByte = (dtype: DType): boolean => dtype === 'uint8' || dtype === 'int8';

/** Bits of an element of the types that share bytes on the wire; 8 for all others. */
export const subByteBits = (dtype: DType): 2 | 4 | 8 => (dtype === 'int4' || dtype === 'uint4' ? 4 : dtype === 'int2' || dtype === 'uint2' ? 2 : 8);

/** Bytes of an element in a program: int64 is narrowed to 32 bits there. */
export const programBytes = (dtype: DType): number => (isByte(dtype) || dtype === 'bool' ? 1 : 4);

/** Number of elements. */
export function elementCount(shape: Shape): number {
  let count = 1;
  for (let i = 0; i < shape.length; i++) count *= shape[i] ?? 1; // for what is asked so often, an iterator is garbage that counts
  return count;
}

/** Number of elements with axes of size 0 counted as 1: what bounds a loop over the other axes. */
export function volume(shape: Shape): number {
  let count = 1;
  for (let i = 0; i < shape.length; i++) count *= Math.max(shape[i] ?? 1, 1);
  return count;
}

/** Row-major strides, in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = (strides[i + 1] ?? 1) * (shape[i + 1] ?? 1);
  return strides;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** An array of zeros of the element type. */
export function allocate(dtype: DType, count: number): TensorArray {
  switch (dtype) {
    case 'float32': return new Float32Array(count);
    case 'int8': case 'int4': case 'int2': return new Int8Array(count);
    case 'uint8': case 'bool': case 'uint4': case 'uint2': return new Uint8Array(count);
    case 'int32': return new Int32Array(count);
    case 'uint32': return new Uint32Array(count);
    case 'int64': return new BigInt64Array(count);
    case 'uint64': return new BigUint64Array(count);
  }
}

/** Whether the elements are big integers. */
export const isBig = (data: TensorArray): data is BigInt64Array | BigUint64Array => data instanceof BigInt64Array || data instanceof BigUint64Array;

/**
 * The elements as numbers. Operators that may meet whole numbers beyond 2^53 do not come here, but compute with big integers (`ops/exact.ts`).
 * @throws RuntimeError E_MODEL_VALUE: a whole number that a double does not hold
 */
export function toNumbers({ data }: TensorValue): Float32Array | Uint8Array | Int8Array | Int32Array | Uint32Array | Float64Array {
  if (!isBig(data)) return data;
  const numbers = new Float64Array(data.length);
  for (let i = 0; i < data.length; i++) {
    numbers[i] = Number(data[i]);
    if (!Number.isSafeInteger(numbers[i])) throw new RuntimeError('E_MODEL_VALUE', `The whole number ${data[i]} is beyond 2^53, where this operator would not be exact; expected smaller ones`);
  }
  return numbers;
}

/** One number for each of the source. A plain loop: the `from` of typed arrays goes through an iterator, 30 times slower. */
export function mapNumbers(source: ArrayLike<number>, fn: (value: number, index: number) => number): Float64Array {
  const out = new Float64Array(source.length);
  for (let i = 0; i < out.length; i++) out[i] = fn(source[i] ?? 0, i);
  return out;
}

const int64Limit = 2 ** 63;

/** Numbers to int64, saturating; NaN becomes 0. */
export function toInt64(value: number): bigint {
  if (Number.isNaN(value)) return 0n;
  if (value >= int64Limit) return 2n ** 63n - 1n;
  return value <= -int64Limit ? -(2n ** 63n) : BigInt(Math.trunc(value));
}

/** Numbers to uint64: negative ones wrap, larger ones saturate; NaN becomes 0. */
function toUint64(value: number): bigint {
  if (Number.isNaN(value)) return 0n;
  return value >= 2 * int64Limit ? 2n ** 64n - 1n : BigInt.asUintN(64, BigInt(Math.trunc(Math.max(value, -int64Limit))));
}

/** A tensor of `dtype` from numbers; integers wrap as two's complement, float32 rounds. */
export function fromNumbers(dtype: DType, dims: Shape, numbers: ArrayLike<number>): TensorValue {
  const count = elementCount(dims);
  if (numbers.length !== count) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected ${count} elements for shape [${dims.join(', ')}] but received ${numbers.length}`);
  }
  const data = allocate(dtype, count);
  if (data instanceof BigInt64Array) {
    for (let i = 0; i < count; i++) data[i] = toInt64(numbers[i] ?? 0);
  } else if (data instanceof BigUint64Array) {
    for (let i = 0; i < count; i++) data[i] = toUint64(numbers[i] ?? 0);
  } else {
    data.set(numbers);
  }
  return { dtype, dims: [...dims], data };
}

export const scalar = (dtype: DType, value: number): TensorValue => fromNumbers(dtype, [], [value]);
export const int64s = (values: readonly number[]): TensorValue => fromNumbers('int64', [values.length], values);
export const float32s = (values: ArrayLike<number>): TensorValue => fromNumbers('float32', [values.length], values);

/** The same elements under another shape. */
export function reshaped(tensor: TensorValue, dims: Shape): TensorValue {
  if (elementCount(dims) !== elementCount(tensor.dims)) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected a shape of ${elementCount(tensor.dims)} elements but received [${dims.join(', ')}]`);
  }
  return { dtype: tensor.dtype, dims: [...dims], data: tensor.data };
}
