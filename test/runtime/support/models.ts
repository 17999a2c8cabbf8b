import type { Attribute } from '../../../runtime/graph/attributes.js';
import { elementCount, fromNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { OnnxContainer, OnnxDimension, OnnxFunction, OnnxModel, OnnxNode } from '../../../runtime/onnx/types.js';
import { random } from './random.js';

export interface ModelSpec {
  readonly opset?: number;
  readonly inputs: Readonly<Record<string, readonly OnnxDimension[]>>;
  /** Types of inputs that are not float32. */
  readonly types?: Readonly<Record<string, DType>>;
  readonly constants?: Readonly<Record<string, TensorValue>>;
  readonly nodes: readonly OnnxNode[];
  readonly outputs: readonly string[];
  readonly outputTypes?: Readonly<Record<string, DType>>;
  /** Versions of other operator sets, by domain. */
  readonly domains?: Readonly<Record<string, number>>;
  readonly functions?: readonly OnnxFunction[];
  /** Inputs and outputs that are no tensors. */
  readonly containers?: Readonly<Record<string, OnnxContainer>>;
}

/** The type of an output where the file states it: float32 where all values are floats, else what `outputTypes` says. */
function stated({ types = {}, constants = {}, outputTypes }: ModelSpec, name: string): { dtype?: DType } {
  const floats = [...Object.values(types), ...Object.values(constants).map(({ dtype }) => dtype)].every((dtype) => dtype === 'float32');
  const dtype = outputTypes?.[name] ?? (floats ? 'float32' : undefined);
  return dtype === undefined ? {} : { dtype };
}

const contained = ({ containers = {} }: ModelSpec, name: string): { container?: OnnxContainer } => (containers[name] === undefined ? {} : { container: containers[name] });

export function model(spec: ModelSpec): OnnxModel {
  return {
    irVersion: 8,
    producerName: 'test',
    producerVersion: '',
    opsets: new Map([['', spec.opset ?? 17], ...Object.entries(spec.domains ?? {})]),
    metadata: new Map(),
    ...(spec.functions === undefined ? {} : { functions: spec.functions }),
    graph: {
      name: 'test',
      nodes: spec.nodes,
      initializers: new Map(Object.entries(spec.constants ?? {})),
      inputs: Object.entries(spec.inputs).map(([name, dims]) => ({ name, dtype: spec.types?.[name] ?? 'float32', dims, ...contained(spec, name) })),
      outputs: spec.outputs.map((name) => ({ name, ...stated(spec, name), ...contained(spec, name) })),
      valueInfo: [],
    },
  };
}

export const modelBytes = (spec: ModelSpec): Uint8Array => serializeModel(model(spec));

type Plain = number | string | readonly number[] | { float: number } | Attribute;

function attribute(value: Plain): Attribute {
  if (typeof value === 'number') return { type: 'int', value };
  if (typeof value === 'string') return { type: 'string', value };
  if (Array.isArray(value)) return { type: 'ints', value };
  if ('float' in value) return { type: 'float', value: value.float };
  if ('type' in value) return value;
  throw new TypeError('Expected an attribute');
}

/** A node; its name is its first output. */
export function node(op: string, inputs: readonly string[], outputs: readonly string[], attributes: Readonly<Record<string, Plain>> = {}): OnnxNode {
  return { name: outputs[0] ?? op, op, domain: '', inputs, outputs, attributes: new Map(Object.entries(attributes).map(([name, value]) => [name, attribute(value)])) };
}

/** Random numbers in [low, high). */
export function randomTensor(dims: readonly number[], seed: number, low = -1, high = 1): TensorValue {
  const next = random(seed);
  return fromNumbers('float32', dims, Float64Array.from({ length: elementCount(dims) }, () => low + (high - low) * next()));
}

/** Random whole numbers in [low, high]. */
export function randomInts(dtype: DType, dims: readonly number[], seed: number, low: number, high: number): TensorValue {
  const next = random(seed);
  return fromNumbers(dtype, dims, Float64Array.from({ length: elementCount(dims) }, () => Math.floor(low + (high - low + 1) * next())));
}

export const floats = (dims: readonly number[], ...values: number[]): TensorValue => fromNumbers('float32', dims, values);
export const fromInts = (dtype: DType, values: readonly number[]): TensorValue => fromNumbers(dtype, [values.length], values);
export const ints64 = (...values: number[]): TensorValue => fromNumbers('int64', [values.length], values);
