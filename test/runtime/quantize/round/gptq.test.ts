import { describe, expect, it } from 'vitest';
import { clippedScale } from '../../../../runtime/quantize/ranges/clip-search.js';
import { covariance, roundingOrder, roundRow } from '../../../../runtime/quantize/round/gptq.js';
import { random } from '../../support/random.js';

const depth = 12;
const count = 400;

/** Columns of which neighbours are alike, as those of a convolution are. */
function correlated(seed: number): Float32Array {
  const next = random(seed);
  const columns = new Float32Array(count * depth);
  for (let c = 0; c < count; c++) {
    let value = 0;
    for (let k = 0; k < depth; k++) columns[c * depth + k] = value = 0.8 * value + next() - 0.5;
  }
  return columns;
}

const whole = { count, stride: depth, first: 0, depth };

/** e H e', summed as it is written. */
function outputError(row: Float32Array, codes: ArrayLike<number>, scale: number, h: Float64Array): number {
  const e = Array.from(row, (weight, k) => weight - (codes[k] ?? 0) * scale);
  return e.reduce((sum, a, i) => sum + e.reduce((inner, b, j) => inner + a * b * (h[i * depth + j] ?? 0), 0), 0);
}

describe('covariance', () => {
  it('is the mean product less the product of means', () => {
    const columns = correlated(1).map((value, i) => value + (i % depth));
    const h = covariance(columns, whole);
    const column = (k: number): number[] => Array.from({ length: count }, (_, c) => columns[c * depth + k] ?? 0);
    const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / count;
    for (const [i, j] of [[0, 0], [3, 7], [11, 2]] as const) {
      const expected = mean(column(i).map((value, c) => value * (column(j)[c] ?? 0))) - mean(column(i)) * mean(column(j));
      expect(h[i * depth + j]).toBeCloseTo(expected, 4);
      expect(h[i * depth + j]).toBe(h[j * depth + i]);
    }
  });

  it('takes a group out of wider columns', () => {
    const columns = correlated(2);
    const part = covariance(columns, { count, stride: depth, first: 4, depth: 3 });
    const all = covariance(columns, whole);
    expect(part[1]).toBe(all[4 * depth + 5]);
  });
});

describe('roundRow', () => {
  it('makes the error of the output smaller than rounding to the nearest does, on any grid', () => {
    for (const largest of [1, 7, 9, 63]) {
      const h = covariance(correlated(3), whole);
      const order = roundingOrder(h, depth, count);
      const next = random(largest);
      let [better, nearest, compensated] = [0, 0, 0];
      for (let trial = 0; trial < 40; trial++) {
        const row = Float32Array.from({ length: depth }, () => next() - 0.5);
        const scale = 0.5 / largest;
        const codes = new Int8Array(depth);
        roundRow(row, codes, order, { scale, largest });
        expect(codes.every((code) => Math.abs(code) <= largest)).toBe(true);
        const plain = outputError(row, Array.from(row, (weight) => Math.max(-largest, Math.min(largest, Math.round(weight / scale)))), scale, h);
        const own = outputError(row, codes, scale, h);
        if (own <= plain) better++;
        nearest += plain;
        compensated += own;
      }
      expect(better).toBeGreaterThan(25);
      expect(compensated).toBeLessThan(0.8 * nearest);
    }
  });

  it('rounds to the nearest where columns have nothing in common', () => {
    const h = new Float64Array(depth * depth);
    for (let k = 0; k < depth; k++) h[k * depth + k] = 1 + k;
    const row = Float32Array.from({ length: depth }, (_, k) => (k - 5.3) / 10);
    const codes = new Int8Array(depth);
    roundRow(row, codes, roundingOrder(h, depth, count), { scale: 0.1, largest: 9 });
    expect([...codes]).toEqual([-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6]);
  });

  it('takes weights that never met anything but zero', () => {
    const columns = correlated(5);
    for (let c = 0; c < count; c++) columns[c * depth + 3] = columns[c * depth + 4] = 0;
    const order = roundingOrder(covariance(columns, whole), depth, count);
    expect([order.diagonal[3], order.diagonal[4]]).toEqual([0, 0]);
    const codes = new Int8Array(depth);
    roundRow(new Float32Array(depth).fill(0.24), codes, order, { scale: 0.1, largest: 9 });
    expect(codes[3]).toBe(2);
    const dead = roundingOrder(new Float64Array(depth * depth), depth, count);
    roundRow(new Float32Array(depth).fill(0.26), codes, dead, { scale: 0.1, largest: 9 });
    expect([...codes]).toEqual(new Array(depth).fill(3));
  });
});

describe('clippedScale', () => {
  const flat = new Float64Array(100).fill(1);

  it('clips one outlier on a coarse grid, and nothing on a fine one', () => {
    const row = Float32Array.from({ length: 100 }, (_, i) => (i === 7 ? 3 : Math.sin(i)));
    expect(clippedScale(row, flat, 2)).toBeLessThan(1.5 * 0.8);
    expect(clippedScale(row, flat, 127)).toBeCloseTo(3 / 127, 6);
  });

  it('keeps an outlier that matters', () => {
    const row = Float32Array.from({ length: 100 }, (_, i) => (i === 7 ? 3 : Math.sin(i)));
    const important = flat.map((_, i) => (i === 7 ? 1000 : 1));
    expect(clippedScale(row, important, 2)).toBe(1.5);
  });

  it('has none for a row of zeros', () => {
    expect(clippedScale(new Float32Array(5), new Float64Array(5).fill(1), 9)).toBe(0);
  });
});
