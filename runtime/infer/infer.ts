import { RuntimeError } from '../errors.js';
import { Expander } from '../expand/expander.js';
import { removeDead, type Graph, type Node } from '../graph/graph.js';
import type { ValueType } from '../graph/tensor-value.js';

export { evaluateNode, foldBudget, inferNode, knownOutputs, type FoldBudget, type Knowledge } from './infer-node.js';

/** Holds a node's outputs to the types that the file states. @throws RuntimeError E_MODEL_MALFORMED */
export function checkDeclared({ declared }: Graph, node: Node, types: ReadonlyMap<string, ValueType>): void {
  for (const name of node.outputs) {
    const [stated, found] = [declared?.get(name), types.get(name)?.dtype];
    if (stated === undefined || found === undefined || stated === found) continue;
    throw new RuntimeError('E_MODEL_MALFORMED', `${node.op} '${node.name}' makes '${name}' of type ${found}, but the file states ${stated}`, { details: { node: node.name, value: name } });
  }
}

/** Graphs that inference made: it would find the same again. */
const inferred = new WeakSet<Graph>();

/**
 * The graph with the type of every value. Shapes that the model computes (Shape, Gather, Concat, Reshape ...) are followed, and operators
 * that are defined by others are replaced (`expand/`).
 * @throws RuntimeError E_MODEL_OP, E_MODEL_SHAPE, E_MODEL_LIMIT, E_MODEL_MALFORMED (a stated type that is not the one that follows)
 */
export function inferShapes(graph: Graph): Graph {
  if (inferred.has(graph)) return graph;
  const expander = new Expander(graph);
  for (const node of graph.nodes) {
    expander.add(node);
    checkDeclared(graph, node, expander.types);
  }
  const { declared: _, ...typed } = expander.graphOf();
  const made = typed.nodes === graph.nodes ? typed : removeDead(typed);
  inferred.add(made);
  return made;
}
