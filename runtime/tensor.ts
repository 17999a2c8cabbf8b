import { RuntimeError } from './errors.js';
import type { TensorValue } from './graph/tensor-value.js';

/**
 * Element types that cross the Session boundary, by ONNX name. `bool` is a Uint8Array of zeros and ones, `float16` a Uint16Array of the bits of IEEE 754
 * binary16: where Node.js has Float16Array, `new Float16Array(data.buffer, data.byteOffset, data.length)` shows their values.
 */
export const dataTypes = ['float32', 'uint8', 'int8', 'int32', 'int64', 'bool', 'float16', 'float64'] as const;
export type DataType = (typeof dataTypes)[number];

export type TensorData = Float32Array | Uint8Array | Int8Array | Int32Array | BigInt64Array | Uint16Array | Float64Array;

/** Dense, row-major. */
export interface Tensor {
  type: DataType;
  dims: readonly number[];
  data: TensorData;
}

/** An input or output of a model, shapes resolved. */
export interface TensorInfo {
  name: string;
  type: DataType;
  dims: readonly number[];
}

/** A tensor of a graph as one of the Session interface. @throws RuntimeError E_INPUT: a type that does not cross it */
export function asTensor({ dtype, dims, data }: TensorValue): Tensor {
  const type = dataTypes.find((name) => name === dtype);
  if (type === undefined) throw new RuntimeError('E_INPUT', `Expected one of ${dataTypes.join(', ')} but received ${dtype}`);
  return { type, dims, data };
}

/** A tensor of the Session interface as one of a graph, whose floats are float32. @throws RuntimeError E_INPUT: float16 or float64 */
export function asValue({ type, dims, data }: Tensor): TensorValue {
  if (type === 'float16' || type === 'float64' || data instanceof Uint16Array || data instanceof Float64Array) throw new RuntimeError('E_INPUT', `Expected float32 but received ${type}`);
  return { dtype: type, dims: [...dims], data };
}
