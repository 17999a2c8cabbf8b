import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assign } from '../../../../runtime/vision/tracking/assignment.js';

type Matrix = readonly (readonly number[])[];

const solve = (cost: Matrix, limit: number): number[] => [...assign(cost.flat(), cost.length, cost[0]?.length ?? 0, limit)];
const worth = (cost: Matrix, limit: number, columnOf: readonly number[]): number =>
  columnOf.reduce((sum, column, row) => sum + (column < 0 ? 0 : (cost[row]?.[column] ?? Infinity) - limit), 0);

/** The least sum over all ways to pair rows with columns. */
function best(cost: Matrix, limit: number, row = 0, taken: readonly number[] = []): number {
  if (row === cost.length) return 0;
  const pairs = (cost[row] ?? []).flatMap((value, column) => (taken.includes(column) || !(value < limit) ? [] : [value - limit + best(cost, limit, row + 1, [...taken, column])]));
  return Math.min(best(cost, limit, row + 1, taken), ...pairs);
}

const matrix = fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 5 })).chain(([rows, columns]) =>
  fc.array(fc.array(fc.oneof(fc.double({ min: 0, max: 2, noNaN: true }), fc.constantFrom(0, 0.5, 1, Infinity)), { minLength: columns, maxLength: columns }), { minLength: rows, maxLength: rows }));

describe('assignment', () => {
  it('gives up the best pair where two others are worth more', () => {
    expect(solve([[0.1, 0.2], [0.15, 0.9]], 1)).toEqual([1, 0]);
  });

  it('leaves a row alone rather than make a pair that costs the limit', () => {
    expect(solve([[0.5], [0.2]], 0.5)).toEqual([-1, 0]);
    expect(solve([[0.5]], 0.5)).toEqual([-1]);
    expect(solve([[Infinity, NaN], [NaN, 0.1]], 1)).toEqual([-1, 1]);
  });

  it('takes fewer and more rows than columns, and none of either', () => {
    expect(solve([[0.9, 0.1, 0.5]], 1)).toEqual([1]);
    expect(solve([[0.9], [0.1], [0.5]], 1)).toEqual([-1, 0, -1]);
    expect([...assign([], 0, 3, 1)]).toEqual([]);
    expect([...assign([], 2, 0, 1)]).toEqual([-1, -1]);
  });

  it('is optimal, as trying every way shows, and gives no column twice', () => {
    fc.assert(fc.property(matrix, fc.double({ min: 0.1, max: 1.5, noNaN: true }), (cost, limit) => {
      const columnOf = solve(cost, limit);
      const taken = columnOf.filter((column) => column >= 0);
      expect(new Set(taken).size).toBe(taken.length);
      columnOf.forEach((column, row) => { if (column >= 0) expect(cost[row]?.[column]).toBeLessThan(limit); });
      expect(worth(cost, limit, columnOf)).toBeCloseTo(best(cost, limit), 9);
    }), { numRuns: 500 });
  });
});
