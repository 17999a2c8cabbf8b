import { z } from 'zod';
import { CandidateList } from './candidates.js';
import { defineFamily, gridsOf, strideList } from './family.js';
import type { Recognized } from './family.js';
import { scanScores } from './scores.js';
import { checkTable, rowMajor, valueAt } from './table.js';
import type { Outputs, Table } from './table.js';
import { RuntimeError } from '../../errors.js';

const settings = z.object({ type: z.literal('yunet'), strides: strideList });

const geometricMean = (objectness: number, score: number): number => Math.sqrt(score * objectness);

/**
 * YuNet's heads `cls_S`, `obj_S`, `bbox_S`, `kps_S` for each stride S: the score is the geometric mean of class and objectness; the centre and
 * the five points (right eye, left eye, nose, right and left corner of the mouth) are offsets in cells from the cell's corner, the size is
 * exponential (W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023, section 3).
 */
export const yunet = defineFamily({
  type: 'yunet',
  title: 'YuNet',
  fits: 'cls_S, obj_S, bbox_S and kps_S for each stride S (YuNet)',
  settings,
  keypoints: () => 5,
  recognize({ heads }): Recognized<Settings> | null {
    const strides = heads.flatMap(({ name }) => /^cls_(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
    const names = new Set(heads.map(({ name }) => name));
    if (strides.length === 0 || !strides.every((stride) => names.has(`obj_${stride}`) && names.has(`bbox_${stride}`))) return null;
    return {
      decoder: { type: 'yunet', strides }, classes: 1, label: 'face',
      picture: { channels: 'bgr', mean: [0, 0, 0], std: [1, 1, 1], fit: 'letterbox', pad: 0 }, scoreThreshold: 0.6, suppress: true,
    };
  },
  decode(outputs, { strides }, { input, fit, threshold }) {
    const list = new CandidateList(fit, true);
    for (const { stride, columns, cells } of gridsOf(input, strides)) {
      const head = (name: string, width: number): Table => levelHead(outputs, `${name}_${stride}`, cells, width);
      const [cls, obj, bbox, kps] = [head('cls', 1), head('obj', 1), head('bbox', 4), head('kps', 10)];
      const objectness = { table: obj, activation: 'none' as const, combine: geometricMean };
      scanScores(cls, { activation: 'none', threshold, everyClass: false, objectness }, (cell, label, score) => {
        const column = cell % columns;
        const row = (cell - column) / columns;
        const [centerX, centerY] = [column + valueAt(bbox, cell, 0), row + valueAt(bbox, cell, 1)];
        const [halfWidth, halfHeight] = [Math.exp(valueAt(bbox, cell, 2)) / 2, Math.exp(valueAt(bbox, cell, 3)) / 2];
        const kept = list.add(score, label, [(centerX - halfWidth) * stride, (centerY - halfHeight) * stride, (centerX + halfWidth) * stride, (centerY + halfHeight) * stride]);
        for (let point = 0; kept && point < 10; point += 2) {
          list.addPoint((column + valueAt(kps, cell, point)) * stride, (row + valueAt(kps, cell, point + 1)) * stride);
        }
      });
    }
    return list.finish();
  },
});

type Settings = z.output<typeof settings>;

function levelHead(outputs: Outputs, name: string, cells: number, width: number): Table {
  if (outputs[name] === undefined) throw new RuntimeError('E_MODEL_SHAPE', `Expected output ${name} of ${cells} x ${width} values but received none`);
  return checkTable(rowMajor(outputs, name, width), name, cells, width);
}
