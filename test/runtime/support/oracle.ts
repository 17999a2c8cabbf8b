import { createRequire } from 'node:module';
import type { TensorValue } from '../../../runtime/graph/tensor-value.js';
import { createSession } from '../../../runtime/engines/onnxruntime.js';
import { asTensor, type DataType } from '../../../runtime/tensor.js';

type OnnxRuntime = typeof import('onnxruntime-node');

function load(): OnnxRuntime | undefined {
  try {
    return createRequire(import.meta.url)('onnxruntime-node') as OnnxRuntime;
  } catch {
    return undefined;
  }
}

const onnxruntime = load();

/** Why tests against onnxruntime are skipped, for their titles; undefined when they run. */
export const oracleMissing = onnxruntime === undefined ? 'onnxruntime-node is not installed' : undefined;

/** onnxruntime-node has no tensors of brain floats; a graph has none either. */
function typeOf(value: TensorValue): Exclude<DataType, 'bfloat16'> {
  const { type } = asTensor(value);
  if (type === 'bfloat16') throw new Error('onnxruntime takes no tensors of bfloat16');
  return type;
}

/** Runs a model with onnxruntime: every output, as numbers. */
export async function oracle(bytes: Uint8Array, feeds: Readonly<Record<string, TensorValue>>, optimize = true): Promise<Record<string, { dims: readonly number[]; data: Float64Array }>> {
  if (onnxruntime === undefined) throw new Error('onnxruntime-node is not installed');
  const ort = onnxruntime;
  const session = await createSession(ort, bytes, { threads: 1, optimize });
  const inputs = Object.fromEntries(Object.entries(feeds).map(([name, { dtype, data, dims }]) => [name, new ort.Tensor(typeOf({ dtype, data, dims }), data, [...dims])]));
  const results = await session.run(inputs);
  const outputs = Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, { dims: tensor.dims, data: Float64Array.from(tensor.data as ArrayLike<number>, Number) }]));
  await session.release();
  return outputs;
}

/** Largest difference, and the range of what was wanted together with 0. */
export function difference(got: ArrayLike<number | bigint>, wanted: ArrayLike<number>): { maximum: number; range: number } {
  let maximum = got.length === wanted.length ? 0 : Infinity;
  let [low, high] = [0, 0];
  for (let i = 0; i < wanted.length; i++) {
    const want = wanted[i] ?? 0;
    const delta = Math.abs(Number(got[i]) - want);
    if (!(delta <= maximum)) maximum = Number.isNaN(delta) && Number.isNaN(want) ? maximum : delta;
    if (want < low) low = want;
    if (want > high) high = want;
  }
  return { maximum, range: high - low };
}
