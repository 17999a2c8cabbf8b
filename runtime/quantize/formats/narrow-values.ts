import { consumersOf, type Graph } from '../../graph/graph.js';
import type { Grid } from './grids.js';
import type { Layer, QuantizationPlan } from '../prepare/plan.js';
import { firstOutput, operand } from '../../graph/operands.js';

/** An activation as layers of fewer bits read it. */
export interface NarrowValue {
  value: string;
  levels: number;
  /** First outputs of the nodes that read it so. */
  readers: ReadonlySet<string>;
  /**
   * True: whoever makes the value writes these codes right away, since nobody else reads it. False: the value keeps its 256 codes (residual
   * sums and depthwise layers need them), and is looked up in a table of fewer for these readers.
   */
  replaces: boolean;
}

/** Name of a value in so many levels. */
export const narrowKey = (value: string, levels: number): string => `${levels} ${value}`;

/** Layers whose kernel clamps what it writes to the codes that there are. */
const clamping: ReadonlySet<Layer['kind']> = new Set(['weighted', 'binary', 'unary']);

/** @param grids by output of the layer; layers without one multiply in 8 bits */
export function narrowValues(graph: Graph, plan: QuantizationPlan, grids: ReadonlyMap<string, Grid>): NarrowValue[] {
  const consumers = consumersOf(graph.nodes);
  const makers = new Map(plan.layers.map((layer) => [layer.output, layer]));
  const found = new Map<string, NarrowValue & { readers: Set<string> }>();
  for (const layer of plan.layers) {
    const levels = grids.get(layer.output)?.activations ?? 256;
    const value = operand(layer.node, 0);
    if (levels === 256) continue;
    const key = narrowKey(value, levels);
    const narrow = found.get(key) ?? { value, levels, readers: new Set<string>(), replaces: false };
    narrow.readers.add(firstOutput(layer.node));
    found.set(key, narrow);
  }
  return [...found.values()].map((narrow) => {
    const { value, readers } = narrow;
    const maker = makers.get(value);
    const alone = (consumers.get(value) ?? []).every((node) => readers.has(firstOutput(node)));
    return { ...narrow, replaces: alone && maker !== undefined && clamping.has(maker.kind) && !graph.outputs.includes(value) && !plan.fixed.has(value) };
  });
}
