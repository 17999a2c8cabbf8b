/** Scores by the second order: each removal costs what least squares on the columns that are left say, however the columns are packed meanwhile. */
import { describe, expect, it } from 'vitest';
import { eliminated } from '../../../deploy/lab/prune/scores.js';
import { random } from '../../runtime/support/random.js';

type Matrix = number[][];

const at = (m: Matrix, i: number, j: number): number => m[i]?.[j] ?? NaN;
const made = (rows: number, columns: number, of: (i: number, j: number) => number): Matrix => Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (__, j) => of(i, j)));
const product = (a: Matrix, b: Matrix): Matrix => made(a.length, b[0]?.length ?? 0, (i, j) => b.reduce((sum, _, k) => sum + at(a, i, k) * at(b, k, j), 0));

/** By Gauss and Jordan; the matrix is positive definite. */
function inverted(m: Matrix): Matrix {
  const n = m.length;
  const work = made(n, 2 * n, (i, j) => (j < n ? at(m, i, j) : Number(j - n === i)));
  for (let k = 0; k < n; k++) {
    const pivot = at(work, k, k);
    const line = (work[k] ?? []).map((value) => value / pivot);
    work.forEach((row, i) => (work[i] = i === k ? line : row.map((value, j) => value - at(work, i, k) * (line[j] ?? NaN))));
  }
  return work.map((row) => row.slice(n));
}

/** The same from the beginning for each removal: weights of the columns that are left by least squares, and the inverse of their covariance. */
function scoredAnew(weights: Matrix, covariance: Matrix, channels: ReadonlyMap<number, readonly number[]>): Map<number, number> {
  const [left, scores] = [new Map(channels), new Map<number, number>()];
  let most = 0;
  while (left.size > 0) {
    const columns = [...left.values()].flat();
    const inverse = inverted(made(columns.length, columns.length, (i, j) => at(covariance, columns[i] ?? 0, columns[j] ?? 0)));
    const seen = made(covariance.length, columns.length, (i, j) => at(covariance, i, columns[j] ?? 0));
    const own = product(product(weights, seen), inverse);
    const costs = [...left].map(([id, taken]): [number, number] => [id, taken.reduce((sum, column) => {
      const k = columns.indexOf(column);
      return sum + own.reduce((squares, row) => squares + (row[k] ?? NaN) ** 2, 0) / at(inverse, k, k);
    }, 0)]);
    const [id, cost] = costs.reduce((a, b) => (b[1] < a[1] ? b : a));
    most = Math.max(most, cost);
    scores.set(id, most);
    left.delete(id);
  }
  return scores;
}

describe('scores by the second order', () => {
  it.each([[1, 14], [3, 7]])('are those of least squares done anew for each removal: %i columns of each of %i channels', (taps, count) => {
    const depth = taps * count;
    const next = random(3 + taps);
    const factor = made(depth, depth, () => next() - 0.5);
    const covariance = made(depth, depth, (i, j) => factor.reduce((sum, _, k) => sum + at(factor, i, k) * at(factor, j, k), i === j ? 0.1 : 0));
    const weights = made(5, depth, () => next() - 0.5);
    const ids = Array.from({ length: count }, (_, i) => i + 1);
    const wanted = scoredAnew(weights, covariance, new Map(ids.map((id, i) => [id, Array.from({ length: taps }, (_, t) => i * taps + t)])));
    const scores = eliminated(Float64Array.from(weights.flat()), Float64Array.from(inverted(covariance).flat()), depth, ids);
    expect([...scores.keys()]).toEqual([...wanted.keys()]);
    for (const [id, score] of scores) expect(score / (wanted.get(id) ?? NaN)).toBeCloseTo(1, 8);
    expect(new Set(scores.values()).size).toBeGreaterThan(2);
  });

  it('cost nothing for one of two columns that are alike, and leave channels that stay', () => {
    const covariance = [[1, 1, 0], [1, 1, 0], [0, 0, 1]].map((row, i) => row.map((value, j) => value + (i === j ? 1e-9 : 0)));
    const scores = eliminated(Float64Array.from([1, 1, 1]), Float64Array.from(inverted(covariance).flat()), 3, [1, 2, 0]);
    const [first, second] = [...scores.values()];
    expect(scores.has(0)).toBe(false);
    expect(first).toBeLessThan(1e-6);
    expect(second).toBeGreaterThan(1);
  });
});
