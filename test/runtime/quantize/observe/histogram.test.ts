import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Histogram } from '../../../../runtime/quantize/observe/histogram.js';

const total = (histogram: Histogram): number => [...histogram.bins()].reduce((sum, { count }) => sum + count, 0);
const values = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), { minLength: 1, maxLength: 60 });

describe('Histogram', () => {
  it('counts every value once, however the stream is cut and the range grows', () => {
    fc.assert(fc.property(fc.array(values, { minLength: 1, maxLength: 5 }), (parts) => {
      const streamed = new Histogram();
      for (const part of parts) expect(streamed.add(Float32Array.from(part))).toBe(true);
      const all = parts.flat();
      expect(streamed.count).toBe(all.length);
      expect(total(streamed)).toBe(all.length);
      expect(streamed.min).toBe(Math.min(...all));
      expect(streamed.max).toBe(Math.max(...all));
    }));
  });

  it('keeps each value within a bin of where it was', () => {
    fc.assert(fc.property(values, (list) => {
      const histogram = new Histogram();
      histogram.add(Float32Array.from(list));
      const sorted = [...list].sort((a, b) => a - b);
      const centres = [...histogram.bins()].flatMap(({ value, count }) => Array<number>(count).fill(value));
      const width = 2 * Math.max(...list.map(Math.abs)) / 4096;
      sorted.forEach((value, i) => expect(Math.abs((centres[i] ?? NaN) - value)).toBeLessThanOrEqual(width));
    }));
  });

  it('adds up: two halves merged are the whole', () => {
    fc.assert(fc.property(values, values, (a, b) => {
      const [left, right] = [new Histogram(), new Histogram()];
      left.add(Float32Array.from(a));
      right.add(Float32Array.from(b));
      left.merge(right);
      expect(total(left)).toBe(a.length + b.length);
      expect(left.min).toBe(Math.min(...a, ...b));
      expect(left.max).toBe(Math.max(...a, ...b));
    }));
  });

  it.each([NaN, Infinity, -Infinity])('refuses %s and takes nothing of the tensor it is in', (bad) => {
    const histogram = new Histogram();
    histogram.add(Float32Array.of(1, 2));
    expect(histogram.add(Float32Array.of(3, bad))).toBe(false);
    expect([histogram.count, histogram.max]).toEqual([2, 2]);
  });

  it('keeps zeros apart, so that they are exact', () => {
    const histogram = new Histogram();
    histogram.add(new Float32Array(5));
    histogram.add(Float32Array.of(0, 4));
    expect([...histogram.bins()].filter(({ value }) => value === 0)).toEqual([{ value: 0, count: 6 }]);
  });

  it('without bins knows the extremes only', () => {
    const histogram = new Histogram(false);
    histogram.add(Float32Array.of(-2, 5));
    expect([histogram.min, histogram.max, histogram.count, [...histogram.bins()].length]).toEqual([-2, 5, 2, 0]);
  });
});
