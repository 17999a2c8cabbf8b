import { intAttribute } from '../../graph/attributes.js';
import { constantOf, producersOf, type Graph, type Node } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { elementCount } from '../../graph/tensor-value.js';

/** Operators that only move elements on their way from a distribution to its mean. */
const movers: ReadonlySet<string> = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Transpose', 'Identity']);

const isDepthwise = (graph: Graph, node: Node): boolean => {
  const group = intAttribute(node, 'group', 1);
  return node.op === 'Conv' && group > 1 && group === constantOf(graph, node.inputs[1])?.dims[0];
};

/** The mean of a distribution, as heads with distances in bins take it: a product with one constant vector, of what a Softmax makes. */
function isMean(graph: Graph, node: Node, producers: ReadonlyMap<string, Node>): boolean {
  const weights = constantOf(graph, node.inputs[1]);
  if (weights === undefined || Math.max(...weights.dims) !== elementCount(weights.dims)) return false;
  let maker = producers.get(operand(node, 0));
  while (maker !== undefined && movers.has(maker.op)) maker = producers.get(operand(maker, 0));
  return maker?.op === 'Softmax';
}

/** Where a network ends: behind its last layers with weights, values reach the outputs through arithmetic alone. */
export interface Heads {
  /** Values from which a layer with weights can be reached: tables of functions pay there. */
  before: ReadonlySet<string>;
  /** Nodes with weights that are part of that arithmetic themselves: small, and without a kernel from bytes to floats. */
  float: ReadonlySet<Node>;
}

/**
 * Finds the heads of a graph. A depthwise convolution and the mean of a distribution, which multiply next to nothing, end no head: they stay
 * float, and the layer before them is the last.
 * @param isWeighted whether a node multiplies by constant weights in 8 bits
 */
export function findHeads(graph: Graph, isWeighted: (node: Node) => boolean): Heads {
  const producers = producersOf(graph.nodes);
  const before = new Set<string>();
  const float = new Set<Node>();
  for (const node of [...graph.nodes].reverse()) {
    const ahead = node.outputs.some((output) => before.has(output));
    const last = !ahead && isWeighted(node);
    if (last && (isDepthwise(graph, node) || isMean(graph, node, producers))) float.add(node);
    else if (ahead || last) for (const input of node.inputs) before.add(input);
  }
  return { before, float };
}
