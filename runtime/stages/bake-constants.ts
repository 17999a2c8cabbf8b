import type { TensorValue } from '../graph/tensor-value.js';
import { parseModel } from '../onnx/parse.js';
import { serializeModel } from '../onnx/serialize.js';
import type { StageContract } from './contract.js';

type Constants = NonNullable<StageContract['constants']>;

/**
 * The model with some of its inputs turned into constants: what follows from them alone (a branch for the rate, say) is then known when it is compiled.
 * @throws RuntimeError E_MODEL_* when the bytes are no model
 */
export function bakeConstants(model: Uint8Array, constants: Constants): Uint8Array {
  if (constants.length === 0) return model;
  const parsed = parseModel(model);
  const { graph } = parsed;
  const names = new Set(constants.map(({ input }) => input));
  const values = constants.map(({ input, ...constant }) => [input, valueOf(constant)] as const);
  return serializeModel({ ...parsed, graph: { ...graph, inputs: graph.inputs.filter(({ name }) => !names.has(name)), initializers: new Map([...graph.initializers, ...values]) } });
}

function valueOf({ type, dims, values }: Omit<Constants[number], 'input'>): TensorValue {
  if (type === 'int64') return { dtype: 'int64', dims, data: BigInt64Array.from(values, (value) => BigInt(value)) };
  return type === 'int32' ? { dtype: 'int32', dims, data: Int32Array.from(values) } : { dtype: 'float32', dims, data: Float32Array.from(values) };
}
