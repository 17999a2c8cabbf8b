import { RuntimeError } from '../errors.js';
import { copyBytes } from '../graph/bulk.js';
import { allocate, elementCount, isBig, subByteBits, type DType, type NarrowType, type TensorArray, type TensorValue } from '../graph/tensor-value.js';
import { bfloat16ToNumber, float16ToNumber } from './float16.js';
import type { WireInt64, WireTensor } from './messages.js';
import type { ModelLimits } from './types.js';

/** TensorProto.DataType by number, for the types that exist in a graph. float16, bfloat16 and double become float32. */
const dtypes: Readonly<Record<number, DType>> = {
  1: 'float32', 2: 'uint8', 3: 'int8', 4: 'int32', 5: 'int32', 6: 'int32', 7: 'int64', 9: 'bool', 10: 'float32', 11: 'float32', 12: 'uint32', 13: 'uint64', 16: 'float32', 21: 'uint4', 22: 'int4',
  25: 'uint2', 26: 'int2',
};
const names: Readonly<Record<number, string>> = {
  0: 'undefined', 8: 'string', 14: 'complex64', 15: 'complex128', 17: 'float8e4m3fn', 18: 'float8e4m3fnuz', 19: 'float8e5m2', 20: 'float8e5m2fnuz',
  23: 'float4e2m1', 24: 'float8e8m0',
};
/** Types of 16 bits, which become int32. */
const narrowTypes: Readonly<Record<number, NarrowType>> = { 4: 'uint16', 5: 'int16' };
const float16 = 10;
const double = 11;
const bfloat16 = 16;

const wireTypes: Readonly<Record<DType, number>> = {
  float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, uint32: 12, uint64: 13, bool: 9, uint4: 21, int4: 22, uint2: 25, int2: 26,
};

/** The graph's type for a TensorProto.DataType, undefined when there is none. */
export const dtypeOfWire = (dataType: number): DType | undefined => dtypes[dataType];
/** The type of 16 bits that a TensorProto.DataType is; undefined for others. */
export const narrowOfWire = (dataType: number): NarrowType | undefined => narrowTypes[dataType];
export const wireOfDtype = (dtype: DType): number => wireTypes[dtype];
export const nameOfWireType = (dataType: number): string => dtypes[dataType] ?? names[dataType] ?? String(dataType);
/** What to do about a type that no graph has. */
export function adviceOnWireType(dataType: number): string {
  const name = nameOfWireType(dataType);
  if (name === 'string') return '; turn texts into numbers before the model';
  return name.startsWith('float') ? '; export the model with float16, float32 or int8 instead' : '';
}

/** int64 from the wire as a number. */
export const int64ToNumber = (value: WireInt64): number => (typeof value === 'number' ? value : value.toNumber());

/** The array takes the lower 64 bits, signed or not. */
function int64ToBigInt(value: WireInt64): bigint {
  if (typeof value === 'number') return BigInt(value);
  return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0);
}

/** Checked dimensions of a stored tensor. */
function dimsOf(tensor: WireTensor, limits: ModelLimits): number[] {
  const dims = (tensor.dims ?? []).map(int64ToNumber);
  const name = tensor.name ?? '';
  if (dims.length > limits.rank) {
    throw new RuntimeError('E_MODEL_LIMIT', `Tensor '${name}': expected at most ${limits.rank} dimensions but received ${dims.length}`, { details: { initializer: name } });
  }
  let count = 1;
  for (const dim of dims) {
    if (!Number.isSafeInteger(dim) || dim < 0) {
      throw new RuntimeError('E_MODEL_MALFORMED', `Tensor '${name}': dimension ${dim} is not a size`, { details: { initializer: name } });
    }
    count *= Math.max(dim, 1);
    if (count > limits.tensorElements) {
      throw new RuntimeError('E_MODEL_LIMIT', `Tensor '${name}' of shape [${dims.join(', ')}] exceeds ${limits.tensorElements} elements`, { details: { initializer: name } });
    }
  }
  return dims;
}

function lengthError(name: string, expected: number, received: number, unit: string): RuntimeError {
  return new RuntimeError('E_MODEL_MALFORMED', `Tensor '${name}': expected ${expected} ${unit} but received ${received}`, { details: { initializer: name } });
}

/** Bytes an element takes in raw_data, as a fraction for the types of less. */
function rawElementBytes(dataType: number): number {
  switch (dataType) {
    case 7: case 13: case double: return 8;
    case 1: case 6: case 12: return 4;
    case float16: case bfloat16: case 4: case 5: return 2;
    default: return subByteBits(dtypes[dataType] ?? 'uint8') / 8;
  }
}

/** Elements of 4 or 2 bits, the lowest bits of a byte first. */
function unpackBits(bytes: ArrayLike<number>, dtype: DType, out: TensorArray): void {
  if (isBig(out)) return;
  const bits = subByteBits(dtype);
  const [perByte, mask] = [8 / bits, (1 << bits) - 1];
  const signed = dtype === 'int4' || dtype === 'int2';
  for (let i = 0; i < out.length; i++) {
    const value = ((bytes[Math.floor(i / perByte)] ?? 0) >> ((i % perByte) * bits)) & mask;
    out[i] = signed && value > mask >> 1 ? value - mask - 1 : value;
  }
}

