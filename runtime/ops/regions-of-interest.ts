import { RuntimeError } from '../errors.js';
import { floatAttribute, intAttribute, misshapen, oneOf, requiredInts } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, toNumbers } from '../graph/tensor-value.js';
import { expectType, inputType, inputValue, outputType, type EvaluateContext, type InferContext, type OperatorRecord, type OpTable } from './op.js';

// Regions of maps whose sizes say how many places are read: nobody knows how long that takes before a run.

/** Reads of one run that take a second or so. */
const maximumReads = 2 ** 26;

/** The four neighbours of a place, as rows and columns with a weight. */
type Corner = readonly [row: number, column: number, weight: number];

/** Along one axis: two indices and how far the place is from the first; undefined outside the map. */
function along(place: number, size: number): readonly [number, number, number] | undefined {
  if (place < -1 || place > size) return undefined;
  const inside = Math.max(place, 0);
  const low = Math.trunc(inside);
  return low >= size - 1 ? [size - 1, size - 1, 0] : [low, low + 1, Math.fround(inside - low)];
}

function cornersOf(y: number, x: number, [height, width]: readonly [number, number]): readonly Corner[] {
  const [vertical, horizontal] = [along(y, height), along(x, width)];
  if (vertical === undefined || horizontal === undefined) return [];
  const [[top, bottom, down], [left, right, over]] = [vertical, horizontal];
  return [[top, left, (1 - down) * (1 - over)], [top, right, (1 - down) * over], [bottom, left, down * (1 - over)], [bottom, right, down * over]];
}

interface Span {
  readonly start: number;
  /** Of one cell of the output. */
  readonly cell: number;
  /** Places of a cell. */
  readonly samples: number;
}

function spanOf([low = 0, high = 0]: readonly number[], cells: number, scale: number, half: boolean): Span {
  const offset = half ? 0.5 : 0;
  const start = Math.fround(Math.fround(low * scale) - offset);
  const whole = Math.fround(Math.fround(Math.fround(high * scale) - offset) - start);
  const length = half ? whole : Math.max(whole, 1);
  return { start, cell: Math.fround(length / cells), samples: Math.max(0, Math.ceil(Math.fround(length / cells))) };
}

/** What a cell reads: the corners of every place. */
function placesOf(vertical: Span, horizontal: Span, [row, column]: readonly [number, number], map: readonly [number, number]): (readonly Corner[])[] {
  const at = ({ start, cell, samples }: Span, index: number, i: number): number => start + index * cell + ((i + 0.5) * cell) / samples;
  return Array.from({ length: vertical.samples * horizontal.samples }, (_, i) =>
    cornersOf(at(vertical, row, Math.floor(i / horizontal.samples)), at(horizontal, column, i % horizontal.samples), map));
}

/** One channel of a cell: the mean of its places, or the largest of their weighted neighbours, as the specification's implementation has it. */
function pooled(map: ArrayLike<number>, from: number, width: number, places: readonly (readonly Corner[])[], largest: boolean): number {
  let result = largest && places.length > 0 ? -Infinity : 0;
  for (const corners of places) {
    let sum = 0;
    for (const [row, column, weight] of corners) {
      const value = weight * (map[from + row * width + column] ?? 0);
      sum = largest ? sum : sum + value;
      if (largest) result = Math.max(result, value);
    }
    if (largest && corners.length === 0) result = Math.max(result, 0);
    result = largest ? result : result + sum;
  }
  return largest ? result : result / Math.max(places.length, 1);
}

function checkReads(node: Node, reads: number): void {
  if (!(reads <= maximumReads)) throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': its regions ask for ${reads} reads, more than ${maximumReads}; keep them within the map`, { details: { node: node.name, op: node.op } });
}

/** Batch, channels, height and width of the map, and how many regions there are. */
function sizesOf(context: InferContext, numbers: number): { map: readonly [number, number, number, number]; regions: number } {
  const [{ shape }, rois] = [expectType(context, 0, ['float32']), inputType(context, 1).shape];
  if (shape.length !== 4 || rois.length !== 2 || rois[1] !== numbers) throw misshapen(context.node, `regions of [${rois.join(', ')}] do not fit [${shape.join(', ')}]`);
  const [n = 1, c = 1, h = 1, w = 1] = shape;
  return { map: [n, c, h, w], regions: rois[0] ?? 0 };
}

function pictureOf(node: Node, index: number, batch: number): number {
  if (!Number.isInteger(index) || index < 0 || index >= batch) throw new RuntimeError('E_MODEL_VALUE', `${node.op} '${node.name}': a region of picture ${index}, of which there are ${batch}`, { details: { node: node.name, op: node.op } });
  return index;
}

