import { RuntimeError } from '../errors.js';
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode } from '../onnx/types.js';
import type { Attribute } from './attributes.js';
import { isMinifloatName } from '../minifloat/stored.js';
import { absent, optionalOperand, optionalOutput } from './operands.js';

/** Calls within calls; a function that calls itself is deeper. */
const maximumDepth = 32;

const keyOf = (domain: string, name: string, overload = ''): string => `${domain}\0${name}\0${overload}`;

interface Inliner {
  readonly functions: ReadonlyMap<string, OnnxFunction>;
  readonly maximumNodes: number;
  count: number;
  calls: number;
}

/** What names and attributes of a function's body are, where it is called. */
interface Call {
  readonly rename: (name: string) => string;
  readonly attribute: (name: string) => Attribute | undefined;
  readonly depth: number;
}

function graphAt(inliner: Inliner, graph: OnnxGraph, call: Call): OnnxGraph {
  const nodes = graph.nodes.flatMap((node) => nodeAt(inliner, node, call));
  return {
    ...graph, nodes,
    initializers: new Map([...graph.initializers].map(([name, value]) => [call.rename(name), value])),
    inputs: graph.inputs.map((info) => ({ ...info, name: call.rename(info.name) })),
    outputs: graph.outputs.map((info) => ({ ...info, name: call.rename(info.name) })),
  };
}

/** A node as it is where its body is called: names and attributes resolved, calls of functions replaced by their bodies. */
function nodeAt(inliner: Inliner, node: OnnxNode, call: Call): OnnxNode[] {
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    const value = attribute.type === 'reference' ? call.attribute(attribute.value) : attribute;
    if (value !== undefined) attributes.set(name, value.type === 'graph' ? { type: 'graph', value: graphAt(inliner, value.value, call) } : value);
  }
  const here: OnnxNode = { ...node, inputs: node.inputs.map(call.rename), outputs: node.outputs.map(call.rename), attributes };
  const called = inliner.functions.get(keyOf(node.domain, node.op, node.overload));
  if (called !== undefined) return bodyOf(inliner, here, called, call.depth + 1);
  if (++inliner.count > inliner.maximumNodes) throw new RuntimeError('E_MODEL_LIMIT', `Expected at most ${inliner.maximumNodes} nodes once functions are written out`);
  return [here];
}

function bodyOf(inliner: Inliner, node: OnnxNode, called: OnnxFunction, depth: number): OnnxNode[] {
  if (depth > maximumDepth) throw new RuntimeError('E_MODEL_LIMIT', `Function '${called.name}': expected at most ${maximumDepth} calls within each other`, { details: { node: node.name, op: node.op } });
  const names = new Map<string, string>([[absent, absent]]);
  called.inputs.forEach((name, i) => names.set(name, node.inputs[i] ?? absent));
  called.outputs.forEach((name, i) => {
    const output = optionalOutput(node, i);
    if (output !== undefined && !called.inputs.includes(name)) names.set(name, output);
  });
  const prefix = `${node.name}/${called.name}${++inliner.calls}`;
  const call: Call = {
    depth,
    rename: (name) => names.get(name) ?? `${prefix}/${name}`,
    attribute: (name) => node.attributes.get(name) ?? called.defaults.get(name),
  };
  const body = called.nodes.flatMap((each) => nodeAt(inliner, { ...each, name: `${prefix}/${each.name}` }, call));
  // An output that is an input of the function, which no node of its body makes.
  const passed = called.outputs.flatMap((name, i) => {
    const [input, output] = [optionalOperand(node, called.inputs.indexOf(name)), optionalOutput(node, i)];
    if (!called.inputs.includes(name) || output === undefined) return [];
    return [{ name: `${prefix}/${name}`, op: 'Identity', domain: '', inputs: [input ?? absent], outputs: [output], attributes: new Map() }];
  });
  return [...body, ...passed];
}

/**
 * The graph of a model with its functions written out where they are called, but for those that make tensors of minifloats: what these make is
 * known when nodes are imported.
 * @throws RuntimeError E_MODEL_LIMIT: a function that calls itself, or more nodes than a graph may have
 */
export function inlineFunctions(model: OnnxModel, maximumNodes: number): OnnxGraph {
  const functions = new Map((model.functions ?? []).filter(({ domain, name }) => !isMinifloatName({ domain, op: name })).map((each) => [keyOf(each.domain, each.name, each.overload), each]));
  if (functions.size === 0) return model.graph;
  const inliner: Inliner = { functions, maximumNodes, count: 0, calls: 0 };
  return graphAt(inliner, model.graph, { rename: (name) => name, attribute: () => undefined, depth: 0 });
}
