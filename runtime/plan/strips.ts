import { stripBytes, type StripShape } from '../../kernels/binding/index.js';
import { maxDepthwiseRows } from '../../kernels/binding/tables.js';
import { typeOf, consumersOf, type Graph, type Node } from '../graph/graph.js';
import { programBytes, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { isDepthwise, nhwcGeometry } from '../ops/convolution.js';
import { convolution } from '../ops/views.js';
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
}

/** The scratch that a strip costs is counted for so many threads: a program does not know how many will run it, and small boards have four. */
const countedThreads = 4;

/** A convolution as strips see it. */
interface Layer {
  readonly node: Node;
  readonly weights: TensorValue;
  readonly output: string;
  readonly kind: 'depthwise' | 'pointwise' | 'dense';
  /** Output row r reads the input rows [r * stride - pad, + taps). */
  readonly taps: number;
  readonly stride: number;
  readonly x: Shape;
  readonly y: Shape;
}

/** What a strip can do with a node: nothing where it is undefined. */
function layerOf(graph: Graph, node: Node): Layer | undefined {
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
const mayUseBits = ({ node, kind, weights }: Layer): boolean => node.op === 'ConvQ8' && kind !== 'depthwise' && toNumbers(weights).every((value) => Math.abs(value) <= 1);

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

/**
 * The strips that a graph allows: a depthwise convolution and the pointwise one that reads it, with the convolution before
 * where nobody else reads that one. They follow each other in the graph, and no two strips have a node in common.
 */
export function findStrips(graph: Graph): StripSearch {
  const consumers = consumersOf(graph.nodes);
  const layers = graph.nodes.map((node) => layerOf(graph, node));
  const passes = (from: Layer, to: Layer): boolean => {
    const value = from.output;
    const alone = consumers.get(value)?.length === 1 && !graph.outputs.includes(value);
    return alone && to.node.inputs.indexOf(value) === 0 && to.node.inputs.lastIndexOf(value) === 0 && from.node.op === to.node.op;
  };
  const groups: StripGroup[] = [];
  const refused = new Map<Node, string>();
  let free = 0; // the first step that no strip has
  layers.forEach((depthwise, step) => {
    if (depthwise?.kind !== 'depthwise') return;
    const [before, after] = [step > free ? layers[step - 1] : undefined, layers[step + 1]];
    if (after?.kind !== 'pointwise' || !passes(depthwise, after)) return void refused.set(depthwise.node, 'its output is not read by exactly one 1x1 layer');
    if (mayUseBits(after)) return void refused.set(depthwise.node, 'the next layer may run on bits');
    const expanded = before !== undefined && before.kind !== 'depthwise' && passes(before, depthwise) && !mayUseBits(before);
    const members = [...(expanded ? [before] : []), depthwise, after];
    groups.push({
      nodes: members.map(({ node }) => node),
      steps: { first: step - (expanded ? 1 : 0), last: step + 1 },
      between: members.slice(0, -1).map(({ output }) => output),
      scratchBytes: stripBytes(members.map((layer) => shapeOf(graph, layer))),
    });
    free = step + 2;
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

const kib = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`;

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
