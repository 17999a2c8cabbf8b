import { RuntimeError } from '../errors.js';
import { isMinifloatName, restoreMinifloats } from '../minifloat/stored.js';
import type { OnnxGraph, OnnxNode } from '../onnx/types.js';
import { strings, stringsAttribute, unsupported, type Attribute } from './attributes.js';
import type { Node } from './graph.js';
import { fromNumbers, int64s, type TensorValue } from './tensor-value.js';
import { operand, outputOf } from './operands.js';

/** Where a graph of a node (the body of a loop, a branch) reads values of the graph around it: their names, as its own nodes say them. */
export const capturesAttribute = 'captures';

/** Names by which other domains' operators go here: those with namesakes in ai.onnx of the same meaning by these. */
const sameMeaning = new Set(['QuantizeLinear', 'DequantizeLinear', 'Gelu', 'Trilu', 'Pad', 'GatherND']);

/** Domains of QONNX and Brevitas, which share their operators. */
const qonnxDomains = new Set(['qonnx.custom_op.general', 'finn.custom_op.general', 'onnx.brevitas']);

/** The operator of a node by one name, which tells its domain unless that is ai.onnx. */
export function qualifiedName({ op, domain }: Pick<OnnxNode, 'op' | 'domain'>): string {
  if (domain === '' || domain === 'ai.onnx' || (domain === 'com.microsoft' && sameMeaning.has(op))) return op;
  return qonnxDomains.has(domain) ? `qonnx.${op}` : `${domain}.${op}`;
}

/** Names that a graph's nodes read and do not make, those of the graphs within included. */
export function capturesOf(graph: OnnxGraph): string[] {
  const own = new Set([...graph.initializers.keys(), ...graph.inputs.map(({ name }) => name), ...graph.nodes.flatMap((node) => node.outputs)]);
  const read = new Set<string>();
  for (const node of graph.nodes) {
    for (const input of node.inputs) read.add(input);
    for (const attribute of node.attributes.values()) if (attribute.type === 'graph') for (const name of capturesOf(attribute.value)) read.add(name);
  }
  for (const { name } of graph.outputs) read.add(name);
  return [...read].filter((name) => name !== '' && !own.has(name));
}

/** Values of a Constant, which says them in one of six ways. */
function constantOf(node: OnnxNode): TensorValue | undefined {
  const [name, attribute] = [...node.attributes].find(([key]) => key.startsWith('value')) ?? [];
  if (attribute === undefined || attribute.type === 'reference') return undefined;
  switch (attribute.type) {
    case 'tensor': return attribute.value;
    case 'float': return fromNumbers('float32', [], [attribute.value]);
    case 'floats': return fromNumbers('float32', [attribute.value.length], attribute.value);
    case 'int': return fromNumbers('int64', [], [attribute.value]);
    case 'ints': return name === 'value_floats' ? fromNumbers('float32', [0], []) : int64s(attribute.value);
    default: return undefined;
  }
}

/** A node with the values that its graphs capture as further inputs, so that it is sorted, and lives, as they do. */
function withCaptures(node: OnnxNode): Node {
  const graphs = [...node.attributes.values()].flatMap((attribute) => (attribute.type === 'graph' ? [attribute.value] : []));
  const captures = [...new Set(graphs.flatMap(capturesOf))];
  const attributes: [string, Attribute][] = graphs.length === 0 ? [] : [[capturesAttribute, strings(captures)]];
  return { name: node.name, op: qualifiedName(node), inputs: [...node.inputs, ...captures], outputs: node.outputs, attributes: new Map([...node.attributes, ...attributes]) };
}

/** The operands of a node that has graphs, and what they capture: inner name to value. */
export function operandsOf(node: Node): { operands: readonly string[]; captures: ReadonlyMap<string, string> } {
  const names = stringsAttribute(node, capturesAttribute) ?? [];
  const count = node.inputs.length - names.length;
  return { operands: node.inputs.slice(0, count), captures: new Map(names.map((name, i) => [name, operand(node, count + i)])) };
}

const knownDomains = new Set(['', 'ai.onnx', 'ai.onnx.preview.training', 'com.microsoft', 'com.ms.internal.nhwc', ...qonnxDomains]);

/** Nodes without Constant and without tensors of minifloats, whose values join the constants. */
export function importNodes(graph: OnnxGraph): { nodes: Node[]; constants: Map<string, TensorValue> } {
  const constants = new Map(graph.initializers);
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    const restored = isMinifloatName(node) ? restoreMinifloats(node, graph.initializers) : undefined;
    if (restored === undefined && !knownDomains.has(node.domain)) {
      throw unsupported(node, `operators of domain '${node.domain}' are not supported; export the model with operators of ai.onnx, or with the function that defines this one`);
    }
    const value = node.op === 'Constant' ? constantOf(node) : restored;
    if (value === undefined) {
      nodes.push(withCaptures(node));
      continue;
    }
    const output = outputOf(node);
    if (constants.has(output)) throw new RuntimeError('E_MODEL_MALFORMED', `Value '${output}' is made twice, the second time by node '${node.name}'`);
    constants.set(output, value);
  }
  return { nodes, constants };
}