/** RoiAlign with as many samples as a region's size asks for; with a stated number it is written in other operators (runtime/expand/sampling.ts, which also states the mode). */
const roiAlign: OperatorRecord = {
  infer(context) {
    const { map, regions } = sizesOf(context, 4);
    const [height, width] = [intAttribute(context.node, 'output_height', 1), intAttribute(context.node, 'output_width', 1)];
    if (!(height >= 1 && width >= 1)) throw misshapen(context.node, `an output of ${height} x ${width}`);
    return [{ dtype: 'float32', shape: [regions, map[1], height, width] }];
  },
  evaluate(context) {
    const { node } = context;
    const [rois, batches, numbers] = [toNumbers(inputValue(context, 1)), toNumbers(inputValue(context, 2)), toNumbers(inputValue(context, 0))];
    const [batch = 1, channels = 1, height = 1, width = 1] = inputValue(context, 0).dims;
    const { shape } = outputType(context);
    const [regions = 0, , tall = 1, wide = 1] = shape;
    const half = oneOf(node, 'coordinate_transformation_mode', ['half_pixel', 'output_half_pixel'], 'half_pixel') === 'half_pixel';
    const [largest, scale] = [oneOf(node, 'mode', ['avg', 'max'], 'avg') === 'max', floatAttribute(node, 'spatial_scale', 1)];
    const spans = Array.from({ length: regions }, (_, r) => [spanOf([rois[4 * r + 1] ?? 0, rois[4 * r + 3] ?? 0], tall, scale, half), spanOf([rois[4 * r] ?? 0, rois[4 * r + 2] ?? 0], wide, scale, half)] as const);
    checkReads(node, spans.reduce((sum, [vertical, horizontal]) => sum + 4 * channels * tall * wide * vertical.samples * horizontal.samples, 0));
    const out = new Float64Array(elementCount(shape));
    spans.forEach(([vertical, horizontal], r) => {
      const picture = pictureOf(node, batches[r] ?? 0, batch);
      for (let cell = 0; cell < tall * wide; cell++) {
        const places = placesOf(vertical, horizontal, [Math.floor(cell / wide), cell % wide], [height, width]);
        for (let c = 0; c < channels; c++) out[(r * channels + c) * tall * wide + cell] = pooled(numbers, (picture * channels + c) * height * width, width, places, largest);
      }
    });
    return [fromNumbers('float32', shape, out)];
  },
};

/** Halves away from 0. */
const rounded = (value: number): number => Math.sign(value) * Math.round(Math.abs(value));

/** Rows, or columns, of each cell of a region: first and end. */
function cellsOf(low: number, high: number, cells: number, size: number): (readonly [number, number])[] {
  const cell = Math.fround(Math.max(high - low + 1, 1) / cells);
  const within = (value: number): number => Math.min(Math.max(value + low, 0), size);
  return Array.from({ length: cells }, (_, i) => [within(Math.floor(Math.fround(i * cell))), within(Math.ceil(Math.fround((i + 1) * cell)))] as const);
}

/** The largest of a part of a map; 0 of an empty one. */
function largestOf(map: ArrayLike<number>, from: number, width: number, [[top, bottom], [left, right]]: readonly [readonly [number, number], readonly [number, number]]): number {
  if (top >= bottom || left >= right) return 0;
  let most = -Infinity;
  for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) most = Math.max(most, map[from + row * width + column] ?? 0);
  return most;
}

function evaluateMaxRoiPool(context: EvaluateContext): Float64Array {
  const { node } = context;
  const [rois, numbers] = [toNumbers(inputValue(context, 1)), toNumbers(inputValue(context, 0))];
  const [batch = 1, channels = 1, height = 1, width = 1] = inputValue(context, 0).dims;
  const { shape } = outputType(context);
  const [regions = 0, , tall = 1, wide = 1] = shape;
  checkReads(node, regions * channels * (height + tall) * (width + wide));
  const scale = floatAttribute(node, 'spatial_scale', 1);
  const out = new Float64Array(elementCount(shape));
  for (let r = 0; r < regions; r++) {
    const [index = 0, x1 = 0, y1 = 0, x2 = 0, y2 = 0] = rois.subarray(5 * r, 5 * r + 5);
    const [picture, at] = [pictureOf(node, index, batch), (value: number): number => rounded(Math.fround(value * scale))];
    const [rows, columns] = [cellsOf(at(y1), at(y2), tall, height), cellsOf(at(x1), at(x2), wide, width)];
    for (let c = 0; c < channels; c++) {
      rows.forEach((row, i) => columns.forEach((column, j) => { out[((r * channels + c) * tall + i) * wide + j] = largestOf(numbers, (picture * channels + c) * height * width, width, [row, column]); }));
    }
  }
  return out;
}

const maxRoiPool: OperatorRecord = {
  infer(context) {
    const { map, regions } = sizesOf(context, 5);
    const [height = 0, width = 0] = requiredInts(context.node, 'pooled_shape');
    if (!(height >= 1 && width >= 1)) throw misshapen(context.node, `an output of ${height} x ${width}`);
    return [{ dtype: 'float32', shape: [regions, map[1], height, width] }];
  },
  evaluate: (context) => [fromNumbers('float32', outputType(context).shape, evaluateMaxRoiPool(context))],
};

export const regionsOfInterestOps: OpTable = { RoiAlign: roiAlign, MaxRoiPool: maxRoiPool };
