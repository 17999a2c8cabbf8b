import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { CandidateList } from './candidates.js';
import { addDistanceLevel } from './distances.js';
import { activationOf, activationSetting, classColumns, columnList, defineFamily, gridsOf, outputName, rgbOf255, strideList, stridesFor } from './family.js';
import type { DecodeFrame, Head, HeadsToRecognize, Recognized } from './family.js';
import { scanScores } from './scores.js';
import { channelMajor, columnsOf, tableOf, valueAt } from './table.js';
import type { Outputs, Table } from './table.js';
import { centerBox } from './yolo.js';

const keypointSettings = z.object({ count: z.number().int().positive().max(512), values: z.union([z.literal(2), z.literal(3)]) });

const settings = z.object({
  type: z.literal('yolov8'),
  class: classColumns,
  heads: z.discriminatedUnion('form', [
    /** One output of centre, size (pixels), a score of each class, then x, y (and visibility) of each keypoint. `channels`: [1, 4 + C, N]; `rows`: [1, N, 4 + C]. */
    z.object({ form: z.literal('merged'), output: outputName, layout: z.enum(['channels', 'rows']), keypoints: keypointSettings.optional() }),
    /** Raw outputs of each stride, [1, 4 bins + C, H, W], or distributions [1, 4 bins, H, W] and scores [1, C, H, W] apart. */
    z.object({
      form: z.literal('distributions'), strides: strideList, boxes: z.array(outputName).min(1).max(8), scores: z.array(outputName).max(8).default([]),
      activation: activationSetting, bins: z.number().int().min(1).max(64),
    }),
  ]),
});

type Stated = z.output<typeof settings>;
type Merged = Extract<Stated['heads'], { form: 'merged' }>;
type Distributions = Extract<Stated['heads'], { form: 'distributions' }>;

const usualBins = 16;

/** Decoded boxes without objectness, or raw distributions (Ultralytics YOLOv8, YOLO11 and their kin). */
export const yolov8 = defineFamily({
  type: 'yolov8',
  title: 'YOLOv8',
  fits: 'one output [1, 4 + C, cells of strides 8, 16 and 32], or raw [1, 64 + C, H, W] for each stride (YOLOv8, YOLO11)',
  settings,
  keypoints: ({ heads }) => (heads.form === 'merged' ? heads.keypoints?.count ?? 0 : 0),
  recognize(model): Recognized<Stated> | null {
    const found = merged(model) ?? distributions(model);
    return found === null ? null : { ...found, picture: rgbOf255, scoreThreshold: 0.3, suppress: true };
  },
  decode: (outputs, { heads, class: class_ }, frame) => (
    heads.form === 'merged' ? decodeMerged(outputs, heads, columnList(class_), frame) : decodeDistributions(outputs, heads, columnList(class_), frame)
  ),
});

function merged({ heads: [head, ...others], input, keypoints: stated }: HeadsToRecognize): { decoder: Stated; classes: number; label?: string } | null {
  if (head === undefined || others.length > 0 || head.dims.length !== 3) return null;
  const [, a = 0, b = 0] = head.dims;
  const layout = stridesFor(input, b) !== undefined ? 'channels' : stridesFor(input, a) !== undefined ? 'rows' : undefined;
  const width = layout === 'channels' ? a : b;
  // Rows of cells are YOLOX's unless its objectness would leave no class.
  if (layout === undefined || width < 5 || (layout === 'rows' && width > 5)) return null;
  // 56 = 4 + 1 + 17 x 3: people with COCO's 17 keypoints.
  const count = stated ?? (width === 56 ? 17 : 0);
  const values = count === 0 ? 0 : (width - 5) % (count * 3) === 0 ? 3 : 2;
  const classes = width - 4 - count * values;
  if (classes < 1) return null;
  const keypoints = values === 3 || values === 2 ? { keypoints: { count, values } as const } : {};
  return { classes, ...(count > 0 && classes === 1 ? { label: 'person' } : {}), decoder: { type: 'yolov8', class: undefined, heads: { form: 'merged', output: head.name, layout, ...keypoints } } };
}

function distributions({ heads, input }: HeadsToRecognize): { decoder: Stated; classes: number } | null {
  const strides = [8, 16, 32];
  const ofLevel = gridsOf(input, strides).map(({ columns, rows }) => heads.filter(({ dims }) => dims.length === 4 && dims[2] === rows && dims[3] === columns));
  const boxes = ofLevel.map((level) => level.find(({ dims }) => (dims[1] ?? 0) === 4 * usualBins) ?? level.find(({ dims }) => (dims[1] ?? 0) > 4 * usualBins));
  const scores = ofLevel.map((level, i) => level.find((head) => head !== boxes[i] && (head.dims[1] ?? 0) !== 1) ?? level.find((head) => head !== boxes[i]));
  const [first, own] = [boxes[0], scores[0]];
  if (first === undefined || boxes.includes(undefined) || heads.some(({ dims }) => dims.length !== 4)) return null;
  const apart = first.dims[1] === 4 * usualBins;
  if (apart ? scores.includes(undefined) : heads.length !== strides.length) return null;
  const names = (list: readonly (Head | undefined)[]): string[] => list.flatMap((head) => head?.name ?? []);
  return {
    classes: apart ? own?.dims[1] ?? 0 : (first.dims[1] ?? 0) - 4 * usualBins,
    decoder: {
      type: 'yolov8', class: undefined,
      heads: { form: 'distributions', strides, boxes: names(boxes), scores: apart ? names(scores) : [], bins: usualBins, activation: apart && own !== undefined ? activationOf(own, 'sigmoid') : 'sigmoid' },
    },
  };
}

function decodeMerged(outputs: Outputs, { output, layout, keypoints }: Merged, columns: readonly number[] | undefined, { fit, threshold, everyClass = false }: DecodeFrame) {
  const table = tableOf(outputs, output, layout);
  const points = keypoints === undefined ? 0 : keypoints.count * keypoints.values;
  if (table.columns < 5 + points) throw new RuntimeError('E_MODEL_SHAPE', `Expected output ${output} of at least ${5 + points} values a box but received ${table.columns}`);
  const scores = columnsOf(table, 4, table.columns - 4 - points);
  const list = new CandidateList(fit, keypoints !== undefined);
  scanScores(scores, { activation: 'none', columns, threshold, everyClass }, (row, label, score) => {
    if (list.add(score, label, centerBox(table, row)) && keypoints !== undefined) addPoints(list, columnsOf(table, table.columns - points), row, keypoints);
  });
  return list.finish();
}

function addPoints(list: CandidateList, table: Table, row: number, { count, values }: z.output<typeof keypointSettings>): void {
  for (let point = 0; point < count; point++) list.addPoint(valueAt(table, row, point * values), valueAt(table, row, point * values + 1));
}

function decodeDistributions(outputs: Outputs, heads: Distributions, columns: readonly number[] | undefined, { input, fit, threshold, everyClass }: DecodeFrame) {
  const { strides, boxes, scores, bins, activation } = heads;
  const list = new CandidateList(fit);
  for (const [level, grid] of gridsOf(input, strides).entries()) {
    const table = channelMajor(outputs, boxes[level] ?? '');
    const own = scores[level];
    const scored = own === undefined ? columnsOf(table, 4 * bins) : channelMajor(outputs, own);
    addDistanceLevel(list, { grid, scores: scored, distances: columnsOf(table, 0, 4 * bins) }, { bins, center: 0.5, activation, columns, threshold, everyClass });
  }
  return list.finish();
}
