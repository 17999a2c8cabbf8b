/**
 * Which pixels of a value belong to which cells of the picture. A pixel is what all axes of a value but the last index; a map [1, H, W, C] has
 * one for each cell of its level, a head of it that was reshaped to [1, H * W * A, C] has A, and a concatenation of heads has those of several levels.
 */
import { intAttribute, requiredInt, requiredInts } from '../graph/attributes.js';
import { operand, outputOf } from '../graph/operands.js';
import { typeOf, type Graph, type Node } from '../graph/graph.js';
import { elementCount, type Shape } from '../graph/tensor-value.js';
import { coreSlice } from '../ops/core.js';
import { nhwcGeometry } from '../ops/convolution.js';
import { needsBroadcast, needsSame } from '../ops/regions.js';
import { recordOf } from '../ops/registry.js';
import * as views from '../ops/views.js';
import type { Flow, FlowContext, Grid, Piece } from './flow-types.js';
import { planesOf, spansAxis, toPixels } from './planes.js';

type FlowRule = (node: Node, context: FlowContext) => Flow;

const lastDim = (shape: Shape): number => shape.at(-1) ?? 1;
const pixelsOf = (shape: Shape): number => elementCount(shape) / Math.max(1, lastDim(shape));
const same = (a: Flow, b: Flow): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The flow of a map: one pixel a cell. A map of one cell is no grid. */
export function mapFlow(shape: Shape): Flow {
  const [batch = 0, rows = 0, columns = 0] = shape;
  return shape.length === 4 && batch === 1 && rows * columns > 1 ? [{ rows, columns, pixels: 1, first: 0 }] : undefined;
}

/** Each pixel of the output comes from the same pixel of the operands, or from one that all share. */
const pixelwise: FlowRule = (node, context) => {
  const pixels = pixelsOf(context.shape(outputOf(node)));
  let flow: Flow;
  for (const input of node.inputs) {
    if (input === '' || context.constant(input) || pixelsOf(context.shape(input)) === 1) continue;
    const own = context.flow(input);
    if (own === undefined || pixelsOf(context.shape(input)) !== pixels || (flow !== undefined && !same(flow, own))) return undefined;
    flow = own;
  }
  return flow;
};

/** Windows over a map: whatever they reach, the output is a map of its own grid. */
const window: FlowRule = (node, context) => (context.isMap(operand(node, 0)) ? mapFlow(context.shape(outputOf(node))) : undefined);

/** 1x1 of stride 1 works on pixels of any kind; a sum that is added has to be of the same cells. */
const convolution: FlowRule = (node, context) => {
  const { x, weights, output } = views.convolution(node);
  const shape = context.shape(x);
  const { kernel, strides, pads, group } = nhwcGeometry(node, shape, context.shape(weights));
  const pointwise = group === 1 && [...kernel, ...strides].every((side) => side === 1) && pads.every((pad) => pad === 0);
  const flow = pointwise ? context.flow(x) : window(node, context);
  const added = node.inputs.slice(2).filter((input) => input !== '' && !context.constant(input));
  return added.every((input) => pixelsOf(context.shape(input)) !== pixelsOf(context.shape(output)) || same(context.flow(input), flow)) ? flow : undefined;
};

/** Pixels are cut into smaller ones, or the pixels of a cell are joined. */
const view: FlowRule = (node, context) => {
  const x = operand(node, 0);
  const [from, to] = [lastDim(context.shape(x)), lastDim(context.shape(outputOf(node)))];
  const scaled = context.flow(x)?.map((piece) => ({ ...piece, pixels: (piece.pixels * from) / to, first: (piece.first * from) / to }));
  return scaled?.every(({ pixels, first }) => Number.isInteger(pixels) && Number.isInteger(first)) === true ? scaled : undefined;
};

