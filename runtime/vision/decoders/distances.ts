/** Heads that state a box by the distances of its sides from a point of the cell, each as a distribution over bins. */
import { RuntimeError } from '../../errors.js';
import type { CandidateList } from './candidates.js';
import type { Grid } from './family.js';
import type { Activation } from './scores.js';
import { scanScores } from './scores.js';
import { valueAt } from './table.js';
import type { Table } from './table.js';

export interface DistanceLevel {
  grid: Grid;
  scores: Table;
  /** 4 x bins columns: left, top, right, bottom. */
  distances: Table;
}

export interface DistanceOptions {
  activation: Activation;
  columns?: readonly number[] | undefined;
  /** Bins of each side's distribution; 1: the distance itself. */
  bins: number;
  /** Where in its cell the point is, 0..1. */
  center: number;
  threshold: number;
  everyClass?: boolean | undefined;
}

/** @throws RuntimeError E_MODEL_SHAPE when the tables do not have the grid's cells, or four distributions */
export function addDistanceLevel(list: CandidateList, { grid, scores, distances }: DistanceLevel, options: DistanceOptions): void {
  const { bins, center, activation, columns, threshold, everyClass = false } = options;
  if (scores.rows !== grid.cells || distances.rows !== grid.cells || distances.columns !== 4 * bins) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected scores and 4 x ${bins} distances for ${grid.cells} cells of stride ${grid.stride} but received ${scores.rows} x ${scores.columns} and ${distances.rows} x ${distances.columns}`);
  }
  scanScores(scores, { activation, columns, threshold, everyClass }, (cell, label, score) => {
    const column = cell % grid.columns;
    const x = (column + center) * grid.stride;
    const y = ((cell - column) / grid.columns + center) * grid.stride;
    const side = (index: number): number => expectation(distances, cell, index * bins, bins) * grid.stride;
    list.add(score, label, [x - side(0), y - side(1), x + side(2), y + side(3)]);
  });
}

/** Mean of the bins' numbers under the softmax of their values (X. Li et al., "Generalized Focal Loss", 2020, equation 5). */
export function expectation(table: Table, row: number, first: number, bins: number): number {
  if (bins === 1) return valueAt(table, row, first);
  let most = -Infinity;
  for (let bin = 0; bin < bins; bin++) most = Math.max(most, valueAt(table, row, first + bin));
  let sum = 0;
  let mean = 0;
  for (let bin = 0; bin < bins; bin++) {
    const weight = Math.exp(valueAt(table, row, first + bin) - most);
    sum += weight;
    mean += weight * bin;
  }
  return mean / sum;
}
