import { RuntimeError } from '../errors.js';
import { describeNoModel } from '../foreign-bytes.js';
import type { Attribute } from '../graph/attributes.js';
import { allFinite } from '../graph/bulk.js';
import { newestOpset } from '../graph/opsets.js';
import type { TensorValue } from '../graph/tensor-value.js';
import { checkNodes } from './check-nodes.js';
import { attributeTypes, type WireAttribute, type WireFunction, type WireGraph, type WireInt64, type WireModel, type WireNode, type WireType, type WireValueInfo } from './messages.js';
import { dtypeOfWire, int64ToNumber, narrowOfWire, readTensor } from './tensor-data.js';
import { defaultLimits, type ModelLimits, type OnnxContainer, type OnnxDimension, type OnnxFunction, type OnnxGraph, type OnnxModel, type OnnxNode, type OnnxValueInfo } from './types.js';
import { readMessage } from './wire-reader.js';

const decoder = new TextDecoder();
/** protobufjs has an empty array for bytes that are absent. */
const text = (bytes: ArrayLike<number> | undefined): string => decoder.decode(Uint8Array.from(bytes ?? []));
const number = (value: WireInt64 | undefined): number => (value === undefined ? 0 : int64ToNumber(value));

const malformed = (problem: string, details: Record<string, unknown> = {}, cause?: unknown) =>
  new RuntimeError('E_MODEL_MALFORMED', problem, { details, cause });

function atMost(what: string, limit: number, received: number): void {
  if (received > limit) throw new RuntimeError('E_MODEL_LIMIT', `Expected at most ${limit} ${what} but received ${received}`);
}

/** The messages of a file, not looked at yet. @throws RuntimeError E_MODEL_MALFORMED, E_MODEL_LIMIT */
export function decodeModel(bytes: Uint8Array, limits: ModelLimits): WireModel {
  const foreign = describeNoModel(bytes);
  if (foreign !== undefined) throw malformed(`The bytes are not an ONNX model: ${foreign}`);
  try {
    return readMessage('ModelProto', bytes, limits.fields);
  } catch (cause) {
    if (cause instanceof RuntimeError) throw cause;
    throw malformed(`The bytes are not an ONNX model: ${cause instanceof Error ? cause.message : String(cause)}`, {}, cause);
  }
}

/** The type of an attribute; files older than IR version 3 leave it out, so it follows from what is there. */
function typeOf(attribute: WireAttribute): number {
  if (attribute.type !== undefined && attribute.type !== 0) return attribute.type;
  const own = (key: keyof WireAttribute) => Object.hasOwn(attribute, key);
  if (own('f')) return attributeTypes.float;
  if (own('i')) return attributeTypes.int;
  if (own('s')) return attributeTypes.string;
  if (own('t')) return attributeTypes.tensor;
  if (own('g')) return attributeTypes.graph;
  if ((attribute.floats ?? []).length > 0) return attributeTypes.floats;
  return (attribute.strings ?? []).length > 0 ? attributeTypes.strings : attributeTypes.ints;
}

/** Undefined: a kind of attribute (sparse tensor, type) that no supported operator has. */
function readAttribute(attribute: WireAttribute, limits: ModelLimits): Attribute | undefined {
  if (attribute.refAttrName) return { type: 'reference', value: attribute.refAttrName };
  switch (typeOf(attribute)) {
    case attributeTypes.float: return { type: 'float', value: attribute.f ?? 0 };
    case attributeTypes.int: return { type: 'int', value: number(attribute.i) };
    case attributeTypes.string: return { type: 'string', value: text(attribute.s) };
    case attributeTypes.floats: return { type: 'floats', value: attribute.floats ?? [] };
    case attributeTypes.ints: return { type: 'ints', value: (attribute.ints ?? []).map(int64ToNumber) };
    case attributeTypes.strings: return { type: 'strings', value: (attribute.strings ?? []).map(text) };
    case attributeTypes.tensor: {
      if (!attribute.t) throw malformed(`Attribute '${attribute.name ?? ''}' is a tensor without a value`);
      return { type: 'tensor', value: readTensor(attribute.t, limits) };
    }
    case attributeTypes.graph: {
      if (!attribute.g) throw malformed(`Attribute '${attribute.name ?? ''}' is a graph without a value`);
      return { type: 'graph', value: readGraph(attribute.g, limits) };
    }
    default: return undefined;
  }
}

