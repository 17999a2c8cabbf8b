import { RuntimeError } from '../errors.js';
import type { Expander } from '../expand/expander.js';
import type { OnnxContainer } from '../onnx/types.js';
import { asTensor, asValue, type ContainerKind, type Tensor, type TensorInfo } from '../tensor.js';
import { checkTensor } from './feeds.js';

// Sequences and optionals at the interface of a model: their tensors under names of their own.

export const kindOf = ({ sequence, optional }: OnnxContainer): ContainerKind => (sequence ? (optional ? 'optional sequence' : 'sequence') : 'optional');

/** What stands for an empty sequence in an optional. */
const emptySequence = (name: string): string => `${name}[]`;
const partOf = (name: string, index: number): string => `${name}[${index}]`;

/** The tensors of a sequence, in order. */
function partsOf(name: string, feeds: Readonly<Record<string, Tensor>>): Tensor[] {
  const parts: Tensor[] = [];
  for (let part = feeds[partOf(name, 0)]; part !== undefined; part = feeds[partOf(name, parts.length)]) parts.push(part);
  return parts;
}

/** Names of feeds that are those of this container. */
function namesOf({ name, container }: TensorInfo, feeds: Readonly<Record<string, Tensor>>): string[] {
  if (container === 'optional') return [name];
  return [...partsOf(name, feeds).map((_, i) => partOf(name, i)), ...(container === 'optional sequence' ? [emptySequence(name)] : [])];
}

/**
 * Gives a run its sequences and optionals.
 * @returns the feeds that are tensors
 * @throws RuntimeError E_INPUT: another type, or an array of another length
 */
export function giveContainers(inputs: readonly TensorInfo[], feeds: Readonly<Record<string, Tensor>>, values: Expander): Record<string, Tensor> {
  const rest = { ...feeds };
  for (const info of inputs) {
    const { name, container } = info;
    if (container === undefined) continue;
    if (container !== 'optional' && feeds[name] !== undefined) {
      throw new RuntimeError('E_INPUT', `Input "${name}" is a sequence: expected its tensors as "${partOf(name, 0)}", "${partOf(name, 1)}" and so on but received "${name}"`, { details: { input: name } });
    }
    const own = namesOf(info, feeds).filter((key) => feeds[key] !== undefined);
    for (const key of own) {
      const tensor = feeds[key];
      if (tensor === undefined) continue;
      // A tensor in a container may have any sizes.
      checkTensor('input', { name: key, type: info.type, dims: tensor.dims }, tensor);
      if (key !== emptySequence(name)) values.give(key, asValue(tensor));
      delete rest[key];
    }
    if (container !== 'sequence' && own.length === 0) values.setEmpty(name);
    else if (container !== 'optional') values.setSequence(name, own.filter((key) => key !== emptySequence(name)));
  }
  return rest;
}

const copied = (values: Expander, name: string): Tensor => {
  const value = values.value(name);
  if (value === undefined) throw new RuntimeError('E_MODEL_SHAPE', `The value '${name}' was not computed`, { details: { value: name } });
  return asTensor({ ...value, data: value.data.slice() });
};

/** The tensors that a run has for an output, under the names that they leave the model by; undefined where it is a tensor. */
export function takeContainer({ name, container }: TensorInfo, values: Expander): (readonly [string, Tensor])[] | undefined {
  if (values.isEmpty(name)) return [];
  const parts = values.sequence(name);
  if (parts === undefined) return undefined;
  if (parts.length === 0 && container === 'optional sequence') return [[emptySequence(name), { type: 'float32', dims: [0], data: new Float32Array(0) }]];
  return parts.map((part, i) => [partOf(name, i), copied(values, part)] as const);
}
