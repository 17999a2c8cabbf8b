import { parseModel } from '../../onnx/parse.js';
import { graphFromOnnx } from '../../graph/import.js';
import { producersOf, type Graph, type Node } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';

/** Operators that leave values as they are, so that an output behind them still lies on the grid. */
const movers: ReadonlySet<string> = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose', 'Identity', 'Slice']);

function stepOf(graph: Graph, producers: ReadonlyMap<string, Node>, output: string): number | undefined {
  let node = producers.get(output);
  while (node !== undefined && movers.has(node.op)) node = producers.get(operand(node, 0));
  if (node?.op !== 'DequantizeLinear' && node?.op !== 'QuantizeLinear') return undefined;
  const scale = graph.constants.get(operand(node, 1));
  if (scale === undefined || scale.data.length !== 1) return undefined;
  // A model may put out the integers themselves; their step is one.
  return node.op === 'QuantizeLinear' ? 1 : Number(scale.data[0]);
}

/** Quantization step of each output of a QDQ model that has one: the scale of the DequantizeLinear that makes it. */
export function outputSteps(model: Uint8Array): Map<string, number> {
  const graph = graphFromOnnx(parseModel(model));
  const producers = producersOf(graph.nodes);
  const steps = new Map<string, number>();
  for (const output of graph.outputs) {
    const step = stepOf(graph, producers, output);
    if (step !== undefined) steps.set(output, step);
  }
  return steps;
}
