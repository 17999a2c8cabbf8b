import type { OnnxModel, OnnxValueInfo } from '../onnx/types.js';
import { runtimeVersion } from '../version.js';
import { typeOf, type Graph, type Node } from './graph.js';

/** Oldest IR version that knows each operator set, from the ONNX versioning table. */
function irVersionFor(opset: number): number {
  if (opset >= 21) return 10;
  if (opset >= 19) return 9;
  if (opset >= 15) return 8;
  if (opset >= 12) return 7;
  if (opset >= 11) return 6;
  return opset >= 10 ? 5 : 4;
}

/** Names of nodes, of which ONNX takes each once: later nodes of a name that is taken get another one, derived from it. */
function uniqueNames(nodes: readonly Node[]): string[] {
  const taken = new Set(nodes.map(({ name }) => name));
  const given = new Set<string>();
  return nodes.map(({ name }) => {
    let unique = name;
    for (let i = 1; given.has(unique) || (unique !== name && taken.has(unique)); i++) unique = `${name}~${i}`;
    given.add(unique);
    return unique;
  });
}

/**
 * A graph as an ONNX model. The graph must be inferred and hold ONNX operators only (import, constant and batch-norm
 * folding keep it so; layout and fusion passes do not).
 */
export function graphToOnnx(graph: Graph): OnnxModel {
  const info = (name: string): OnnxValueInfo => {
    const { dtype, shape } = typeOf(graph, name);
    return { name, dtype, dims: shape };
  };
  const names = uniqueNames(graph.nodes);
  return {
    irVersion: irVersionFor(graph.opset),
    producerName: 'sterna',
    producerVersion: runtimeVersion,
    opsets: new Map([['', graph.opset]]),
    metadata: graph.metadata,
    graph: {
      name: graph.name === '' ? 'graph' : graph.name,
      nodes: graph.nodes.map((node, i) => ({ ...node, name: names[i] ?? node.name, domain: '' })),
      initializers: graph.constants,
      inputs: graph.inputs.map(info),
      outputs: graph.outputs.map(info),
      valueInfo: [],
    },
  };
}
