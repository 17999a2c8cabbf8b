import { RuntimeError } from '../errors.js';
import { typeOf, type Graph } from '../graph/graph.js';
import { sameShape, type TensorValue } from '../graph/tensor-value.js';
import { evaluateNode, inferNode } from './infer.js';

/**
 * Runs an inferred graph with the reference evaluation of each operator. Slow and plain: the oracle that passes and
 * lowering are tested with.
 * @param feeds by input name
 * @param wanted values to return, the graph's outputs by default
 * @throws RuntimeError E_INPUT
 */
export function interpret(graph: Graph, feeds: ReadonlyMap<string, TensorValue>, wanted: readonly string[] = graph.outputs): Map<string, TensorValue> {
  const values = new Map<string, TensorValue>(graph.constants);
  for (const name of graph.inputs) {
    const feed = feeds.get(name);
    const { dtype, shape } = typeOf(graph, name);
    if (feed === undefined) throw new RuntimeError('E_INPUT', `Input '${name}' is missing`);
    if (feed.dtype !== dtype || !sameShape(feed.dims, shape)) {
      throw new RuntimeError('E_INPUT', `Input '${name}': expected ${dtype} [${shape.join(', ')}] but received ${feed.dtype} [${feed.dims.join(', ')}]`);
    }
    values.set(name, feed);
  }
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => (name === '' ? undefined : values.get(name)));
    const types = inferNode(graph, node, graph.types, values);
    const results = evaluateNode(graph, node, inputs, types);
    node.outputs.forEach((name, i) => { if (results[i] !== undefined) values.set(name, results[i]); });
  }
  return new Map(wanted.map((name) => {
    const value = values.get(name);
    if (value === undefined) throw new RuntimeError('E_INPUT', `The graph has no value '${name}'`);
    return [name, value];
  }));
}
