/**
 * Which pixels of a value belong to which cells of the picture. A pixel is what all axes of a value but the last index; a map [1, H, W, C] has
 * one for each cell of its level, a head of it that was reshaped to [1, H * W * A, C] has A, and a concatenation of heads has those of several levels.
 */
import { typeOf, type Graph, type Node } from '../graph/graph.js';
import type { Shape } from '../graph/tensor-value.js';
import { mapFlow, sameFlow, throughPixels, type Flow, type FlowContext, type FlowRule, type Grid } from '../ops/cell-flow.js';
import { needsBroadcast, needsSame } from '../ops/regions.js';
import { recordOf } from '../ops/registry.js';
import * as views from '../ops/views.js';
import { planesOf, toPixels } from './planes.js';

function ruleOf(node: Node): FlowRule | undefined {
  const { cells, needs } = recordOf(node) ?? {};
  return cells ?? (needs === needsSame || needs === needsBroadcast ? throughPixels : undefined);
}

/** Channels of a picture, at most. */
const pictureChannels = 4;

/** An input [1, H, W, C] or [1, C, H, W] with the channels of a picture. */
function isPicture(shape: Shape): 'pixels' | 'planes' | undefined {
  if (shape.length !== 4 || shape[0] !== 1) return undefined;
  if ((shape[3] ?? 0) <= pictureChannels) return 'pixels';
  return (shape[1] ?? 0) <= pictureChannels ? 'planes' : undefined;
}

export interface PictureFlow {
  /** The picture's input, and its size. */
  readonly input: string;
  readonly grid: Grid;
  /** Of every value that has one. */
  readonly flows: ReadonlyMap<string, Flow>;
}

/**
 * Follows the cells of the picture through a graph of core operators. Undefined where the graph does not have exactly one picture among its inputs.
 */
export function followPicture(graph: Graph): PictureFlow | undefined {
  const shape = (value: string): Shape => typeOf(graph, value).shape;
  const pictures = graph.inputs.filter((input) => isPicture(shape(input)) !== undefined);
  const [input] = pictures;
  if (input === undefined || pictures.length > 1) return undefined;
  const flows = new Map<string, Flow>();
  const planes = new Map<string, Grid>();
  const asPixels = isPicture(shape(input)) === 'pixels';
  const [, a = 1, b = 1, c = 1] = shape(input);
  const grid = asPixels ? { rows: a, columns: b } : { rows: b, columns: c };
  if (asPixels) flows.set(input, mapFlow(shape(input)));
  else planes.set(input, grid);
  const context: FlowContext = {
    shape, flow: (value) => flows.get(value), constant: (value) => graph.constants.has(value),
    isMap: (value) => flows.get(value) !== undefined && sameFlow(flows.get(value), mapFlow(shape(value))),
  };
  for (const node of graph.nodes) {
    const { x, output: y } = views.single(node);
    const rule = ruleOf(node);
    const plane = planesOf(node, planes, context, rule === throughPixels);
    if (plane !== undefined) planes.set(y, plane);
    if (planes.has(x) && toPixels(node, shape(x), shape(y))) flows.set(y, mapFlow(shape(y)));
    else if (plane === undefined && rule !== undefined) flows.set(y, rule(node, context));
  }
  return { input, grid, flows };
}
