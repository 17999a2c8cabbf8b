import { operatorNames } from '../../runtime/ops/registry.js';
import { attributeTypes, ModelProto, type WireAttribute, type WireGraph, type WireInt64, type WireModel, type WireNode, type WireTensor, type WireValueInfo } from '../../runtime/onnx/schema.js';

/** Random choices of a mutation. */
export interface Chooser {
  /** A whole number in [0, count). */
  below(count: number): number;
}

const int64 = (value: bigint): WireInt64 => ({
  low: Number(BigInt.asIntN(32, value)), high: Number(BigInt.asIntN(32, value >> 32n)), toNumber: () => Number(value),
});

const integers: readonly bigint[] = [
  0n, 1n, 2n, 3n, 4n, 5n, 7n, 8n, 16n, 64n, 255n, 256n, 1000n, 4096n, 65_536n, 1_000_000n, 2n ** 24n, 2n ** 28n, 1_000_000_000n, 2n ** 31n - 1n, 2n ** 31n,
  2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, -1n, -2n, -3n, -4n, -128n, -(2n ** 31n), -(2n ** 63n),
];
const numbers: readonly number[] = [0, -0, 1, -1, 0.5, 2, 1e-30, 1e30, 1e6, 255, NaN, Infinity, -Infinity];
const attributeNames = [
  'axis', 'axes', 'perm', 'pads', 'strides', 'dilations', 'kernel_shape', 'group', 'auto_pad', 'ceil_mode', 'count_include_pad', 'keepdims', 'mode', 'alpha', 'beta',
  'min', 'max', 'to', 'value', 'value_ints', 'value_floats', 'value_int', 'shape', 'starts', 'ends', 'split', 'num_outputs', 'transA', 'transB', 'epsilon', 'scales',
  'nearest_mode', 'coordinate_transformation_mode', 'noop_with_empty_axes', 'allowzero', 'start', 'end', 'block_size', 'blocksize', 'training_mode', 'fmod', 'unary', 'steps', 'extent',
];
const words = ['', 'constant', 'edge', 'reflect', 'wrap', 'linear', 'nearest', 'cubic', 'floor', 'align_corners', 'SAME_UPPER', 'SAME_LOWER', 'VALID', 'DCR', 'CRD'];

const any = <T>(chooser: Chooser, list: readonly T[]): T | undefined => list[chooser.below(list.length)];
const someInt = (chooser: Chooser): WireInt64 => int64(chooser.below(3) === 0 ? (any(chooser, integers) ?? 0n) : BigInt(chooser.below(9) - 2));
const ints = (chooser: Chooser, count: number): WireInt64[] => Array.from({ length: count }, () => someInt(chooser));

type Mutation = (graph: WireGraph, chooser: Chooser, other: WireGraph) => void;

const anyNode = (graph: WireGraph, chooser: Chooser): WireNode | undefined => any(chooser, graph.node ?? []);

function valueNames(graph: WireGraph): string[] {
  return ['', ...(graph.node ?? []).flatMap(({ output }) => output ?? []), ...(graph.initializer ?? []).map(({ name }) => name ?? ''), ...(graph.input ?? []).map(({ name }) => name ?? '')];
}

const rewire: Mutation = (graph, chooser) => {
  const node = anyNode(graph, chooser);
  const name = any(chooser, valueNames(graph));
  if (node?.input === undefined || name === undefined) return;
  const at = chooser.below(node.input.length + 1);
  if (chooser.below(5) === 0) node.input.splice(at, 1);
  else node.input[at] = name;
};

const changeOperator: Mutation = (graph, chooser) => {
  const node = anyNode(graph, chooser);
  if (node !== undefined) node.opType = any(chooser, operatorNames) ?? '';
};

