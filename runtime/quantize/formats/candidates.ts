import type { Graph, Node } from '../../graph/graph.js';
import { columnLayout } from '../observe/columns.js';
import type { Layer, QuantizationPlan } from '../prepare/plan.js';
import { firstOutput } from '../../graph/operands.js';

/** Why a layer keeps 8 bits although fewer were asked for, or float32 although int8 was. ruinous: most of the damage was done there. */
export type KeptReason = 'edge' | 'depthwise' | 'shallow' | 'sensitive' | 'ruinous';

/** Fewer products an output than this do not fill one step of a kernel; such layers are also the ones that rounding hurts most. */
const leastDepth = 16;

const weighted = ({ kind }: Layer): boolean => kind === 'weighted';

/** Of `nodes`, given in an order in which values flow, the first of `marked` on each path: none of them comes after another. */
function firstsOf(nodes: readonly Node[], marked: ReadonlySet<string>, reads: (node: Node) => readonly string[], writes: (node: Node) => readonly string[]): Set<string> {
  const behind = new Set<string>();
  const firsts = new Set<string>();
  for (const node of nodes) {
    const name = firstOutput(node);
    const after = reads(node).some((value) => behind.has(value));
    if (marked.has(name) && !after) firsts.add(name);
    if (marked.has(name) || after) for (const value of writes(node)) behind.add(value);
  }
  return firsts;
}

/** Layers that no other weighted layer comes before, or after. */
export function edgeLayers(graph: Graph, plan: QuantizationPlan): Set<Layer> {
  const layers = plan.layers.filter(weighted);
  const nameOf = (layer: Layer): string => firstOutput(layer.node);
  const marked = new Set(layers.map(nameOf));
  const firsts = firstsOf(graph.nodes, marked, (node) => node.inputs, (node) => node.outputs);
  const lasts = firstsOf([...graph.nodes].reverse(), marked, (node) => node.outputs, (node) => node.inputs);
  return new Set(layers.filter((layer) => firsts.has(nameOf(layer)) || lasts.has(nameOf(layer))));
}

export interface AssignmentRules {
  /** Also the layers that have no weighted layer before, or none after them. */
  edges: boolean;
  /** Also depthwise convolutions. */
  depthwise: boolean;
}

export interface Candidates {
  /** Layers that may have fewer than eight bits. */
  layers: Layer[];
  /** Why others may not, by output of the layer. */
  kept: Map<string, KeptReason>;
}

/** Which layers of a plan may have fewer than eight bits. Those with computed weights are none of the plan's weighted layers. */
export function findCandidates(graph: Graph, plan: QuantizationPlan, { edges, depthwise }: AssignmentRules): Candidates {
  const candidates: Candidates = { layers: [], kept: new Map() };
  const outer = edgeLayers(graph, plan);
  for (const layer of plan.layers.filter(weighted)) {
    const layout = columnLayout(graph, layer);
    if (layout === undefined) continue;
    const single = layout.groups > 1 && layout.groups === layout.outputs;
    const reason: KeptReason | undefined = outer.has(layer) && !edges ? 'edge' : single && !depthwise ? 'depthwise' : layout.depth < leastDepth && !single ? 'shallow' : undefined;
    if (reason === undefined) candidates.layers.push(layer);
    else candidates.kept.set(layer.output, reason);
  }
  return candidates;
}
