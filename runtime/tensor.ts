/** Element types that cross the Session boundary, by ONNX name. */
export type DataType = 'float32' | 'uint8' | 'int8' | 'int32' | 'int64';

export type TensorData = Float32Array | Uint8Array | Int8Array | Int32Array | BigInt64Array;

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
