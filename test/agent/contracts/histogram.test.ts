import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bucketIndex, countOf, Histogram, histogramSchema, mergeHistograms, quantile, type HistogramData } from '../../../agent/contracts/index.js';

const value = fc.double({ min: 0, max: 1e6, noNaN: true });

function histogramOf(values: readonly number[]): HistogramData {
  const histogram = new Histogram();
  for (const v of values) histogram.record(v);
  return histogram.toData();
}

describe('exponential histograms', () => {
  it('put powers of two at the upper end of their bucket, as OTLP demands', () => {
    expect([0.5, 1, 2, 4].map(bucketIndex)).toEqual([-33, -1, 31, 63]);
    expect(bucketIndex(1.0001)).toBe(0);
  });

  it('merge exactly: merge(h(a), h(b)) = h(a ++ b)', () => {
    fc.assert(fc.property(fc.array(value), fc.array(value), (a, b) => {
      const merged = mergeHistograms(histogramOf(a), histogramOf(b));
      const whole = histogramOf([...a, ...b]);
      expect({ ...merged, sum: 0 }).toEqual({ ...whole, sum: 0 });
      expect(merged.sum).toBeCloseTo(whole.sum, 3);
    }));
  });

  it('give quantiles within 1.1 % of the nearest-rank value', () => {
    fc.assert(fc.property(fc.array(fc.double({ min: 1e-3, max: 1e6, noNaN: true }), { minLength: 1 }), fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
      const sorted = [...values].sort((x, y) => x - y);
      const exact = sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;
      const estimate = quantile(histogramOf(values), q) ?? NaN;
      expect(Math.abs(estimate - exact)).toBeLessThanOrEqual(exact * 0.011);
    }));
  });

  it('survive JSON and the schema, whatever was recorded', () => {
    fc.assert(fc.property(fc.array(fc.oneof(value, fc.constantFrom(0, 1e-9, 1e300))), (values) => {
      const data = histogramOf(values);
      expect(histogramSchema.parse(JSON.parse(JSON.stringify(data)))).toEqual(data);
    }));
  });

  it('hold as many values as were recorded, which the buckets tell', () => {
    fc.assert(fc.property(fc.array(fc.tuple(value, fc.integer({ min: 1, max: 100 }))), (pairs) => {
      const histogram = new Histogram();
      for (const [recorded, times] of pairs) histogram.record(recorded, times);
      expect(countOf(histogram.toData())).toBe(histogram.count);
    }));
  });

  it.each(['0:1', '-70:z01A1', '0:1Z1', '3:(36)B(40)'])('are read as they are written: %s', (buckets) => {
    const data = { ...histogramOf([]), buckets };
    expect(Histogram.from(data).toData().buckets).toBe(buckets);
  });

  it.each(['0:(-4)1', '0:1(0)', '0:', '9999:1', '900:ZZZ1', '0:(999999999999999)(999999999999999)(999999999999999)(999999999999999)(999999999999999)(999999999999999)(999999999999999)(999999999999999)(999999999999999)(999999999999999)'])(
    'refuse buckets of another form, out of range, or of more values than can be counted: %s', (buckets) => {
      expect(histogramSchema.safeParse({ ...histogramOf([1, 2]), buckets }).success).toBe(false);
    });

  it('stay readable whatever is merged into them: what no histogram can hold is left out', () => {
    const most = 999_999_999_999_999;
    const huge = fc.record({ sum: fc.constantFrom(0, 1, Number.MAX_VALUE), n: fc.constantFrom(1, 35, 36, most - 1, most), zeros: fc.constantFrom(0, 1), index: fc.integer({ min: 0, max: 2 }) })
      .map(({ sum, n, zeros, index }): HistogramData => ({ sum, min: 0, max: 1, ...(zeros === 0 || n === most ? {} : { zero_count: zeros }), buckets: `${index}:${n < 36 ? n.toString(36) : `(${n})`}` }));
    fc.assert(fc.property(fc.array(huge, { minLength: 1, maxLength: 5 }), (list) => {
      for (const one of list) expect(histogramSchema.safeParse(one).success).toBe(true);
      let merged = new Histogram().toData();
      for (const one of list) merged = histogramSchema.parse(JSON.parse(JSON.stringify(mergeHistograms(merged, one))));
      expect(countOf(merged)).toBeGreaterThanOrEqual(countOf(list[0] ?? merged));
    }));
    expect(histogramSchema.safeParse({ sum: 1, min: 0, max: 1, zero_count: 1, buckets: `0:(${most})` }).success).toBe(false);
  });

  it('have no quantile when empty, and refuse negative values', () => {
    expect(quantile(histogramOf([]), 0.5)).toBeNull();
    expect(() => new Histogram().record(-1)).toThrow(RangeError);
    expect(() => new Histogram().record(NaN)).toThrow(RangeError);
  });
});
