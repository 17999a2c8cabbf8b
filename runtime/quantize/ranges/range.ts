import type { Histogram } from '../observe/histogram.js';

/**
 * How the range of an activation is chosen from the calibration statistics. output: the range with the smallest error at the outputs of the
 * layers that read the activation if it has fewer than 256 levels (output-ranges.ts), else the same as minmax.
 */
export type CalibrationMethod = 'minmax' | 'percentile' | 'mse' | 'output';

export const calibrationMethods: readonly CalibrationMethod[] = ['minmax', 'percentile', 'mse', 'output'];

export interface Range {
  min: number;
  max: number;
}

/** Affine parameters of a value in 8 bits: real = (q - zeroPoint) * scale, q in 0 .. levels - 1. */
export interface AffineParameters {
  scale: number;
  zeroPoint: number;
  /** Absent: 256. */
  levels?: number;
}

/** The first and the last number that parameters can express. */
export const gridRange = ({ scale, zeroPoint, levels = 256 }: AffineParameters): Range => ({ min: -zeroPoint * scale, max: (levels - 1 - zeroPoint) * scale });

/** A number after quantization. */
export function roundTrip(value: number, { scale, zeroPoint, levels = 256 }: AffineParameters): number {
  return (Math.max(0, Math.min(levels - 1, Math.round(value / scale) + zeroPoint)) - zeroPoint) * scale;
}

/**
 * Unsigned parameters that cover a range with `levels` codes. The range is widened to contain zero, which is then exactly representable
 * (padding and ReLU depend on it; Jacob et al., arXiv 1712.05877, section 3).
 */
export function affineParameters(range: Range, levels = 256): AffineParameters {
  const min = Math.min(0, range.min);
  const max = Math.max(0, range.max);
  // A value that is always zero has no scale of its own; any positive one represents it exactly.
  const few = levels === 256 ? {} : { levels };
  if (max - min < 1e-30) return { scale: 1, zeroPoint: 0, ...few };
  const scale = Math.fround((max - min) / (levels - 1));
  const zeroPoint = Math.max(0, Math.min(levels - 1, Math.round(-min / scale)));
  return { scale, zeroPoint, ...few };
}

/** The range outside which `1 - percentile / 100` of the values lie on either side. */
function percentileRange(histogram: Histogram, percentile: number): Range {
  const cut = histogram.count * (1 - percentile / 100);
  const bins = [...histogram.bins()];
  const edge = (ordered: readonly { value: number; count: number }[], fallback: number): number => {
    let passed = 0;
    for (const { value, count } of ordered) {
      passed += count;
      if (passed > cut) return value;
    }
    return fallback;
  };
  return { min: edge(bins, histogram.min), max: edge(bins.reverse(), histogram.max) };
}

/** Sum over the histogram of the squared error that quantization over `range` makes. */
function quantizationError(bins: readonly { value: number; count: number }[], range: Range, levels: number): number {
  const parameters = affineParameters(range, levels);
  const { scale } = parameters;
  const { min: low, max: high } = gridRange(parameters);
  let error = 0;
  for (const { value, count } of bins) {
    if (value === 0) continue;
    const clipped = value < low ? low : value > high ? high : value;
    // Within a step the rounding error is uniform: its mean square is known better than a bin's centre tells.
    const difference = value - clipped;
    error += count * (difference === 0 ? (scale * scale) / 12 : difference * difference);
  }
  return error;
}

/** Shrinks each end in turn as long as the mean squared error falls. */
function mseRange(histogram: Histogram, levels: number): Range {
  const bins = [...histogram.bins()];
  const full: Range = { min: Math.min(0, histogram.min), max: Math.max(0, histogram.max) };
  let best = full;
  let bestError = quantizationError(bins, full, levels);
  const consider = (range: Range): void => {
    const error = quantizationError(bins, range, levels);
    if (error < bestError) {
      best = range;
      bestError = error;
    }
  };
  // Jointly first, since both tails usually clip alike, then each end alone around the best.
  for (let share = 0.98; share > 0.1; share -= 0.02) consider({ min: full.min * share, max: full.max * share });
  const start = best;
  for (let share = 1.3; share > 0.3; share -= 0.02) consider({ min: start.min, max: Math.min(full.max, start.max * share) });
  const refined = best;
  for (let share = 1.3; share > 0.3; share -= 0.02) consider({ min: Math.max(full.min, refined.min * share), max: refined.max });
  return best;
}

/** Range of an activation that is to have `levels` codes, by `method`; `percentile` is used by that method only. */
export function chooseRange(histogram: Histogram, method: CalibrationMethod, percentile: number, levels = 256): Range {
  if (histogram.count === 0) return { min: 0, max: 0 };
  switch (method) {
    case 'minmax':
      return { min: histogram.min, max: histogram.max };
    case 'percentile':
      return percentileRange(histogram, percentile);
    case 'output':
      return levels === 256 ? { min: histogram.min, max: histogram.max } : mseRange(histogram, levels);
    case 'mse':
      return mseRange(histogram, levels);
  }
}
