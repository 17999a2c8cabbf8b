import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { ModelProto, TensorProto, type WireModel, type WireTensor } from '../../runtime/onnx/schema.js';
import { readTensor } from '../../runtime/onnx/tensor-data.js';
import { defaultLimits } from '../../runtime/onnx/types.js';
import { DeployError } from '../errors.js';

/** Where the Debian package libonnx-testdata puts the ONNX project's node tests. */
export const nodeTestsFolder = '/usr/share/libonnx-testdata/data/node';

/** TensorProto.DataType of the element types that count towards the bar: float, 8-bit and wider integers, booleans. */
const dataInScope: ReadonlySet<number> = new Set([1, 2, 3, 6, 7, 9]);

export interface NodeTest {
  /** The folder, e.g. `test_add_bcast`. */
  readonly name: string;
  /** The operator that is tested; its decomposition into a function (`..._expanded`) counts as itself. */
  readonly operator: string;
  /** Whether every input and output is a tensor of a type in scope. */
  readonly inScope: boolean;
  readonly model: Uint8Array;
  /** By position, as the model's interface. Read when called: what cannot be read is refused like the model. */
  data(): { readonly inputs: TensorValue[]; readonly outputs: TensorValue[] }[];
}

const names = (folder: string): string[] => readdirSync(folder).sort();

const expansion = /_expanded(_ver\d+)?$/;

/** Operators of a model's nodes; empty when the bytes are no model. */
function operatorsOf(model: WireModel): string[] {
  return (model.graph?.node ?? []).map((node) => node.opType ?? '');
}

function isInScope(model: WireModel): boolean {
  const ports = [...(model.graph?.input ?? []), ...(model.graph?.output ?? [])];
  return ports.every((port) => dataInScope.has(port.type?.tensorType?.elemType ?? 0));
}

function readSet(folder: string): { inputs: TensorValue[]; outputs: TensorValue[] } {
  const tensors = (prefix: string): TensorValue[] => {
    const list: TensorValue[] = [];
    for (let path = join(folder, `${prefix}_0.pb`); existsSync(path); path = join(folder, `${prefix}_${list.length}.pb`)) {
      list.push(readTensor(TensorProto.decode(readFileSync(path)) as WireTensor, defaultLimits));
    }
    return list;
  };
  return { inputs: tensors('input'), outputs: tensors('output') };
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
      data: () => names(path).filter((entry) => entry.startsWith('test_data_set_')).map((entry) => readSet(join(path, entry))),
    };
  });
}
