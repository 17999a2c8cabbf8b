import { stripBytes, type StripShape } from '../../kernels/binding/index.js';
import { maxDepthwiseRows } from '../../kernels/binding/tables.js';
import { typeOf, consumersOf, type Graph, type Node } from '../graph/graph.js';
import { programBytes, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { isDepthwise, nhwcGeometry } from '../ops/convolution.js';
import { convolution, transpose } from '../ops/views.js';
import { alignBlock, type Block } from './arena.js';
import { type Interval } from './liveness.js';
import { pixelStride } from './pixel-stride.js';

/** Convolutions that follow each other and can make their maps a few rows at a time (kernels/engine/strips.h). */
export interface StripGroup {
  readonly nodes: readonly Node[];
  /** Steps of the first and the last node. */
  readonly steps: Interval;
  /** The values between the nodes, which then are nowhere as a whole. */
  readonly between: readonly string[];
  /** What a thread holds of them, bytes: the engine says. */
  readonly scratchBytes: number;
  /** Why it is faster than node by node, for people; empty where it takes about as long. */
  readonly faster: string;
}

const kib = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`;

/** The scratch that a strip costs is counted for so many threads: a program does not know how many will run it, and small boards have four. */
const countedThreads = 4;

/** Strips save time where a map that is not made as a whole would take so many bytes: it would leave the L2 cache before it is read. */
const largeMapBytes = 1024 * 1024;

/** A convolution as strips see it, or the transposition to channels last before the first one. */
interface Layer {
  readonly node: Node;
  readonly weights?: TensorValue;
  readonly output: string;
  readonly kind: 'depthwise' | 'pointwise' | 'dense' | 'transposition';
  /** Output row r reads the input rows [r * stride - pad, + taps). */
  readonly taps: number;
  readonly stride: number;
  readonly x: Shape;
  readonly y: Shape;
}

/** From channels first to channels last, of the floats of one picture. */
function transpositionOf(graph: Graph, node: Node): Layer | undefined {
  const { x: input, output, perm } = transpose(node);
  const [{ shape: x, dtype }, { shape: y }] = [typeOf(graph, input), typeOf(graph, output)];
  if (dtype !== 'float32' || perm.join() !== '0,2,3,1' || x[0] !== 1 || x.some((size, axis) => axis > 0 && size < 2)) return undefined;
  const [n = 1, height = 1, width = 1, channels = 1] = y;
  return { node, output, kind: 'transposition', taps: 1, stride: 1, x: [n, height, width, channels], y };
}

/** What a strip can do with a node: nothing where it is undefined. */
function layerOf(graph: Graph, node: Node): Layer | undefined {
  if (node.op === 'Transpose') return transpositionOf(graph, node);
  if (node.op !== 'ConvQ8' && node.op !== 'NhwcConv') return undefined;
  const { x: input, weights, output } = convolution(node);
  const w = graph.constants.get(weights);
  if (w === undefined) return undefined;
  const [x, y] = [typeOf(graph, input).shape, typeOf(graph, output).shape];
  if (x.length !== 4 || x[0] !== 1) return undefined;
  const { kernel, strides, dilations, pads, group } = nhwcGeometry(node, x, w.dims);
  const layer = { node, weights: w, output, taps: (kernel[0] - 1) * dilations[0] + 1, stride: strides[0], x, y };
  if (isDepthwise(group, x[3], y[3]) && kernel[0] <= maxDepthwiseRows) return { ...layer, kind: 'depthwise' };
  if (kernel[0] > 1 || kernel[1] > 1 || group > 1 || pads.some((pad) => pad > 0)) return { ...layer, kind: 'dense' };
  return strides[0] === 1 && strides[1] === 1 ? { ...layer, kind: 'pointwise' } : undefined;
}

/** Whether the engine may run a layer on planes of bits, which know no strips: it decides when it loads the program. */
const mayUseBits = ({ node, kind, weights }: Layer): boolean => node.op === 'ConvQ8' && kind !== 'depthwise' && weights !== undefined && toNumbers(weights).every((value) => Math.abs(value) <= 1);

/** Bytes of a row of a map that has its memory for itself, as storage places it. */
function rowBytes(graph: Graph, value: string): number {
  const { shape: [, , width = 1, channels = 1], dtype } = typeOf(graph, value);
  return width * pixelStride(dtype, channels) * programBytes(dtype);
}

/** A layer of a strip as the engine sees it. */
function shapeOf(graph: Graph, { output, taps, stride, x: [, inputRows = 1], y: [, outputRows = 1] }: Layer): StripShape {
  return { inputRows, outputRows, outputRowBytes: rowBytes(graph, output), taps, stride };
}

export interface StripSearch {
  readonly groups: readonly StripGroup[];
  /** Why a depthwise layer is in none of them. */
  readonly refused: ReadonlyMap<Node, string>;
}

/** Layers that follow each other, the first at step `first`, as a strip. */
function groupOf(graph: Graph, members: readonly Layer[], first: number): StripGroup {
  const between = members.slice(0, -1);
  const largest = Math.max(...between.map((layer) => (layer.y[1] ?? 1) * rowBytes(graph, layer.output)));
  const floats = members.every(({ node }) => node.op !== 'ConvQ8');
  return {
    nodes: members.map(({ node }) => node),
    steps: { first, last: first + members.length - 1 },
    between: between.map(({ output }) => output),
    scratchBytes: stripBytes(members.map((layer) => shapeOf(graph, layer))),
    faster: floats && largest >= largeMapBytes ? `a map of ${kib(largest)} between them stays in the cache` : '',
  };
}

/**
 * The strips that a graph allows: a depthwise convolution and the pointwise one that reads it, with the convolution before where nobody else
 * reads that one; and a convolution of floats that reads a picture with channels first, with the transposition before it. They follow each
 * other in the graph, and no two strips have a node in common.
 */
export function findStrips(graph: Graph): StripSearch {
  const consumers = consumersOf(graph.nodes);
  const layers = graph.nodes.map((node) => layerOf(graph, node));
  const passes = (from: Layer, to: Layer): boolean => {
    const value = from.output;
    const alone = consumers.get(value)?.length === 1 && !graph.outputs.includes(value);
    const alike = from.kind === 'transposition' ? to.node.op === 'NhwcConv' && to.kind === 'dense' : to.kind !== 'transposition' && from.node.op === to.node.op;
    return alone && to.node.inputs.indexOf(value) === 0 && to.node.inputs.lastIndexOf(value) === 0 && alike;
  };
  const groups: StripGroup[] = [];
  const refused = new Map<Node, string>();
  let free = 0; // the first step that no strip has
  const add = (members: readonly Layer[], last: number): void => {
    groups.push(groupOf(graph, members, last + 1 - members.length));
    free = last + 1;
  };
  /** The layer before a step, where it passes its output to that step's alone and no other strip has it. */
  const before = (step: number): Layer[] => {
    const [layer, next] = [step > free ? layers[step - 1] : undefined, layers[step]];
    return layer !== undefined && next !== undefined && layer.kind !== 'depthwise' && passes(layer, next) && !mayUseBits(layer) ? [layer] : [];
  };
  const refuse = (step: number, { node }: Layer, reason: string): void => {
    refused.set(node, reason);
    const dense = layers[step - 1];
    if (dense?.kind === 'dense' && step > free && before(step - 1).length > 0) add([...before(step - 1), dense], step - 1);
  };
  layers.forEach((layer, step) => {
    if (layer === undefined) return;
    const after = layers[step + 1];
    if (layer.kind === 'dense' && before(step).length > 0) {
      // A depthwise layer behind it takes both into its own strip.
      if (after?.kind !== 'depthwise' || !passes(layer, after)) add([...before(step), layer], step);
      return;
    }
    if (layer.kind !== 'depthwise') return;
    if (after?.kind !== 'pointwise' || !passes(layer, after)) return refuse(step, layer, 'its output is not read by exactly one 1x1 layer');
    if (mayUseBits(after)) return refuse(step, layer, 'the next layer may run on bits');
    const expanded = before(step);
    add([...(expanded.length > 0 ? before(step - 1) : []), ...expanded, layer, after], step + 1);
  });
  return { groups, refused };
}

/** A strip that could be, by the blocks of the plan without any. */
export interface StripCandidate {
  readonly steps: Interval;
  /** Indices of the blocks that it needs no memory for. */
  readonly between: readonly number[];
  readonly scratchBytes: number;
}

export interface StripDecision {
  readonly chosen: boolean;
  readonly reason: string;
}

/**
 * Which candidates become strips: those without which the arena could not be as small as it can be with all of them. What
 * is alive at a step outside of a strip does not depend on the strip, so each is decided by itself. None do if the scratch
 * of a few threads takes what the arena gains.
 */
export function chooseStrips(blocks: readonly Block[], candidates: readonly StripCandidate[], steps: number): StripDecision[] {
  // By step from -1 on: bytes that are alive, and bytes of blocks that begin there.
  const [alive, begins] = [new Array<number>(steps + 3).fill(0), new Array<number>(steps + 3).fill(0)];
  for (const { bytes, life } of blocks) {
    begins[life.first + 1] = (begins[life.first + 1] ?? 0) + alignBlock(bytes);
    alive[life.last + 2] = (alive[life.last + 2] ?? 0) - alignBlock(bytes);
  }
  let load = 0;
  for (const [i, begun] of begins.entries()) alive[i] = load += (alive[i] ?? 0) + begun;
  const peakOf = (loads: readonly number[]): number => loads.reduce((most, bytes) => Math.max(most, bytes), 0);
  const costs = candidates.map(({ steps: { first, last }, between }) => {
    const later = begins.slice(first + 2, last + 2).reduce((sum, bytes) => sum + bytes, 0);
    return {
      opByOp: peakOf(alive.slice(first + 1, last + 2)),
      inStrip: (alive[first + 1] ?? 0) + later - between.reduce((sum, block) => sum + alignBlock(blocks[block]?.bytes ?? 0), 0),
    };
  });
  const outside = alive.slice();
  for (const { steps: { first, last } } of candidates) outside.fill(0, first + 1, last + 2);
  const [peak, least] = [peakOf(alive), Math.max(peakOf(outside), peakOf(costs.map(({ opByOp, inStrip }) => Math.min(opByOp, inStrip))))];
  const wanted = costs.map(({ opByOp }) => opByOp > least);
  const scratch = countedThreads * peakOf(candidates.map(({ scratchBytes }, i) => (wanted[i] === true ? scratchBytes : 0)));
  return costs.map(({ opByOp, inStrip }, i): StripDecision => {
    if (wanted[i] !== true) return { chosen: false, reason: `it needs ${kib(opByOp)} of activations, and the arena needs ${kib(least)} in any case` };
    if (peak - least <= scratch) return { chosen: false, reason: `the arena would shrink by ${kib(peak - least)}, but the scratch memory of ${countedThreads} threads would grow by ${kib(scratch)}` };
    return { chosen: true, reason: `${kib(inStrip)} of activations instead of ${kib(opByOp)}` };
  });
}