/** Channels next to each other, or pixels one after the other. */
const concatenation: FlowRule = (node, context) => {
  const shape = context.shape(outputOf(node));
  const axis = intAttribute(node, 'axis', 0);
  if (axis === shape.length - 1) return pixelwise(node, context);
  if (elementCount(shape.slice(0, axis)) !== 1) return undefined;
  const pieces: Piece[] = [];
  let start = 0;
  for (const input of node.inputs) {
    const flow = context.flow(input);
    if (flow === undefined && !context.constant(input)) return undefined;
    for (const piece of flow ?? []) pieces.push({ ...piece, first: piece.first + start });
    start += pixelsOf(context.shape(input));
  }
  return pieces.length === 0 ? undefined : pieces;
};

/** Some channels of every pixel, or every n-th pixel of a map (a space-to-depth is made of these). */
const slice: FlowRule = (node, context) => {
  const x = operand(node, 0);
  const shape = context.shape(x);
  const { extent, steps } = coreSlice(node);
  if (extent.slice(0, -1).every((size, axis) => size === shape[axis] && (steps[axis] ?? 1) > 0)) return context.flow(x);
  return context.isMap(x) && [1, 2].every((axis) => spansAxis(node, shape[axis] ?? 1, axis)) ? mapFlow(context.shape(outputOf(node))) : undefined;
};

/** Axes change places within a cell; those before them stay. */
const transposition: FlowRule = (node, context) => {
  const x = operand(node, 0);
  const [from, to, perm] = [context.shape(x), context.shape(outputOf(node)), requiredInts(node, 'perm')];
  let kept = 0;
  while (perm[kept] === kept && kept < perm.length - 1) kept++;
  const [before, after] = [elementCount(from.slice(kept, -1)), elementCount(to.slice(kept, -1))];
  const moved = context.flow(x)?.map((piece) => ({ ...piece, pixels: (piece.pixels / before) * after, first: (piece.first / before) * after, whole: piece.pixels % before === 0 && piece.first % before === 0 }));
  return moved?.every(({ whole }) => whole) === true ? moved.map(({ whole: _, ...piece }) => piece) : undefined;
};

/** A result for each pixel, where nothing but the last axis is gone. */
const alongPixels = (axesOf: (node: Node) => readonly number[]): FlowRule => (node, context) => {
  const x = operand(node, 0);
  const last = context.shape(x).length - 1;
  return axesOf(node).every((axis) => axis === last) ? context.flow(x) : undefined;
};

/** The others that are not element by element compute everything, and so do all that read them. */
const rules: Readonly<Record<string, FlowRule>> = {
  NhwcConv: convolution, ConvQ8: convolution, ConvQ8F32: convolution,
  NhwcPool: window, PoolQ8: window, NhwcResize: window, ResizeQ8: window, PadNd: window, Interleave: window, ResampleAxis: window,
  View: view, Concat: concatenation, StridedSlice: slice, Transpose: transposition,
  AxisSoftmax: alongPixels((node) => [requiredInt(node, 'axis')]), ArgReduce: alongPixels((node) => [requiredInt(node, 'axis')]),
  Reduce: alongPixels((node) => requiredInts(node, 'axes')),
};

function ruleOf(node: Node): FlowRule | undefined {
  if (Object.hasOwn(rules, node.op)) return rules[node.op];
  const needs = recordOf(node)?.needs;
  return needs === needsSame || needs === needsBroadcast ? pixelwise : undefined;
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
    isMap: (value) => flows.get(value) !== undefined && same(flows.get(value), mapFlow(shape(value))),
  };
  for (const node of graph.nodes) {
    const { x, output: y } = views.single(node);
    const rule = ruleOf(node);
    const plane = planesOf(node, planes, context, rule === pixelwise);
    if (plane !== undefined) planes.set(y, plane);
    if (planes.has(x) && toPixels(node, shape(x), shape(y))) flows.set(y, mapFlow(shape(y)));
    else if (plane === undefined && rule !== undefined) flows.set(y, rule(node, context));
  }
  return { input, grid, flows };
}
