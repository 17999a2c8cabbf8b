import { z } from 'zod';
import type { PixelContract } from '../../stages/contract.js';
import type { Fit } from '../pixels.js';
import type { Candidates, FitTransform } from './candidates.js';
import type { Outputs } from './table.js';

/** An output of a model, as recognition sees it. */
export interface Head {
  name: string;
  type: string;
  dims: readonly number[];
  /** Operators that compute its values, movements of data left out: `Sigmoid` says that a score is one already. Empty when nobody looked. */
  ends: readonly string[];
}

export interface InputSize {
  width: number;
  height: number;
}

/** What recognition may use. */
export interface HeadsToRecognize {
  heads: readonly Head[];
  input: InputSize;
  /** [cy, cx, height, width] as shares of the input, when the user has them. */
  anchors?: readonly Anchor[] | undefined;
  /** Keypoints of a box, when the user knows that the head has them. */
  keypoints?: number | undefined;
}

/** cy, cx, height, width as shares of the input. */
export type Anchor = readonly [number, number, number, number];

/** How the published models of a family want their pictures. */
export interface PictureDefaults {
  channels: Exclude<PixelContract['channels'], 'grey'>;
  mean: readonly number[];
  std: readonly number[];
  fit: Fit;
  /** Grey level around a letterboxed picture. */
  pad: number;
}

/** What outputs were recognized as. Everything in it is an assumption that the user may replace. */
export interface Recognized<Settings> {
  decoder: Settings;
  /** Classes that the head tells apart. */
  classes: number;
  /** What the only class is called when there is one, else undefined. */
  label?: string;
  picture: PictureDefaults;
  scoreThreshold: number;
  /** False when the head gives each object once. */
  suppress: boolean;
}

/** Where and how a frame's outputs are decoded. */
export interface DecodeFrame {
  /** Size of the model's input. */
  input: InputSize;
  fit: FitTransform;
  /** Least score of a candidate, 0..1. */
  threshold: number;
  /** Each class that reaches the threshold is a candidate, not only the best of its box. Default false. */
  everyClass?: boolean;
}

/** A family of detectors: its settings in the manifest, how its outputs are recognized, and how they are decoded. */
export interface Family<Type extends string = string, Schema extends z.ZodObject<{ type: z.ZodLiteral<Type> }> = z.ZodObject<{ type: z.ZodLiteral<Type> }>> {
  readonly type: Type;
  /** For people. */
  readonly title: string;
  /** What its outputs look like, for the message that nothing fits. */
  readonly fits: string;
  readonly settings: Schema;
  recognize(model: HeadsToRecognize): Recognized<z.output<Schema>> | null;
  /** @throws RuntimeError E_MODEL_SHAPE when the outputs are not those of the settings */
  decode(outputs: Outputs, settings: z.output<Schema>, frame: DecodeFrame): Candidates;
  /** Keypoints of each box. Absent: none. */
  keypoints?(settings: z.output<Schema>): number;
}

/** A family with the types of its settings inferred. */
export function defineFamily<Type extends string, Schema extends z.ZodObject<{ type: z.ZodLiteral<Type> }>>(family: Family<Type, Schema>): Family<Type, Schema> {
  return family;
}

/** Numbers of a family's settings. */
export const outputName = z.string().min(1).max(256);
export const strideList = z.array(z.number().int().positive().max(1024)).min(1).max(8);
const column = z.number().int().nonnegative().max(65_535);

/** Columns of the class scores that count, in the order of the labels: one, several, or (absent) all. */
export const classColumns = z.union([column, z.array(column).min(1).max(65_536)]).optional();
export const columnList = (columns: z.output<typeof classColumns>): readonly number[] | undefined => (typeof columns === 'number' ? [columns] : columns);

export const activationSetting = z.enum(['none', 'sigmoid', 'softmax']);

/** How four numbers state a box. */
export const boxCoding = z.enum(['xyxy', 'yxyx', 'cxcywh', 'xywh']);
/** Unit of boxes: shares of the model's input, or its pixels. */
export const boxUnits = z.enum(['shares', 'pixels']);

/** x1, y1, x2, y2 in pixels of the input. */
export function cornersOf(
  coding: z.output<typeof boxCoding>, units: z.output<typeof boxUnits>, { width, height }: InputSize, [a, b, c, d]: readonly [number, number, number, number],
): [number, number, number, number] {
  const [sx, sy] = units === 'shares' ? [width, height] : [1, 1];
  switch (coding) {
    case 'xyxy': return [a * sx, b * sy, c * sx, d * sy];
    case 'yxyx': return [b * sx, a * sy, d * sx, c * sy];
    case 'xywh': return [a * sx, b * sy, (a + c) * sx, (b + d) * sy];
    case 'cxcywh': return [(a - c / 2) * sx, (b - d / 2) * sy, (a + c / 2) * sx, (b + d / 2) * sy];
  }
}

/** Numbers of COCO's 80 categories among the 90 that there once were. */
const missingCategories = new Set([12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);
export const cocoColumns: readonly number[] = Array.from({ length: 90 }, (_, i) => i + 1).filter((id) => !missingCategories.has(id));

/** Columns that hold classes in scores of `count` columns with a background in the first: COCO's own numbers where there are 91. */
export function foregroundColumns(count: number): number[] {
  return count === 91 ? [...cocoColumns] : Array.from({ length: Math.max(0, count - 1) }, (_, i) => i + 1);
}

export interface Grid {
  stride: number;
  columns: number;
  rows: number;
  /** Cells of the grids before it. */
  first: number;
  cells: number;
}

/** The grid of each stride, in order. */
export function gridsOf({ width, height }: InputSize, strides: readonly number[]): Grid[] {
  let first = 0;
  return strides.map((stride) => {
    const [columns, rows] = [Math.ceil(width / stride), Math.ceil(height / stride)];
    const grid = { stride, columns, rows, first, cells: columns * rows };
    first += grid.cells;
    return grid;
  });
}

export const cellsOf = (input: InputSize, strides: readonly number[]): number => gridsOf(input, strides).reduce((sum, { cells }) => sum + cells, 0);

/** The usual strides whose grids together have that many cells, `anchors` times; undefined when none fits. */
export function stridesFor(input: InputSize, rows: number, anchors = 1): number[] | undefined {
  return [[8, 16, 32], [8, 16, 32, 64], [16, 32], [4, 8, 16, 32]].find((strides) => cellsOf(input, strides) * anchors === rows);
}

/** How a head's values become scores, by what computes them; a head that nobody looked into is taken as `unknown`. */
export function activationOf({ ends }: Head, unknown: z.output<typeof activationSetting>): z.output<typeof activationSetting> {
  if (ends.length === 0) return unknown;
  if (ends.some((op) => ['Sigmoid', 'HardSigmoid', 'Softmax', 'Max', 'ReduceMax', 'TopK', 'NonMaxSuppression', 'Clip'].includes(op))) return 'none';
  return unknown === 'none' ? 'sigmoid' : unknown;
}

export const rgbOf255: PictureDefaults = { channels: 'rgb', mean: [0, 0, 0], std: [255, 255, 255], fit: 'letterbox', pad: 114 };
export const imagenet: PictureDefaults = { channels: 'rgb', mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375], fit: 'stretch', pad: 0 };
