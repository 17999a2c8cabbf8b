import type { Graph, Node } from '../../graph/graph.js';
import { int4Opset, raiseOpset } from '../prepare/raise-opset.js';

/** Values that a code of 4 bits can take. */
const int4Levels = 16;

/**
 * Weights of few enough levels as INT4, two of them a byte, in an operator set whose DequantizeLinear takes them. What the model computes stays the same.
 * Ternary ones are INT4 too: onnxruntime 1.30 knows INT2 from operator set 25 on, but then puts it into kernels that it has not got.
 * @param graph with quantization inserted
 * @param levels how many values stored tensors can take
 */
export function storeNarrow(graph: Graph, levels: ReadonlyMap<string, number>): Graph {
  const isNarrow = ({ op, inputs: [codes = ''] }: Node): boolean => op === 'DequantizeLinear' && graph.constants.get(codes)?.dtype === 'int8' && (levels.get(codes) ?? 256) <= int4Levels;
  const narrow = graph.nodes.filter(isNarrow);
  if (narrow.length === 0) return graph;
  const raised = raiseOpset(graph, int4Opset);
  const constants = new Map(raised.constants);
  for (const { inputs: [codes = '', , zeroPoint = ''] } of narrow) {
    for (const name of [codes, zeroPoint]) {
      const value = constants.get(name);
      if (value !== undefined) constants.set(name, { ...value, dtype: 'int4' });
    }
  }
  return { ...raised, constants };
}
