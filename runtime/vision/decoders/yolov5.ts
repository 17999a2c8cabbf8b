import { z } from 'zod';
import { CandidateList } from './candidates.js';
import { activate } from './scores.js';
import { classColumns, columnList, defineFamily, gridsOf, outputName, rgbOf255, strideList, stridesFor } from './family.js';
import type { Head, InputSize, Recognized } from './family.js';
import { floatOutput, rowMajor, valueAt, wrongSize } from './table.js';
import type { Outputs, Table } from './table.js';
import { addYoloRows, centerBox } from './yolo.js';

const settings = z.object({
  type: z.literal('yolov5'),
  /** `pixels`: one output [1, anchors, 5 + classes], decoded by the graph; `anchors`: a raw output of each stride. */
  coding: z.enum(['pixels', 'anchors']),
  outputs: z.array(outputName).min(1).max(8),
  class: classColumns,
  strides: strideList,
  /** Width and height of the anchors of each stride, pixels of the input. */
  anchors: z.array(z.array(z.tuple([z.number().positive(), z.number().positive()])).min(1).max(8)).min(1).max(8),
});

type Settings = z.output<typeof settings>;

/** Those that the published models of YOLOv5 and YOLOv7-tiny start from. */
const publishedAnchors: [number, number][][] = [
  [[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90], [156, 198], [373, 326]],
];

/** Raw heads [1, A, H, W, 5 + C], or [1, A (5 + C), H, W], from the finest to the coarsest; null when they are others. */
function rawHeads(heads: readonly Head[], input: InputSize): { names: string[]; classes: number } | null {
  if (heads.length !== 3) return null;
  const grids = gridsOf(input, [8, 16, 32]);
  const found = grids.map(({ columns, rows }) => heads.find(({ dims }) => (dims.length === 5 && dims[1] === 3 && dims[2] === rows && dims[3] === columns && (dims[4] ?? 0) > 5)
    || (dims.length === 4 && dims[2] === rows && dims[3] === columns && (dims[1] ?? 1) % 3 === 0 && (dims[1] ?? 0) > 15)));
  const [first] = found;
  if (first === undefined || found.includes(undefined)) return null;
  const width = first.dims.length === 5 ? first.dims[4] ?? 0 : (first.dims[1] ?? 0) / 3;
  return { names: found.flatMap((head) => head?.name ?? []), classes: width - 5 };
}

/** Three boxes a cell, sized by anchors (YOLOv5 and its kin: YOLOv7, YOLOv5-face without points). */
export const yolov5 = defineFamily({
  type: 'yolov5',
  title: 'YOLOv5',
  fits: 'one output [1, 3 boxes a cell of strides 8, 16 and 32, 5 + C], or three raw ones [1, 3, H, W, 5 + C] (YOLOv5, YOLOv7)',
  settings,
  recognize({ heads, input }): Recognized<Settings> | null {
    const [head, ...others] = heads;
    const common = { picture: rgbOf255, scoreThreshold: 0.3, suppress: true };
    const raw = rawHeads(heads, input);
    if (raw !== null) {
      return { ...common, classes: raw.classes, decoder: { type: 'yolov5', coding: 'anchors', outputs: raw.names, strides: [8, 16, 32], anchors: publishedAnchors, class: undefined } };
    }
    if (head === undefined || others.length > 0 || head.dims.length !== 3 || (head.dims[2] ?? 0) < 6) return null;
    const strides = stridesFor(input, head.dims[1] ?? 0, 3);
    if (strides === undefined) return null;
    return { ...common, classes: (head.dims[2] ?? 5) - 5, decoder: { type: 'yolov5', coding: 'pixels', outputs: [head.name], strides, anchors: publishedAnchors, class: undefined } };
  },
  decode(outputs, stated, { input, fit, threshold, everyClass }) {
    const list = new CandidateList(fit);
    const columns = columnList(stated.class);
    if (stated.coding === 'pixels') {
      const table = rowMajor(outputs, stated.outputs[0] ?? '');
      if (table.columns < 6) throw wrongSize(stated.outputs[0] ?? '', '[1, N, 5 + C]', outputs[stated.outputs[0] ?? '']?.dims ?? []);
      addYoloRows(list, { table, activation: 'none', box: (row) => centerBox(table, row), columns }, { threshold, everyClass });
      return list.finish();
    }
    for (const [level, grid] of gridsOf(input, stated.strides).entries()) {
      for (const [index, anchor] of (stated.anchors[level] ?? []).entries()) {
        const table = anchorTable(outputs, stated.outputs[level] ?? '', { index, count: stated.anchors[level]?.length ?? 0, cells: grid.cells });
        addYoloRows(list, { table, activation: 'sigmoid', box: (cell) => anchorBox(table, cell, grid, anchor), columns }, { threshold, everyClass });
      }
    }
    return list.finish();
  },
});

/** The rows of one anchor of a raw head, in either layout. */
function anchorTable(outputs: Outputs, name: string, { index, count, cells }: { index: number; count: number; cells: number }): Table {
  const { dims, data } = floatOutput(outputs, name);
  const width = data.length / cells / count;
  if (!Number.isInteger(width) || width < 6) throw wrongSize(name, `${count} x ${cells} x (5 + C) values`, dims);
  const last = dims.length === 5;
  return { data, rows: cells, columns: width, start: index * cells * width, rowStep: last ? width : 1, columnStep: last ? 1 : cells };
}

/** YOLOv5's coding: centres within two cells, sizes up to four times the anchor's. */
function anchorBox(table: Table, cell: number, { columns, stride }: { columns: number; stride: number }, [width, height]: readonly [number, number]): readonly [number, number, number, number] {
  const share = (column: number): number => activate(valueAt(table, cell, column), 'sigmoid');
  const column = cell % columns;
  const x = (share(0) * 2 - 0.5 + column) * stride;
  const y = (share(1) * 2 - 0.5 + (cell - column) / columns) * stride;
  const [halfWidth, halfHeight] = [((share(2) * 2) ** 2 * width) / 2, ((share(3) * 2) ** 2 * height) / 2];
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
}
