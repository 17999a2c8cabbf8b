import { RuntimeError } from '../../errors.js';
import type { Table } from './table.js';

/** What turns a head's value into a score of 0..1; `none`: the graph did it. */
export type Activation = 'none' | 'sigmoid' | 'softmax';

export interface ScanOptions {
  activation: Activation;
  threshold: number;
  /** Columns that count, in the order of the labels. Default: all. Softmax always runs over all of them. */
  columns?: readonly number[] | undefined;
  /** Every class that reaches the threshold is a candidate of its own (what average precision is measured with), or only the best. */
  everyClass: boolean;
  /** Whether an object is there at all: a table of one column, and how it and a class score give the score (growing in both). */
  objectness?: { table: Table; activation: 'none' | 'sigmoid'; combine(objectness: number, score: number): number } | undefined;
}

/**
 * Calls `hit` for each row and label whose score reaches the threshold, in the order of rows, then of labels. NaN never does.
 * @throws RuntimeError E_MODEL_SHAPE when a column that counts is not in the table, or there is none
 */
export function scanScores(table: Table, options: ScanOptions, hit: (row: number, label: number, score: number) => void): void {
  const { threshold, objectness } = options;
  const scan = new RowScan(table, options);
  for (let row = 0; row < table.rows; row++) {
    let present = 1;
    if (objectness !== undefined) {
      const { data, start, rowStep } = objectness.table;
      present = activate(data[start + row * rowStep] ?? 0, objectness.activation);
      // Most rows end here: no class can lift them above the threshold.
      if (!(objectness.combine(present, 1) >= threshold)) continue;
    }
    scan.row(row, present, hit);
  }
}

/** The classes of one row. */
class RowScan {
  readonly #table: Table;
  readonly #options: ScanOptions;
  readonly #columns: readonly number[];
  /** A value below it cannot reach the threshold; exact tests follow. */
  readonly #leastValue: number;

  constructor(table: Table, options: ScanOptions) {
    const { activation, threshold, columns, objectness } = options;
    this.#table = table;
    this.#options = options;
    const last = columns?.find((column) => column >= table.columns) ?? 0;
    if (last >= table.columns) throw new RuntimeError('E_MODEL_SHAPE', `Expected scores of more than ${last} classes but received ${table.columns}`);
    this.#columns = columns ?? Array.from({ length: table.columns }, (_, column) => column);
    const slack = 1e-3;
    const raw = activation === 'sigmoid' ? Math.log(threshold / (1 - threshold)) : activation === 'none' ? threshold : -Infinity;
    this.#leastValue = objectness === undefined ? raw - slack : -Infinity;
  }

  row(row: number, present: number, hit: (row: number, label: number, score: number) => void): void {
    const { data, start, rowStep, columnStep } = this.#table;
    const columns = this.#columns;
    const at = start + row * rowStep;
    if (this.#options.everyClass) {
      for (let label = 0; label < columns.length; label++) {
        const value = data[at + (columns[label] ?? 0) * columnStep] ?? 0;
        if (value >= this.#leastValue) this.#judge(row, label, value, present, hit);
      }
      return;
    }
    let best = -1;
    let most = -Infinity;
    for (let label = 0; label < columns.length; label++) {
      const value = data[at + (columns[label] ?? 0) * columnStep] ?? 0;
      if (value > most) [best, most] = [label, value];
    }
    if (best >= 0 && most >= this.#leastValue) this.#judge(row, best, most, present, hit);
  }

  #judge(row: number, label: number, value: number, present: number, hit: (row: number, label: number, score: number) => void): void {
    const { activation, objectness, threshold } = this.#options;
    const own = activation === 'softmax' ? this.#softmax(row, value) : activate(value, activation);
    const score = objectness === undefined ? own : objectness.combine(present, own);
    if (score >= threshold) hit(row, label, score);
  }

  #softmax(row: number, value: number): number {
    const { data, start, rowStep, columnStep, columns } = this.#table;
    const at = start + row * rowStep;
    let most = -Infinity;
    for (let column = 0; column < columns; column++) most = Math.max(most, data[at + column * columnStep] ?? 0);
    let sum = 0;
    for (let column = 0; column < columns; column++) sum += Math.exp((data[at + column * columnStep] ?? 0) - most);
    return Math.exp(value - most) / sum;
  }
}

/** Scores beyond 0..1 come from rounding (a last quantization step above one), so they are clamped. NaN stays NaN. */
export function activate(value: number, activation: 'none' | 'sigmoid'): number {
  return activation === 'sigmoid' ? 1 / (1 + Math.exp(-value)) : Math.min(1, Math.max(0, value));
}

export const product = (objectness: number, score: number): number => objectness * score;