function fromRaw(raw: Uint8Array, dataType: number, count: number, name: string): TensorArray {
  const expected = Math.ceil(count * rawElementBytes(dataType));
  if (raw.length !== expected) throw lengthError(name, expected, raw.length, 'bytes of raw data');
  const dtype = dtypes[dataType] ?? 'uint8';
  // Weights stay where they are, in the file, where that is possible: bytes always, floats where they happen to be aligned.
  if (dtype === 'int8') return new Int8Array(raw.buffer, raw.byteOffset, count);
  if (dtype === 'uint8' || dtype === 'bool') return raw;
  if (dataType === 1 && raw.byteOffset % Float32Array.BYTES_PER_ELEMENT === 0) return new Float32Array(raw.buffer, raw.byteOffset, count);
  const out = allocate(dtype, count);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  if (dataType === float16) for (let i = 0; i < count; i++) out[i] = float16ToNumber(view.getUint16(2 * i, true));
  else if (dataType === bfloat16) for (let i = 0; i < count; i++) out[i] = bfloat16ToNumber(view.getUint16(2 * i, true));
  else if (dataType === double) for (let i = 0; i < count; i++) out[i] = view.getFloat64(8 * i, true);
  else if (dataType === 4) for (let i = 0; i < count; i++) out[i] = view.getUint16(2 * i, true);
  else if (dataType === 5) for (let i = 0; i < count; i++) out[i] = view.getInt16(2 * i, true);
  else if (subByteBits(dtype) < 8) unpackBits(raw, dtype, out);
  else copyBytes(new Uint8Array(out.buffer), raw); // the hosts Sterna runs on are little-endian, as the wire is
  return out;
}

/** A number of a field of 32 bits, which holds the bits of floats of 16. */
const halfToNumber = (dataType: number, value: number): number =>
  dataType === float16 ? float16ToNumber(value) : dataType === bfloat16 ? bfloat16ToNumber(value) : value;

function fromTyped(tensor: WireTensor, dataType: number, count: number, name: string): TensorArray {
  const dtype = dtypes[dataType] ?? 'uint8';
  const out = allocate(dtype, count);
  if (isBig(out) || dataType === 12) {
    // uint32 shares the field of uint64.
    const values: readonly WireInt64[] = (dataType === 7 ? tensor.int64Data : tensor.uint64Data) ?? [];
    if (values.length !== count) throw lengthError(name, count, values.length, 'elements');
    values.forEach((value, i) => (out[i] = isBig(out) ? int64ToBigInt(value) : int64ToNumber(value)));
    return out;
  }
  const values = (dataType === 1 ? tensor.floatData : dataType === double ? tensor.doubleData : tensor.int32Data) ?? [];
  const bits = subByteBits(dtype);
  const expected = Math.ceil((count * bits) / 8);
  if (values.length !== expected) throw lengthError(name, expected, values.length, 'elements');
  if (bits < 8) unpackBits(values, dtype, out);
  else for (let i = 0; i < count; i++) out[i] = halfToNumber(dataType, values[i] ?? 0);
  return out;
}

/**
 * A TensorProto as a constant.
 * @throws RuntimeError E_MODEL_OP (external data, unsupported type), E_MODEL_LIMIT, E_MODEL_MALFORMED
 */
export function readTensor(tensor: WireTensor, limits: ModelLimits): TensorValue {
  const name = tensor.name ?? '';
  const dataType = tensor.dataType ?? 0;
  if (tensor.dataLocation === 1 || (tensor.externalData ?? []).length > 0) {
    throw new RuntimeError('E_MODEL_OP', `Tensor '${name}' keeps its data in another file; give the path of the model instead of its bytes, or save it with its weights inside`, {
      details: { initializer: name, attribute: 'external_data' },
    });
  }
  const dtype = dtypes[dataType];
  if (dtype === undefined) {
    throw new RuntimeError('E_MODEL_OP', `Tensor '${name}': element type ${nameOfWireType(dataType)} is not supported${adviceOnWireType(dataType)}`, { details: { initializer: name } });
  }
  const dims = dimsOf(tensor, limits);
  const count = elementCount(dims);
  const raw = tensor.rawData;
  const data = raw !== undefined && raw.length > 0 ? fromRaw(raw, dataType, count, name) : fromTyped(tensor, dataType, count, name);
  const narrow = narrowTypes[dataType];
  return { dtype, dims, data, ...(narrow === undefined ? {} : { narrow }) };
}

function packBits(data: TensorArray, bits: number): Uint8Array {
  const [perByte, mask] = [8 / bits, (1 << bits) - 1];
  const out = new Uint8Array(Math.ceil(data.length / perByte));
  data.forEach((value, i) => {
    const at = Math.floor(i / perByte);
    out[at] = (out[at] ?? 0) | ((Number(value) & mask) << ((i % perByte) * bits));
  });
  return out;
}

/** A constant as a TensorProto with raw_data. */
export function writeTensor(name: string, tensor: TensorValue): WireTensor {
  const { data, dtype } = tensor;
  const bits = subByteBits(dtype);
  const rawData = bits < 8 ? packBits(data, bits) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (tensor.narrow !== undefined) {
    const narrow = tensor.narrow === 'uint16' ? Uint16Array.from(data, Number) : Int16Array.from(data, Number);
    return { name, dims: [...tensor.dims], dataType: tensor.narrow === 'uint16' ? 4 : 5, rawData: new Uint8Array(narrow.buffer) };
  }
  return { name, dims: [...tensor.dims], dataType: wireTypes[dtype], rawData };
}
