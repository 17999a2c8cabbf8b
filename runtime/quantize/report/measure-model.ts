import { typeOf, type Graph } from '../../graph/graph.js';
import { openObserved, type Feeds } from '../observe/calibrate.js';
import type { QuantizationPlan } from '../prepare/plan.js';
import type { Calibrated } from '../write/carry-out.js';
import type { QuantizedGraph } from '../write/insert.js';
import { measureFidelity, type Fidelity } from './fidelity.js';

/** Results that are not quantized, to be measured too: of layers that stay float, and of the last ones in 8 bits. */
const floatOutputs = (graph: Graph, plan: QuantizationPlan): string[] =>
  [...plan.floatLayers, ...plan.layers].map((layer) => layer.output).filter((value) => value !== '' && typeOf(graph, value).dtype === 'float32');

/** Runs the float and the quantized graph side by side, and measures every value that both have. */
export async function measureModel({ graph, plan, engine, agreement }: Calibrated, qdq: QuantizedGraph, samples: Iterable<Feeds>): Promise<Fidelity> {
  const observed = [...new Set([...plan.values, ...floatOutputs(graph, plan)])];
  const carriers = new Map(observed.map((value) => [value, qdq.names.get(value) ?? value]));
  const float = await openObserved(graph, observed, engine);
  try {
    const quantized = await openObserved(qdq.graph, carriers.values(), engine);
    return await measureFidelity({ float, quantized, names: carriers }, graph.outputs, samples, agreement).finally(() => quantized.close());
  } finally {
    await float.close();
  }
}
