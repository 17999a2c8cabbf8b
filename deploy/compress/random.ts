import { elementCount } from '../../runtime/graph/tensor-value.js';
import { numberToBfloat16, numberToFloat16 } from '../../runtime/onnx/float16.js';
import type { Tensor, TensorInfo } from '../../runtime/tensor.js';

/** Small deterministic generator of numbers in [0, 1) (Marsaglia's xorshift32): the same seed gives the same numbers on every machine. */
export function uniform(seed: number): () => number {
  // Spread neighbouring seeds apart; the state must not be zero.
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x85ebca6b) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

function randomTensor(info: TensorInfo, next: () => number): Tensor {
  const count = elementCount(info.dims);
  const { type, dims } = info;
  switch (type) {
    case 'float32': return { type, dims, data: Float32Array.from({ length: count }, () => 2 * next() - 1) };
    case 'float16': return { type, dims, data: Uint16Array.from({ length: count }, () => numberToFloat16(2 * next() - 1)) };
    case 'bfloat16': return { type, dims, data: Uint16Array.from({ length: count }, () => numberToBfloat16(2 * next() - 1)) };
    case 'float64': return { type, dims, data: Float64Array.from({ length: count }, () => 2 * next() - 1) };
    case 'uint8': return { type, dims, data: Uint8Array.from({ length: count }, () => 256 * next()) };
    case 'int8': return { type, dims, data: Int8Array.from({ length: count }, () => 256 * next() - 128) };
    case 'bool': return { type, dims, data: Uint8Array.from({ length: count }, () => 2 * next()) };
    // Integers are indices or counts more often than not: 0 and 1 are in range of nearly everything.
    case 'int32': return { type, dims, data: Int32Array.from({ length: count }, () => 2 * next()) };
    case 'uint32': return { type, dims, data: Uint32Array.from({ length: count }, () => 2 * next()) };
    case 'uint64': return { type, dims, data: BigUint64Array.from({ length: count }, () => BigInt(Math.floor(2 * next()))) };
    case 'int64': return { type, dims, data: BigInt64Array.from({ length: count }, () => BigInt(Math.floor(2 * next()))) };
  }
}

/** Uniform noise for every input (floats in [-1, 1)), reproducible from the number of the case. */
export function randomFeeds(inputs: readonly TensorInfo[], caseNumber: number): Record<string, Tensor> {
  const next = uniform(caseNumber);
  return Object.fromEntries(inputs.map((info) => [info.name, randomTensor(info, next)]));
}
