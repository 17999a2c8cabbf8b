import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { CandidateList } from './candidates.js';
import { activationSetting, boxUnits, classColumns, cocoColumns, columnList, cornersOf, defineFamily, imagenet, outputName, rgbOf255 } from './family.js';
import type { Head, Recognized } from './family.js';
import { scanScores } from './scores.js';
import { columnsOf, fourAt, rowMajor } from './table.js';

const settings = z.object({
  type: z.literal('detr'),
  /** Output [1, queries, classes]; or, without `boxes`, [1, queries, 4 + classes] of boxes and scores. */
  logits: outputName,
  /** Output [1, queries, 4]: centre and size. */
  boxes: outputName.optional(),
  class: classColumns,
  /** `softmax`: the last class means "no object" (DETR); `sigmoid`: there is none (Deformable DETR, RT-DETR). */
  activation: activationSetting,
  units: boxUnits.default('shares'),
});

type Settings = z.output<typeof settings>;

/** Transformers answer so many queries, whatever the picture. */
const queryCounts = [100, 300, 900];

function isLogits({ name }: Head): boolean {
  return /logit|pred_class|pred_score/i.test(name);
}

/** Sets of boxes, each object once: there is nothing to suppress (N. Carion et al., "End-to-End Object Detection with Transformers", 2020). */
export const detr = defineFamily({
  type: 'detr',
  title: 'DETR',
  fits: 'logits [1, Q, C] and boxes [1, Q, 4] of 100, 300 or 900 queries, or one output [1, Q, 4 + C] (DETR, RT-DETR)',
  settings,
  recognize({ heads }): Recognized<Settings> | null {
    const boxes = heads.find((head) => head.dims.length === 3 && head.dims[2] === 4 && queryCounts.includes(head.dims[1] ?? 0) && !isLogits(head));
    const scores = heads.find((head) => head !== boxes && head.dims.length === 3 && head.dims[1] === boxes?.dims[1]);
    const [head] = heads;
    if (boxes !== undefined && scores !== undefined && heads.length === 2 && (isLogits(scores) || /pred_boxes/i.test(boxes.name))) {
      const count = scores.dims[2] ?? 0;
      // 92 = 91 numbers of COCO and "no object": DETR as published. Sets without that class are trained with a sigmoid.
      const softmax = count === 92 || scores.ends.includes('Softmax');
      const columns = count === 92 || count === 91 ? [...cocoColumns] : Array.from({ length: count - (softmax ? 1 : 0) }, (_, i) => i);
      const activation = scores.ends.some((op) => op === 'Sigmoid' || op === 'Softmax') ? 'none' as const : softmax ? 'softmax' as const : 'sigmoid' as const;
      return {
        decoder: { type: 'detr', logits: scores.name, boxes: boxes.name, class: columns, activation, units: 'shares' },
        classes: columns.length, picture: softmax ? imagenet : { ...rgbOf255, fit: 'stretch' }, scoreThreshold: 0.5, suppress: false,
      };
    }
    const width = head?.dims[2] ?? 0;
    if (head === undefined || heads.length > 1 || head.dims.length !== 3 || width < 8 || !queryCounts.includes(head.dims[1] ?? 0)) return null;
    return {
      decoder: { type: 'detr', logits: head.name, class: undefined, activation: 'none', units: 'shares' },
      classes: width - 4, picture: { ...rgbOf255, fit: 'stretch' }, scoreThreshold: 0.5, suppress: false,
    };
  },
  decode(outputs, { logits, boxes: boxName, class: class_, activation, units }, { input, fit, threshold, everyClass = false }) {
    const all = rowMajor(outputs, logits);
    const boxes = boxName === undefined ? columnsOf(all, 0, 4) : rowMajor(outputs, boxName, 4);
    const scores = boxName === undefined ? columnsOf(all, 4) : all;
    const columns = columnList(class_);
    if (boxes.rows !== scores.rows) {
      throw new RuntimeError('E_MODEL_SHAPE', `Expected boxes [1, Q, 4] for ${scores.rows} queries but received ${boxes.rows} boxes`);
    }
    const list = new CandidateList(fit);
    scanScores(scores, { activation, columns, threshold, everyClass }, (row, label, score) => {
      list.add(score, label, cornersOf('cxcywh', units, input, fourAt(boxes, row)));
    });
    return list.finish();
  },
});
