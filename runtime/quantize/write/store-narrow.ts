import type { Graph, Node } from '../../graph/graph.js';
import { int4Opset, raiseOpset } from '../../graph/raise-opset.js';
import { quantization } from '../../ops/views.js';

/** Values that a code of 4 bits can take. */
const int4Levels = 16;

/**
 * Weights of few enough levels as INT4, two of them a byte, in an operator set whose DequantizeLinear takes them. What the model computes stays the same.
 * Ternary ones are INT4 too: onnxruntime 1.30 knows INT2 from operator set 25 on, but then puts it into kernels that it has not got.
 * @param graph with quantization inserted
 * @param levels how many values stored tensors can take
 */
export function storeNarrow(graph: Graph, levels: ReadonlyMap<string, number>): Graph {
  const isNarrow = (node: Node): boolean => {
    if (node.op !== 'DequantizeLinear') return false;
    const { x } = quantization(node);
    return graph.constants.get(x)?.dtype === 'int8' && (levels.get(x) ?? 256) <= int4Levels;
  };
  const narrow = graph.nodes.filter(isNarrow);
  if (narrow.length === 0) return graph;
  const raised = raiseOpset(graph, 'E_QUANTIZE', int4Opset);
  const constants = new Map(raised.constants);
  for (const { x, zeroPoint } of narrow.map(quantization)) {
    for (const name of [x, zeroPoint]) {
      const value = name === undefined ? undefined : constants.get(name);
      if (name !== undefined && value !== undefined) constants.set(name, { ...value, dtype: 'int4' });
    }
  }
  return { ...raised, constants };
}
