import { RuntimeError } from './errors.js';
import type { TensorValue } from './graph/tensor-value.js';

/**
 * Element types that cross the Session boundary, by ONNX name. `bool` is a Uint8Array of zeros and ones, `float16` a Uint16Array of the bits of IEEE 754
 * binary16: where Node.js has Float16Array, `new Float16Array(data.buffer, data.byteOffset, data.length)` shows their values. `bfloat16` is a Uint16Array of
 * the upper halves of float32.
 */
export const dataTypes = ['float32', 'uint8', 'int8', 'int32', 'int64', 'bool', 'float16', 'float64', 'bfloat16', 'uint32', 'uint64'] as const;
export type DataType = (typeof dataTypes)[number];

export type TensorData = Float32Array | Uint8Array | Int8Array | Int32Array | BigInt64Array | Uint16Array | Float64Array | Uint32Array | BigUint64Array;

/** Dense, row-major. */
export interface Tensor {
  type: DataType;
  dims: readonly number[];
  data: TensorData;
}

/** What holds tensors at the interface of a model. */
export type ContainerKind = 'sequence' | 'optional' | 'optional sequence';

/** An input or output of a model, shapes resolved. */
export interface TensorInfo {
  name: string;
  type: DataType;
  dims: readonly number[];
  /**
   * Absent for tensors. The tensors of a sequence `x` are fed and given as `x[0]`, `x[1]` and so on, and no such name is an empty sequence. An optional tensor
   * is fed and given by its own name, or not at all; nothing of an optional sequence is an optional that holds nothing, and `x[]` (any tensor) is one that holds an empty sequence.
   */
  container?: ContainerKind;
}

/** A tensor of a graph as one of the Session interface. @throws RuntimeError E_INPUT: a type that does not cross it */
export function asTensor({ dtype, dims, data }: TensorValue): Tensor {
  const type = dataTypes.find((name) => name === dtype);
  if (type === undefined) throw new RuntimeError('E_INPUT', `Expected one of ${dataTypes.join(', ')} but received ${dtype}`);
  return { type, dims, data };
}

/** A tensor of the Session interface as one of a graph, whose floats are float32. @throws RuntimeError E_INPUT: float16, bfloat16 or float64 */
export function asValue({ type, dims, data }: Tensor): TensorValue {
  if (type === 'float16' || type === 'bfloat16' || type === 'float64' || data instanceof Uint16Array || data instanceof Float64Array) throw new RuntimeError('E_INPUT', `Expected float32 but received ${type}`);
  return { dtype: type, dims: [...dims], data };
}
