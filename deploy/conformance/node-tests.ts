import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { ModelProto, OptionalProto, SequenceProto, TensorProto, type WireModel, type WireOptional, type WireSequence, type WireTensor, type WireType } from '../../runtime/onnx/schema.js';
import { readTensor } from '../../runtime/onnx/tensor-data.js';
import { defaultLimits } from '../../runtime/onnx/types.js';
import { DeployError } from '../errors.js';

/** Where the Debian package libonnx-testdata puts the ONNX project's node tests. */
export const nodeTestsFolder = '/usr/share/libonnx-testdata/data/node';

/** A tensor as the data has it. */
export interface TestTensor {
  readonly value: TensorValue;
  /** Whether it is of bfloat16, the least precise type of floats. */
  readonly brief: boolean;
}

/** What the data has for an input or an output: a tensor, those of a sequence, or nothing for an optional that is empty. */
export type TestValue = TestTensor | readonly TestTensor[] | undefined;

export interface NodeTest {
  /** The folder, e.g. `test_add_bcast`. */
  readonly name: string;
  /** The operator that is tested; its decomposition into a function (`..._expanded`) counts as itself. */
  readonly operator: string;
  /** Whether every input and output consists of floats, whole numbers or booleans. Others are strings. */
  readonly inScope: boolean;
  readonly model: Uint8Array;
  /** By position, as the model's interface. Read when called: what cannot be read is refused like the model. */
  data(): { readonly inputs: TestValue[]; readonly outputs: TestValue[] }[];
}

const names = (folder: string): string[] => readdirSync(folder).sort();

const expansion = /_expanded(_ver\d+)?$/;

/** Operators of a model's nodes; empty when the bytes are no model. */
function operatorsOf(model: WireModel): string[] {
  return (model.graph?.node ?? []).map((node) => node.opType ?? '');
}

/** TensorProto.DataType of what is neither a float, a whole number nor a boolean: strings and complex numbers. */
const outOfScope: ReadonlySet<number> = new Set([8, 14, 15]);

/** The type of what a value holds. */
function elementOf(type: WireType | null | undefined): number {
  const inner = type?.optionalType?.elemType ?? type;
  return (inner?.sequenceType?.elemType ?? inner)?.tensorType?.elemType ?? 0;
}

function isInScope({ graph }: WireModel): boolean {
  return [...(graph?.input ?? []), ...(graph?.output ?? [])].every(({ type }) => !outOfScope.has(elementOf(type)));
}

const bfloat16 = 16;
const uint16 = 4;
/** Old data of bfloat16 is stored as whole numbers of the same bits. */
function tensorOf(wire: WireTensor, type = 0): TestTensor {
  const brief = wire.dataType === bfloat16 || (type === bfloat16 && wire.dataType === uint16);
  return { value: readTensor(brief ? { ...wire, dataType: bfloat16 } : wire, defaultLimits), brief };
}
const sequenceOf = (wire: WireSequence): TestTensor[] => (wire.tensorValues ?? []).map((tensor) => tensorOf(tensor));

function readValue(bytes: Uint8Array, type: WireType | null | undefined): TestValue {
  if (type?.sequenceType) return sequenceOf(SequenceProto.decode(bytes) as WireSequence);
  if (!type?.optionalType) return tensorOf(TensorProto.decode(bytes) as WireTensor, elementOf(type));
  const { tensorValue, sequenceValue } = OptionalProto.decode(bytes) as WireOptional;
  if (tensorValue) return tensorOf(tensorValue);
  return sequenceValue ? sequenceOf(sequenceValue) : undefined;
}

function readSet(folder: string, { graph }: WireModel): { inputs: TestValue[]; outputs: TestValue[] } {
  const values = (prefix: string, ports: readonly { type?: WireType | null }[]): TestValue[] => {
    const list: TestValue[] = [];
    for (let path = join(folder, `${prefix}_0.pb`); existsSync(path); path = join(folder, `${prefix}_${list.length}.pb`)) list.push(readValue(readFileSync(path), ports[list.length]?.type));
    return list;
  };
  return { inputs: values('input', graph?.input ?? []), outputs: values('output', graph?.output ?? []) };
}

/**
 * The node tests below a folder, in order of their names.
 * @throws DeployError E_FILE: the folder is missing
 */
export function readNodeTests(root: string = nodeTestsFolder): NodeTest[] {
  if (!existsSync(root)) {
    throw new DeployError('E_FILE', `${root} is missing; Debian: apt-get install libonnx-testdata, elsewhere: backend/test/data/node of the ONNX sources`, { details: { path: root } });
  }
  const folders = names(root).filter((name) => existsSync(join(root, name, 'model.onnx')));
  const models = new Map(folders.map((name) => [name, readFileSync(join(root, name, 'model.onnx'))]));
  const decoded = new Map([...models].map(([name, bytes]) => [name, ModelProto.decode(bytes) as WireModel]));
  return folders.map((name) => {
    const wire = decoded.get(name) ?? {};
    const operators = operatorsOf(decoded.get(name.replace(expansion, '')) ?? wire);
    const path = join(root, name);
    return {
      name,
      operator: operators.length === 1 ? (operators[0] ?? '') : 'several',
      inScope: isInScope(wire),
      model: models.get(name) ?? new Uint8Array(),
      data: () => names(path).filter((entry) => entry.startsWith('test_data_set_')).map((entry) => readSet(join(path, entry), wire)),
    };
  });
}
