import { RuntimeError } from '../../runtime/errors.js';
import type { Graph, Node } from '../../runtime/graph/graph.js';
import { int64s, toNumbers, type ValueType } from '../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../runtime/infer/infer.js';

/** Operands that state a whole shape. */
const shapeOperand: Readonly<Record<string, number>> = { Reshape: 1, Expand: 1 };

/**
 * A graph for one sample as one for `batch` samples at once: shapes that it states begin with the batch. Undefined where that does not give every
 * output for each sample, as with constants that are concatenated with samples.
 * @param graph inferred, its shapes constants
 */
export function rebatched(graph: Graph, batch: number): Graph | undefined {
  const single = (value: string): boolean => graph.types.get(value)?.shape[0] === 1;
  if (batch === 1) return graph;
  if (![...graph.inputs, ...graph.outputs].every(single)) return undefined;
  const constants = new Map(graph.constants);
  const nodes = graph.nodes.map((node): Node => {
    const at = shapeOperand[node.op];
    const stated = at === undefined ? undefined : graph.constants.get(node.inputs[at] ?? '');
    if (at === undefined || stated === undefined || !single(node.inputs[0] ?? '') || !single(node.outputs[0] ?? '')) return node;
    const name = `${node.outputs[0] ?? node.name}.batched`;
    constants.set(name, int64s([...toNumbers(stated)].map((dim, i) => (i === 0 ? batch : dim))));
    return { ...node, inputs: node.inputs.map((input, i) => (i === at ? name : input)) };
  });
  const sized = ({ dtype, shape }: ValueType): ValueType => ({ dtype, shape: [batch, ...shape.slice(1)] });
  const types = new Map(graph.inputs.flatMap((input) => {
    const type = graph.types.get(input);
    return type === undefined ? [] : [[input, sized(type)] as const];
  }));
  try {
    const made = inferShapes({ ...graph, nodes, constants, types });
    const fits = graph.outputs.every((name) => JSON.stringify(made.types.get(name)?.shape) === JSON.stringify([batch, ...(graph.types.get(name)?.shape.slice(1) ?? [])]));
    return fits ? made : undefined;
  } catch (error) {
    if (error instanceof RuntimeError) return undefined; // shapes that do not fit a batch
    throw error;
  }
}