function someAttribute(chooser: Chooser): WireAttribute {
  const name = any(chooser, attributeNames) ?? '';
  switch (chooser.below(6)) {
    case 0: return { name, type: attributeTypes.int, i: someInt(chooser) };
    case 1: return { name, type: attributeTypes.float, f: any(chooser, numbers) ?? 0 };
    case 2: return { name, type: attributeTypes.string, s: new TextEncoder().encode(any(chooser, words)) };
    case 3: return { name, type: attributeTypes.tensor, t: someTensor(chooser) };
    case 4: return { name, type: attributeTypes.floats, floats: [1, 1, any(chooser, numbers) ?? 1, 2] };
    default: return { name, type: attributeTypes.ints, ints: ints(chooser, chooser.below(6)) };
  }
}

const addAttribute: Mutation = (graph, chooser) => {
  const node = anyNode(graph, chooser);
  if (node !== undefined) node.attribute = [...(node.attribute ?? []), someAttribute(chooser)];
};

const changeAttribute: Mutation = (graph, chooser) => {
  const node = anyNode(graph, chooser);
  const attribute = any(chooser, node?.attribute ?? []);
  if (node?.attribute === undefined || attribute === undefined) return;
  if (chooser.below(6) === 0) node.attribute = node.attribute.filter((one) => one !== attribute);
  else if (attribute.ints !== undefined && attribute.ints.length > 0) attribute.ints[chooser.below(attribute.ints.length + 1)] = someInt(chooser);
  else if (attribute.type === attributeTypes.int) attribute.i = someInt(chooser);
  else if (attribute.type === attributeTypes.float) attribute.f = any(chooser, numbers) ?? 0;
  else if (attribute.type === attributeTypes.string) attribute.s = new TextEncoder().encode(any(chooser, words));
};

/** A small tensor of int64 or float32 with its data in place, sometimes of no elements and a huge shape. */
function someTensor(chooser: Chooser): WireTensor {
  const count = chooser.below(5);
  if (chooser.below(8) === 0) return { dims: [0, ...ints(chooser, 3)], dataType: 1 };
  return chooser.below(2) === 0
    ? { dims: [count], dataType: 7, int64Data: ints(chooser, count) }
    : { dims: [count], dataType: 1, floatData: Array.from({ length: count }, () => any(chooser, numbers) ?? 0) };
}

const changeInitializer: Mutation = (graph, chooser) => {
  const tensor = any(chooser, graph.initializer ?? []);
  if (tensor === undefined) return;
  const fresh = someTensor(chooser);
  const elements = tensor.rawData?.length ?? 0;
  switch (chooser.below(5)) {
    case 0: Object.assign(tensor, { rawData: undefined, int64Data: [], floatData: [] }, fresh); return;
    case 1: tensor.dims = ints(chooser, chooser.below(6)); return;
    case 2: tensor.dims = [...(tensor.dims ?? [])].reverse(); return;
    case 3: tensor.dataType = chooser.below(24); return;
    default: {
      if (tensor.dataType !== 7 || elements < 8) return;
      // One of the numbers of a shape, of pads, of indices.
      const data = Uint8Array.from(tensor.rawData ?? []);
      new DataView(data.buffer).setBigInt64(8 * chooser.below(elements >> 3), any(chooser, integers) ?? 0n, true);
      tensor.rawData = data;
    }
  }
};

const changeShape: Mutation = (graph, chooser) => {
  const info: WireValueInfo | undefined = any(chooser, graph.input ?? []);
  const dims = info?.type?.tensorType?.shape?.dim;
  if (info?.type?.tensorType === undefined || info.type.tensorType === null || dims === undefined) return;
  if (chooser.below(6) === 0) info.type.tensorType.elemType = chooser.below(24);
  else if (chooser.below(4) === 0) dims.splice(chooser.below(dims.length + 1), chooser.below(2), { dimValue: someInt(chooser) });
  else dims[chooser.below(dims.length)] = { dimValue: someInt(chooser) };
};

