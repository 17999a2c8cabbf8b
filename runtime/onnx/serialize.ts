import type { Attribute } from '../graph/attributes.js';
import { attributeTypes, ModelProto, type WireAttribute, type WireFunction, type WireGraph, type WireInt64, type WireModel, type WireNode, type WireType, type WireValueInfo } from './schema.js';
import { wireOfDtype, writeTensor } from './tensor-data.js';
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode, OnnxValueInfo } from './types.js';
import { toInt64 } from '../graph/tensor-value.js';

const encoder = new TextEncoder();

/** Numbers beyond 2^53 (INT64_MAX as "to the end" of a Slice) travel as two exact halves. */
function wireInt64(value: number): WireInt64 {
  if (Number.isSafeInteger(value)) return value;
  const exact = toInt64(value);
  const low = Number(BigInt.asIntN(32, exact));
  const high = Number(BigInt.asIntN(32, exact >> 32n));
  return { low, high, toNumber: () => value };
}

function writeAttribute(name: string, attribute: Attribute): WireAttribute {
  if (attribute.type === 'reference') return { name, refAttrName: attribute.value };
  const type = attributeTypes[attribute.type];
  switch (attribute.type) {
    case 'float': return { name, type, f: attribute.value };
    case 'int': return { name, type, i: wireInt64(attribute.value) };
    case 'string': return { name, type, s: encoder.encode(attribute.value) };
    case 'floats': return { name, type, floats: [...attribute.value] };
    case 'ints': return { name, type, ints: attribute.value.map(wireInt64) };
    case 'strings': return { name, type, strings: attribute.value.map((s) => encoder.encode(s)) };
    case 'tensor': return { name, type, t: writeTensor('', attribute.value) };
    case 'graph': return { name, type, g: writeGraph(attribute.value) };
  }
}

function writeValueInfo(info: OnnxValueInfo): WireValueInfo {
  if (info.dtype === undefined) return { name: info.name };
  const dim = info.dims?.map((d) => (typeof d === 'number' ? { dimValue: d } : typeof d === 'string' ? { dimParam: d } : {}));
  const tensorType = { elemType: wireOfDtype(info.dtype), ...(dim === undefined ? {} : { shape: { dim } }) };
  const { sequence = false, optional = false } = info.container ?? {};
  const inner: WireType = sequence ? { sequenceType: { elemType: { tensorType } } } : { tensorType };
  return { name: info.name, type: optional ? { optionalType: { elemType: inner } } : inner };
}

function writeNode(node: OnnxNode): WireNode {
  return {
    name: node.name,
    opType: node.op,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: [...node.attributes].map(([name, attribute]) => writeAttribute(name, attribute)),
    ...(node.overload === undefined ? {} : { overload: node.overload }),
  };
}

function writeFunction({ name, domain, overload, inputs, outputs, defaults, nodes }: OnnxFunction): WireFunction {
  return {
    name, domain, overload, input: [...inputs], output: [...outputs], node: nodes.map(writeNode),
    attributeProto: [...defaults].map(([key, attribute]) => writeAttribute(key, attribute)),
  };
}

function writeGraph(graph: OnnxGraph): WireGraph {
  return {
    name: graph.name,
    node: graph.nodes.map(writeNode),
    initializer: [...graph.initializers].map(([name, tensor]) => writeTensor(name, tensor)),
    input: graph.inputs.map(writeValueInfo),
    output: graph.outputs.map(writeValueInfo),
    valueInfo: graph.valueInfo.map(writeValueInfo),
  };
}

/** An ONNX file. The same model always gives the same bytes. */
export function serializeModel(model: OnnxModel): Uint8Array {
  const wire: WireModel = {
    irVersion: model.irVersion,
    producerName: model.producerName,
    producerVersion: model.producerVersion,
    opsetImport: [...model.opsets].map(([domain, version]) => ({ domain, version })),
    metadataProps: [...model.metadata].map(([key, value]) => ({ key, value })),
    graph: writeGraph(model.graph),
    ...(model.functions === undefined ? {} : { functions: model.functions.map((each) => ({ ...writeFunction(each), opsetImport: [...model.opsets].map(([domain, version]) => ({ domain, version })) })) }),
  };
  return ModelProto.encode(wire).finish();
}
