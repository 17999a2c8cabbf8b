import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pixelParameters, collectLevels } from '../../../../runtime/quantize/ranges/input-grid.js';
import { Histogram } from '../../../../runtime/quantize/observe/histogram.js';
import { affineParameters, chooseRange, type Range } from '../../../../runtime/quantize/ranges/range.js';
import { random } from '../../support/random.js';

const filled = (values: Iterable<number>): Histogram => {
  const histogram = new Histogram();
  histogram.add(Float32Array.from(values));
  return histogram;
};

describe('affineParameters', () => {
  it('represent zero exactly and cover the range to half a step', () => {
    const bound = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 });
    fc.assert(fc.property(bound, bound, (a, b) => {
      const range: Range = { min: Math.min(a, b), max: Math.max(a, b) };
      const { scale, zeroPoint } = affineParameters(range);
      expect(scale).toBeGreaterThan(0);
      expect(Number.isInteger(zeroPoint) && zeroPoint >= 0 && zeroPoint <= 255).toBe(true);
      expect(Math.fround(scale)).toBe(scale);
      const tolerance = 0.5001 * scale;
      expect(-zeroPoint * scale).toBeLessThanOrEqual(Math.min(0, range.min) + tolerance);
      expect((255 - zeroPoint) * scale).toBeGreaterThanOrEqual(Math.max(0, range.max) - tolerance);
    }));
  });

  it('give a positive scale to a value that is always zero', () => {
    expect(affineParameters({ min: 0, max: 0 })).toEqual({ scale: 1, zeroPoint: 0 });
  });

  it('put the whole grid on one side when the values are', () => {
    expect(affineParameters({ min: 1, max: 255 })).toEqual({ scale: 1, zeroPoint: 0 });
    expect(affineParameters({ min: -255, max: -1 })).toEqual({ scale: 1, zeroPoint: 255 });
  });
});

describe('chooseRange', () => {
  const next = random(7);
  const bell = Array.from({ length: 20_000 }, () => next() + next() + next() + next() - 2);

  it('takes the extremes by min-max', () => {
    expect(chooseRange(filled([-3, 0.5, 2]), 'minmax', 99)).toEqual({ min: -3, max: 2 });
  });

  it('cuts the given share off each end by percentile', () => {
    const { min, max } = chooseRange(filled(Array.from({ length: 1000 }, (_, i) => i - 500)), 'percentile', 99);
    expect(min).toBeCloseTo(-490, -1);
    expect(max).toBeCloseTo(489, -1);
  });

  it('clips an outlier by mean squared error, and leaves a compact value alone', () => {
    const many = filled([8]);
    for (let i = 0; i < 60; i++) many.merge(filled(bell));
    const clipped = chooseRange(many, 'mse', 0);
    expect(clipped.max).toBeLessThan(6);
    expect(clipped.max).toBeGreaterThan(1);
    // One in twenty thousand is not enough: its own error would outweigh the finer steps of all others.
    expect(chooseRange(filled([...bell, 8]), 'mse', 0).max).toBeGreaterThan(6);
    const flat = Array.from({ length: 5000 }, (_, i) => i / 2500 - 1);
    expect(chooseRange(filled(flat), 'mse', 0).max).toBeGreaterThan(0.97);
  });

  it('gives an empty range to a value that was never seen', () => {
    for (const method of ['minmax', 'percentile', 'mse'] as const) expect(chooseRange(new Histogram(), method, 99.9)).toEqual({ min: 0, max: 0 });
  });
});

describe('pixelParameters', () => {
  const pixels = (mean: number, std: number, count = 256): Set<number> => new Set(Array.from({ length: count }, (_, p) => Math.fround((p - mean) / std)));
  const worst = (values: Set<number>): number => {
    const parameters = pixelParameters(values);
    if (parameters === undefined) return NaN;
    const { scale, zeroPoint } = parameters;
    return Math.max(...[...values].map((value) => Math.abs((Math.max(0, Math.min(255, Math.round(value / scale) + zeroPoint)) - zeroPoint) * scale - value) / scale));
  };

  it('hold pixels exactly when the mean is whole', () => {
    expect(pixelParameters(pixels(127, 128))).toEqual({ scale: 1 / 128, zeroPoint: 127 });
    expect(worst(pixels(0, 255))).toBeLessThan(1e-3);
  });

  it('do better on a half mean than the grid of the pixels, which is off by half a step everywhere', () => {
    const values = pixels(127.5, 128);
    const { scale = 1, zeroPoint = 0 } = pixelParameters(values) ?? {};
    const errors = [...values].map((value) => (Math.round(value / scale) + zeroPoint - zeroPoint) * scale - value);
    const rms = Math.sqrt(errors.reduce((sum, e) => sum + e * e, 0) / errors.length);
    expect(rms * 128).toBeLessThan(0.35);
  });

  it('are not found for anything else', () => {
    expect(pixelParameters(new Set([0, 0.1, 0.25, 0.3]))).toBeUndefined();
    expect(pixelParameters(pixels(-10, 1))).toBeUndefined();
    const next = random(1);
    expect(collectLevels(new Set(), Float32Array.from({ length: 1000 }, next))).toBe(false);
  });
});