const editNodes: Mutation = (graph, chooser) => {
  const nodes = graph.node ?? [];
  const node = any(chooser, nodes);
  if (node === undefined) return;
  if (chooser.below(3) === 0) graph.node = nodes.filter((one) => one !== node);
  else {
    // Behind an output comes one more of the same, or of another, operator.
    const output = any(chooser, node.output ?? []) ?? '';
    const name = `${output}+${nodes.length}`;
    nodes.push({ ...node, name, opType: chooser.below(2) === 0 ? (node.opType ?? '') : (any(chooser, operatorNames) ?? ''), input: [output, ...(node.input ?? []).slice(1)], output: [name] });
    graph.output = [...(graph.output ?? []), { name }];
  }
};

const changeOutputs: Mutation = (graph, chooser) => {
  const name = any(chooser, valueNames(graph)) ?? '';
  if (chooser.below(3) === 0) graph.output = (graph.output ?? []).slice(1);
  else graph.output = [...(graph.output ?? []), { name }];
};

/** The nodes, constants and inputs of another model behind those of this one; one of its inputs becomes a value of ours. */
const graft: Mutation = (graph, chooser, other) => {
  const joint = any(chooser, other.input ?? [])?.name;
  const to = any(chooser, valueNames(graph)) ?? '';
  const tag = `#${(graph.node ?? []).length}`;
  const renamed = (name: string): string => (name === '' ? '' : name === joint ? to : name + tag);
  graph.node = [...(graph.node ?? []), ...(other.node ?? []).map((node) => ({ ...node, input: (node.input ?? []).map(renamed), output: (node.output ?? []).map(renamed) }))];
  graph.initializer = [...(graph.initializer ?? []), ...(other.initializer ?? []).map((tensor) => ({ ...tensor, name: renamed(tensor.name ?? '') }))];
  graph.input = [...(graph.input ?? []), ...(other.input ?? []).filter(({ name }) => name !== joint).map((info) => ({ ...info, name: renamed(info.name ?? '') }))];
  graph.output = [...(graph.output ?? []), ...(other.output ?? []).map((info) => ({ ...info, name: renamed(info.name ?? '') }))];
};

const mutations: readonly Mutation[] = [rewire, changeOperator, addAttribute, changeAttribute, changeAttribute, changeInitializer, changeInitializer, changeShape, editNodes, changeOutputs, graft];

const read = (bytes: Uint8Array): WireModel | undefined => {
  try {
    return ModelProto.decode(bytes) as WireModel;
  } catch {
    return undefined;
  }
};

/** A few bytes changed, removed or doubled: what a decoder meets. */
function mutateBytes(bytes: Uint8Array, chooser: Chooser): Uint8Array {
  const at = chooser.below(bytes.length);
  const some = bytes.subarray(at, at + 1 + chooser.below(16));
  switch (chooser.below(3)) {
    case 0: return Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + some.length)]);
    case 1: return Uint8Array.from([...bytes.subarray(0, at), ...some, ...bytes.subarray(at)]);
    default: {
      const changed = bytes.slice();
      for (let left = 1 + chooser.below(3); left > 0; left--) changed[chooser.below(changed.length)] = chooser.below(256);
      return changed;
    }
  }
}

/** A model like `bytes` with one to four things changed; `other` lends what is grafted. One in eight is changed as bytes. */
export function mutateModel(bytes: Uint8Array, other: Uint8Array, chooser: Chooser): Uint8Array {
  const model = chooser.below(8) === 0 ? undefined : read(bytes);
  const graph = model?.graph;
  if (model === undefined || graph === undefined || graph === null) return mutateBytes(bytes, chooser);
  for (let left = 1 + chooser.below(4); left > 0; left--) any(chooser, mutations)?.(graph, chooser, read(other)?.graph ?? {});
  if (chooser.below(16) === 0) model.opsetImport = [{ domain: '', version: chooser.below(24) }];
  return ModelProto.encode(model).finish();
}
