import { z } from 'zod';
import { CandidateList } from './candidates.js';
import { classColumns, columnList, defineFamily, outputName } from './family.js';
import type { Recognized } from './family.js';
import { activate, scanScores } from './scores.js';
import { channelMajor, columnsOf, valueAt, wrongSize } from './table.js';

const settings = z.object({
  type: z.literal('fastestdet'),
  /** Output [1, 5 + classes, H, W]: objectness, box, classes (scores, not logits). */
  output: outputName,
  class: classColumns,
});

type Settings = z.output<typeof settings>;

/** The author's weights of objectness and class. */
const combine = (objectness: number, score: number): number => objectness ** 0.6 * score ** 0.4;

/** One grid, one box a cell: the centre by tanh from the cell's corner, the size by sigmoid as a share of the picture (X. Ma, FastestDet, 2022). */
export const fastestdet = defineFamily({
  type: 'fastestdet',
  title: 'FastestDet',
  fits: 'one output [1, 5 + C, H / 16, W / 16] (FastestDet)',
  settings,
  recognize({ heads: [head, ...others], input }): Recognized<Settings> | null {
    const [batch, values = 0, rows = 0, columns = 0] = head?.dims ?? [];
    if (head === undefined || others.length > 0 || head.dims.length !== 4 || batch !== 1 || values < 6) return null;
    if (rows !== Math.ceil(input.height / 16) || columns !== Math.ceil(input.width / 16)) return null;
    return {
      decoder: { type: 'fastestdet', output: head.name, class: undefined }, classes: values - 5,
      picture: { channels: 'bgr', mean: [0, 0, 0], std: [255, 255, 255], fit: 'stretch', pad: 0 }, scoreThreshold: 0.6, suppress: true,
    };
  },
  decode(outputs, { output, class: class_ }, { input, fit, threshold, everyClass = false }) {
    const table = channelMajor(outputs, output);
    const [, , rows = 0, columns = 0] = outputs[output]?.dims ?? [];
    if (table.columns < 6 || rows * columns !== table.rows) throw wrongSize(output, '[1, 5 + C, H, W]', outputs[output]?.dims ?? []);
    const objectness = { table: columnsOf(table, 0, 1), activation: 'none' as const, combine };
    const list = new CandidateList(fit);
    scanScores(columnsOf(table, 5), { activation: 'none', columns: columnList(class_), threshold, everyClass, objectness }, (cell, label, score) => {
      const column = cell % columns;
      const x = ((column + Math.tanh(valueAt(table, cell, 1))) / columns) * input.width;
      const y = (((cell - column) / columns + Math.tanh(valueAt(table, cell, 2))) / rows) * input.height;
      const halfWidth = (activate(valueAt(table, cell, 3), 'sigmoid') * input.width) / 2;
      const halfHeight = (activate(valueAt(table, cell, 4), 'sigmoid') * input.height) / 2;
      list.add(score, label, [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight]);
    });
    return list.finish();
  },
});
