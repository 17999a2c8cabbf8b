import type { Histogram } from './histogram.js';

/** How the range of an activation is chosen from what calibration saw. */
export type CalibrationMethod = 'minmax' | 'percentile' | 'mse';

export const calibrationMethods: readonly CalibrationMethod[] = ['minmax', 'percentile', 'mse'];

export interface Range {
  min: number;
  max: number;
}

/** Affine 8-bit parameters: real = (q - zeroPoint) * scale, q in 0..255. */
export interface AffineParameters {
  scale: number;
  zeroPoint: number;
}

/**
 * Unsigned 8-bit parameters that cover a range. The range is widened to contain zero, which is then exactly representable
 * (padding and ReLU depend on it; Jacob et al., arXiv 1712.05877, section 3).
 */
export function affineParameters(range: Range): AffineParameters {
  const min = Math.min(0, range.min);
  const max = Math.max(0, range.max);
  // A value that is always zero has no scale of its own; any positive one represents it exactly.
  if (max - min < 1e-30) return { scale: 1, zeroPoint: 0 };
  const scale = Math.fround((max - min) / 255);
  const zeroPoint = Math.max(0, Math.min(255, Math.round(-min / scale)));
  return { scale, zeroPoint };
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

/** Sum over the histogram of the squared error that 8-bit quantization over `range` makes. */
function quantizationError(bins: readonly { value: number; count: number }[], range: Range): number {
  const { scale, zeroPoint } = affineParameters(range);
  const low = -zeroPoint * scale;
  const high = (255 - zeroPoint) * scale;
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
function mseRange(histogram: Histogram): Range {
  const bins = [...histogram.bins()];
  const full: Range = { min: Math.min(0, histogram.min), max: Math.max(0, histogram.max) };
  let best = full;
  let bestError = quantizationError(bins, full);
  const consider = (range: Range): void => {
    const error = quantizationError(bins, range);
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

/** Range of an activation by `method`; `percentile` is used by that method only. */
export function chooseRange(histogram: Histogram, method: CalibrationMethod, percentile: number): Range {
  if (histogram.count === 0) return { min: 0, max: 0 };
  switch (method) {
    case 'minmax':
      return { min: histogram.min, max: histogram.max };
    case 'percentile':
      return percentileRange(histogram, percentile);
    case 'mse':
      return mseRange(histogram);
  }
}
