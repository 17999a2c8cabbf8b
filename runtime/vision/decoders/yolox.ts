import { z } from 'zod';
import { CandidateList } from './candidates.js';
import { cellsOf, classColumns, columnList, defineFamily, gridsOf, outputName, strideList, stridesFor } from './family.js';
import type { Recognized } from './family.js';
import { checkTable, rowMajor, rowsOf, valueAt } from './table.js';
import { addYoloRows, centerBox } from './yolo.js';

const settings = z.object({
  type: z.literal('yolox'),
  /** Output [1, cells, 5 + classes]: box, objectness, classes (scores, not logits). */
  output: outputName,
  class: classColumns,
  /** `grid`: offsets from the cell and logarithms of sizes, in strides; `pixels`: decoded by the graph. */
  coding: z.enum(['grid', 'pixels']).default('grid'),
  strides: strideList,
});

type Settings = z.output<typeof settings>;

/** One box a cell, without anchors (Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", section 2.1). */
export const yolox = defineFamily({
  type: 'yolox',
  title: 'YOLOX',
  fits: 'one output [1, cells of strides 8, 16 and 32, 5 + C] (YOLOX)',
  settings,
  recognize({ heads: [head, ...others], input }): Recognized<Settings> | null {
    if (head === undefined || others.length > 0 || head.dims.length !== 3 || (head.dims[2] ?? 0) < 6) return null;
    const strides = stridesFor(input, head.dims[1] ?? 0);
    if (strides === undefined || strides.length === 4 && strides[0] === 8) return null;
    // Raw boxes come from a convolution as they are; a graph that decodes them ends in arithmetic.
    const coding = head.ends.some((op) => ['Mul', 'Add', 'Exp', 'Div', 'Sub', 'ScatterND'].includes(op)) ? 'pixels' : 'grid';
    return {
      decoder: { type: 'yolox', output: head.name, coding, strides, class: undefined }, classes: (head.dims[2] ?? 5) - 5,
      picture: { channels: 'bgr', mean: [0, 0, 0], std: [1, 1, 1], fit: 'letterbox', pad: 114 }, scoreThreshold: 0.3, suppress: true,
    };
  },
  decode(outputs, { output, class: class_, coding, strides }, { input, fit, threshold, everyClass }) {
    const all = rowMajor(outputs, output);
    checkTable(all, output, cellsOf(input, strides), Math.max(6, all.columns));
    const list = new CandidateList(fit);
    for (const { stride, columns, first, cells } of gridsOf(input, strides)) {
      const table = rowsOf(all, first, cells);
      const box = (cell: number): readonly [number, number, number, number] => {
        if (coding === 'pixels') return centerBox(table, cell);
        const column = cell % columns;
        const x = (column + valueAt(table, cell, 0)) * stride;
        const y = ((cell - column) / columns + valueAt(table, cell, 1)) * stride;
        const [halfWidth, halfHeight] = [(Math.exp(valueAt(table, cell, 2)) * stride) / 2, (Math.exp(valueAt(table, cell, 3)) * stride) / 2];
        return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
      };
      addYoloRows(list, { table, activation: 'none', box, columns: columnList(class_) }, { threshold, everyClass });
    }
    return list.finish();
  },
});
