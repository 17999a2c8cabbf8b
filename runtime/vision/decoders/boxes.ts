import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { cocoLabels } from '../coco.js';
import { CandidateList } from './candidates.js';
import { activationOf, activationSetting, boxCoding, boxUnits, classColumns, columnList, cornersOf, defineFamily, foregroundColumns, outputName, rgbOf255 } from './family.js';
import type { Head, Recognized } from './family.js';
import { scanScores } from './scores.js';
import { fourAt, rowMajor } from './table.js';

const settings = z.object({
  type: z.literal('boxes'),
  /** Output [1, N, classes]. */
  scores: outputName,
  /** Columns of the scores that count, in the order of the labels: one, several, or (absent) all. */
  class: classColumns,
  /** `none`: the scores are 0..1 already. */
  activation: activationSetting.default('none'),
  /** Output [1, N, 4], decoded by the graph. */
  boxes: outputName,
  coding: boxCoding.default('xyxy'),
  units: boxUnits.default('shares'),
});

type Settings = z.output<typeof settings>;

/** The two outputs of a detector with one row for each prior: boxes [1, N, 4], and scores [1, N, C]. */
export function priorHeads(heads: readonly Head[]): { boxes: Head; scores: Head } | null {
  const fours = heads.filter(({ dims, type }) => type === 'float32' && dims.length === 3 && dims[2] === 4);
  // Scores of four classes have the same shape: then names tell.
  const boxes = fours.find(({ name }) => /box|loc|reg/i.test(name)) ?? fours[0];
  const scores = heads.find((head) => head !== boxes && head.type === 'float32' && head.dims.length === 3 && head.dims[1] === boxes?.dims[1]
    && /score|conf|cls|class|logi|prob/i.test(head.name))
    ?? heads.find((head) => head !== boxes && head.type === 'float32' && head.dims.length === 3 && head.dims[1] === boxes?.dims[1]);
  return boxes === undefined || scores === undefined ? null : { boxes, scores };
}

/** Boxes and scores of every prior, the boxes decoded by the graph (as in Linzaer's Ultra-Light face detectors). */
export const boxes = defineFamily({
  type: 'boxes',
  title: 'decoded boxes and scores',
  fits: 'boxes [1, N, 4] and scores [1, N, C]',
  settings,
  recognize({ heads }): Recognized<Settings> | null {
    const found = priorHeads(heads);
    if (found === null || heads.length > 2) return null;
    const count = found.scores.dims[2] ?? 0;
    // COCO's 80 leave no room for a background; other heads have one in the first column.
    const class_ = count === 1 || count === cocoLabels.length ? undefined : foregroundColumns(count);
    return {
      decoder: {
        type: 'boxes', scores: found.scores.name, boxes: found.boxes.name, coding: 'xyxy', units: 'shares',
        activation: activationOf(found.scores, 'none'), class: class_?.length === 1 ? class_[0] : class_,
      },
      classes: class_?.length ?? count, ...(count <= 2 ? { label: 'face' } : {}),
      picture: count <= 2 ? { channels: 'rgb', mean: [127, 127, 127], std: [128, 128, 128], fit: 'letterbox', pad: 0 } : rgbOf255,
      scoreThreshold: count <= 2 ? 0.7 : 0.4, suppress: true,
    };
  },
  decode(outputs, { scores: scoreName, boxes: boxName, class: class_, activation, coding, units }, { input, fit, threshold, everyClass = false }) {
    const scores = rowMajor(outputs, scoreName);
    const corners = rowMajor(outputs, boxName, 4);
    const columns = columnList(class_);
    if (corners.rows !== scores.rows) {
      throw new RuntimeError('E_MODEL_SHAPE', `Expected scores [1, N, C] and boxes [1, N, 4] but received `
        + `[${outputs[scoreName]?.dims.join(', ')}] and [${outputs[boxName]?.dims.join(', ')}]`);
    }
    const list = new CandidateList(fit);
    scanScores(scores, { activation, columns, threshold, everyClass }, (row, label, score) => {
      list.add(score, label, cornersOf(coding, units, input, fourAt(corners, row)));
    });
    return list.finish();
  },
});
