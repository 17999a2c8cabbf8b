/** How the cells of a picture pass through operators: which pixels of the output belong to which cells (runtime/incremental/flow.ts). */
import { intAttribute, requiredInts } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { operand, outputOf } from '../graph/operands.js';
import { elementCount, type Shape } from '../graph/tensor-value.js';

/** The grid of the maps of one size. */
export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

/** Pixels `first` and following: `pixels` for each cell of a grid, row-major. */
export interface Piece extends Grid {
  readonly pixels: number;
  readonly first: number;
}

/** The pieces of a value, in the order of its pixels, all of them. Undefined: cells of the picture cannot be told apart in it. */
export type Flow = readonly Piece[] | undefined;

/** What a rule knows of the values that a node reads. */
export interface FlowContext {
  shape(value: string): Shape;
  flow(value: string): Flow;
  constant(value: string): boolean;
  /** Whether a value is a map [1, H, W, C] whose pixels are the cells of its grid. */
  isMap(value: string): boolean;
}

/** The flow of a node's output. */
export type FlowRule = (node: Node, context: FlowContext) => Flow;

const lastDim = (shape: Shape): number => shape.at(-1) ?? 1;
export const pixelsOf = (shape: Shape): number => elementCount(shape) / Math.max(1, lastDim(shape));
export const sameFlow = (a: Flow, b: Flow): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The flow of a map: one pixel a cell. A map of one cell is no grid. */
export function mapFlow(shape: Shape): Flow {
  const [batch = 0, rows = 0, columns = 0] = shape;
  return shape.length === 4 && batch === 1 && rows * columns > 1 ? [{ rows, columns, pixels: 1, first: 0 }] : undefined;
}

/** Each pixel of the output comes from the same pixel of the operands, or from one that all share. */
export const throughPixels: FlowRule = (node, context) => {
  const pixels = pixelsOf(context.shape(outputOf(node)));
  let flow: Flow;
  for (const input of node.inputs) {
    if (input === '' || context.constant(input) || pixelsOf(context.shape(input)) === 1) continue;
    const own = context.flow(input);
    if (own === undefined || pixelsOf(context.shape(input)) !== pixels || (flow !== undefined && !sameFlow(flow, own))) return undefined;
    flow = own;
  }
  return flow;
};

/** Windows over a map: whatever they reach, the output is a map of its own grid. */
export const throughWindow: FlowRule = (node, context) => (context.isMap(operand(node, 0)) ? mapFlow(context.shape(outputOf(node))) : undefined);

/** Pixels are cut into smaller ones, or the pixels of a cell are joined. */
export const throughView: FlowRule = (node, context) => {
  const x = operand(node, 0);
  const [from, to] = [lastDim(context.shape(x)), lastDim(context.shape(outputOf(node)))];
  const scaled = context.flow(x)?.map((piece) => ({ ...piece, pixels: (piece.pixels * from) / to, first: (piece.first * from) / to }));
  return scaled?.every(({ pixels, first }) => Number.isInteger(pixels) && Number.isInteger(first)) === true ? scaled : undefined;
};

/** Channels next to each other, or pixels one after the other. */
export const throughConcatenation: FlowRule = (node, context) => {
  const shape = context.shape(outputOf(node));
  const axis = intAttribute(node, 'axis', 0);
  if (axis === shape.length - 1) return throughPixels(node, context);
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

/** Every `steps`-th place along each axis, `extent` of them. */
interface Steps {
  readonly steps: readonly number[];
  readonly extent: readonly number[];
}

/** Whether a slice takes an axis from one end to the other, every step-th place of it. */
export function spansAxis({ extent, steps }: Steps, size: number, axis: number): boolean {
  const step = steps[axis] ?? 1;
  return step > 0 && (extent[axis] ?? 0) * step + step > size;
}

/** Some channels of every pixel, or every n-th pixel of a map (a space-to-depth is made of these). */
export const throughSlice = (rangeOf: (node: Node) => Steps): FlowRule => (node, context) => {
  const x = operand(node, 0);
  const shape = context.shape(x);
  const range = rangeOf(node);
  const { extent, steps } = range;
  if (extent.slice(0, -1).every((size, axis) => size === shape[axis] && (steps[axis] ?? 1) > 0)) return context.flow(x);
  return context.isMap(x) && [1, 2].every((axis) => spansAxis(range, shape[axis] ?? 1, axis)) ? mapFlow(context.shape(outputOf(node))) : undefined;
};

/** Axes change places within a cell; those before them stay. */
export const throughTransposition: FlowRule = (node, context) => {
  const x = operand(node, 0);
  const [from, to, perm] = [context.shape(x), context.shape(outputOf(node)), requiredInts(node, 'perm')];
  let kept = 0;
  while (perm[kept] === kept && kept < perm.length - 1) kept++;
  const [before, after] = [elementCount(from.slice(kept, -1)), elementCount(to.slice(kept, -1))];
  const moved = context.flow(x)?.map((piece) => ({ ...piece, pixels: (piece.pixels / before) * after, first: (piece.first / before) * after, whole: piece.pixels % before === 0 && piece.first % before === 0 }));
  return moved?.every(({ whole }) => whole) === true ? moved.map(({ whole: _, ...piece }) => piece) : undefined;
};

/** A result for each pixel, where nothing but the last axis is gone. */
export const alongPixels = (axesOf: (node: Node) => readonly number[]): FlowRule => (node, context) => {
  const x = operand(node, 0);
  const last = context.shape(x).length - 1;
  return axesOf(node).every((axis) => axis === last) ? context.flow(x) : undefined;
};