function readNode(node: WireNode, index: number, limits: ModelLimits): OnnxNode {
  const op = node.opType ?? '';
  // Names are optional in ONNX, and errors must be able to name the node.
  const name = node.name || node.output?.[0] || `${op}_${index}`;
  if (op === '') throw malformed(`Node '${name}' has no operator`, { node: name });
  const wire = node.attribute ?? [];
  atMost(`attributes of node '${name}'`, limits.attributesPerNode, wire.length);
  atMost(`inputs of node '${name}'`, limits.operandsPerNode, node.input?.length ?? 0);
  atMost(`outputs of node '${name}'`, limits.operandsPerNode, node.output?.length ?? 0);
  const attributes = new Map<string, Attribute>();
  for (const attribute of wire) {
    const read = readAttribute(attribute, limits);
    if (read !== undefined) attributes.set(attribute.name ?? '', read);
  }
  const domain = node.domain === 'ai.onnx' ? '' : (node.domain ?? '');
  return { name, op, domain, inputs: node.input ?? [], outputs: node.output ?? [], attributes, ...(node.overload ? { overload: node.overload } : {}) };
}

/** Files may leave names out, but two nodes of one name are not ONNX. */
function checkNames(nodes: readonly WireNode[]): void {
  const names = new Set<string>();
  for (const { name } of nodes) {
    if (!name) continue;
    if (names.has(name)) throw malformed(`Two nodes are named '${name}'`, { node: name });
    names.add(name);
  }
}

/** What is inside of an optional, a sequence, or an optional sequence; other types have no tensor. */
function unwrapped(type: WireType | null | undefined): { tensor: WireType['tensorType']; container?: OnnxContainer } {
  const inner = type?.optionalType?.elemType ?? type;
  const [optional, sequence] = [inner !== type, (inner?.sequenceType ?? undefined) !== undefined];
  const tensor = (sequence ? inner?.sequenceType?.elemType : inner)?.tensorType;
  return optional || sequence ? { tensor, container: { sequence, optional } } : { tensor };
}

function readValueInfo(info: WireValueInfo, limits: ModelLimits): OnnxValueInfo {
  const name = info.name ?? '';
  if (name === '') throw malformed('An input, output or value has no name');
  const { tensor, container } = unwrapped(info.type);
  const dtype = tensor ? dtypeOfWire(tensor.elemType ?? 0) : undefined;
  const narrow = narrowOfWire(tensor?.elemType ?? 0);
  const wire = tensor?.shape?.dim;
  const hasShape = tensor?.shape !== undefined && tensor.shape !== null;
  const dims = (wire ?? []).map((dim): OnnxDimension => {
    if (Object.hasOwn(dim, 'dimValue') && dim.dimValue !== undefined) {
      const size = int64ToNumber(dim.dimValue);
      // Some exporters write -1 or 0 where they mean "unknown".
      return size > 0 ? size : undefined;
    }
    return dim.dimParam || undefined;
  });
  atMost(`dimensions of '${name}'`, limits.rank, dims.length);
  return { name, ...(container === undefined ? {} : { container }), ...(dtype === undefined ? {} : { dtype }), ...(narrow === undefined ? {} : { narrow }), ...(hasShape ? { dims } : {}) };
}

function readGraph(graph: WireGraph, limits: ModelLimits): OnnxGraph {
  const nodes = graph.node ?? [];
  const tensors = graph.initializer ?? [];
  atMost('nodes', limits.nodes, nodes.length);
  atMost('initializers', limits.initializers, tensors.length);
  for (const list of [graph.input, graph.output, graph.valueInfo]) atMost('inputs, outputs or values', limits.values, list?.length ?? 0);
  if ((graph.sparseInitializer ?? []).length > 0) {
    throw new RuntimeError('E_MODEL_OP', 'Sparse initializers are not supported; save the model with dense weights', { details: { attribute: 'sparse_initializer' } });
  }
  checkNames(nodes);
  const initializers = new Map<string, TensorValue>();
  for (const tensor of tensors) {
    if (!tensor.name) throw malformed('An initializer has no name');
    if (initializers.has(tensor.name)) throw malformed(`Two initializers are named '${tensor.name}'`, { initializer: tensor.name });
    initializers.set(tensor.name, readTensor(tensor, limits));
  }
  return {
    name: graph.name ?? '',
    nodes: nodes.map((node, i) => readNode(node, i, limits)),
    initializers,
    inputs: (graph.input ?? []).map((info) => readValueInfo(info, limits)),
    outputs: (graph.output ?? []).map((info) => readValueInfo(info, limits)),
    valueInfo: (graph.valueInfo ?? []).filter((info) => info.name).map((info) => readValueInfo(info, limits)),
  };
}

