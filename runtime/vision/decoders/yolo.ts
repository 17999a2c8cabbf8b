/** What YOLOX's and YOLOv5's rows have in common: four numbers of a box, objectness, then classes, then (sometimes) keypoints. */
import type { CandidateList } from './candidates.js';
import type { Table } from './table.js';
import { columnsOf, fourAt } from './table.js';
import { product, scanScores } from './scores.js';

export interface YoloRows {
  table: Table;
  /** Whether objectness and classes are logits. */
  activation: 'none' | 'sigmoid';
  /** x1, y1, x2, y2 in pixels of the input. */
  box(row: number): readonly [number, number, number, number];
  columns?: readonly number[] | undefined;
}

/** Adds the candidates of the rows: the score of a class is the product with objectness. */
export function addYoloRows(list: CandidateList, { table, activation, box, columns }: YoloRows, { threshold, everyClass = false }: { threshold: number; everyClass?: boolean | undefined }): void {
  const objectness = { table: columnsOf(table, 4, 1), activation, combine: product };
  scanScores(columnsOf(table, 5), { activation, columns, threshold, everyClass, objectness }, (row, label, score) => {
    list.add(score, label, box(row));
  });
}

/** Centre and size, as the columns 0 to 3 state them. */
export function centerBox(table: Table, row: number): readonly [number, number, number, number] {
  const [x, y, width, height] = fourAt(table, row);
  return [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
}