function readFunction(wire: WireFunction, limits: ModelLimits): OnnxFunction {
  const { name = '', domain = '', overload = '', input = [], output = [], node = [], attributeProto = [] } = wire;
  atMost(`nodes of function '${name}'`, limits.nodes, node.length);
  atMost(`operands of function '${name}'`, limits.operandsPerNode, input.length + output.length);
  const defaults = attributeProto.flatMap((attribute): [string, Attribute][] => {
    const read = readAttribute(attribute, limits);
    return read === undefined ? [] : [[attribute.name ?? '', read]];
  });
  return { name, domain: domain === 'ai.onnx' ? '' : domain, overload, inputs: input, outputs: output, defaults: new Map(defaults), nodes: node.map((each, i) => readNode(each, i, limits)) };
}

/** Operators that multiply by their constants: an infinite one is a mistake there. Elsewhere it may be a bound, a fill, or a mask that is added to scores. */
const multiplyingOps = new Set([
  'Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'LSTM', 'GRU', 'RNN', 'Mul', 'Div', 'Einsum', 'PRelu', 'BatchNormalization', 'InstanceNormalization', 'LayerNormalization',
  'GroupNormalization', 'RMSNormalization', 'QuantizeLinear', 'DequantizeLinear', 'QLinearConv', 'QLinearMatMul', 'Resize', 'Upsample',
]);

function readersOf({ nodes }: OnnxGraph): Map<string, OnnxNode[]> {
  const readers = new Map<string, OnnxNode[]>();
  for (const node of nodes) {
    for (const input of node.inputs) {
      const list = readers.get(input);
      if (list === undefined) readers.set(input, [node]);
      else list.push(node);
    }
  }
  return readers;
}

/** Weights must be finite: one NaN makes every answer of a network meaningless, silently. What nobody reads may be anything. */
function checkValues(graph: OnnxGraph): void {
  let users: ReadonlyMap<string, readonly OnnxNode[]> | undefined;
  for (const [name, { data }] of graph.initializers) {
    if (!(data instanceof Float32Array) || allFinite(data)) continue;
    const bad = data.findIndex((value) => !Number.isFinite(value));
    users ??= readersOf(graph);
    const value = data[bad];
    const isNaN = data.some(Number.isNaN);
    const [consumer] = (users.get(name) ?? []).filter(({ op }) => isNaN || multiplyingOps.has(op));
    if (consumer === undefined) continue;
    const node = consumer.name;
    throw new RuntimeError('E_MODEL_VALUE', `Initializer '${name}' of node '${node}': element ${bad} is ${value}; expected finite weights`, {
      details: { initializer: name, node, element: bad },
    });
  }
}

/** The newest version of the file format whose fields are read. */
const newestIrVersion = 13;

function checkVersions(irVersion: number, opset: number | undefined, graph: OnnxGraph): void {
  if (irVersion < 1) throw malformed(`The model has no version of the ONNX format (ir_version is ${irVersion})`);
  if (irVersion > newestIrVersion) {
    throw new RuntimeError('E_MODEL_OP', `Expected version 1 to ${newestIrVersion} of the ONNX format but received ${irVersion}; save the model for an older one`, { details: { ir_version: irVersion } });
  }
  // The importer refuses operator sets beyond those that are known.
  if (opset !== undefined && opset >= 1 && opset <= newestOpset) checkNodes(graph, opset);
}

/**
 * Reads an ONNX model. The bytes are untrusted: counts, sizes and nesting are bounded, every tensor's data must fit its shape.
 * Names, node by node, and operands and attributes of every node are held to the ONNX specification, dead nodes included.
 * @throws RuntimeError E_MODEL_MALFORMED, E_MODEL_LIMIT, E_MODEL_OP (external or sparse data, a newer format), E_MODEL_VALUE
 */
export function parseModel(bytes: Uint8Array, limits: Partial<ModelLimits> = {}): OnnxModel {
  const bounds = { ...defaultLimits, ...limits };
  atMost('bytes of model file', bounds.fileBytes, bytes.length);
  const wire = decodeModel(bytes, bounds);
  if (!wire.graph) throw malformed('The bytes are not an ONNX model: there is no graph');
  const opsets = new Map<string, number>();
  for (const { domain, version } of wire.opsetImport ?? []) opsets.set(domain === 'ai.onnx' ? '' : (domain ?? ''), number(version));
  const graph = readGraph(wire.graph, bounds);
  const irVersion = number(wire.irVersion);
  checkVersions(irVersion, opsets.get(''), graph);
  checkValues(graph);
  return {
    irVersion,
    producerName: wire.producerName ?? '',
    producerVersion: wire.producerVersion ?? '',
    opsets,
    metadata: new Map((wire.metadataProps ?? []).map(({ key, value }) => [key ?? '', value ?? ''])),
    ...((wire.functions ?? []).length === 0 ? {} : { functions: (wire.functions ?? []).map((each) => readFunction(each, bounds)) }),
    graph,
  };
}
