import type { Graph } from '../../graph/graph.js';
import type { Feeds } from '../observe/calibrate.js';
import type { QuantizationPlan } from '../prepare/plan.js';
import { affineParameters, type AffineParameters } from './range.js';

/** More distinct values than 8 bits can tell apart: not pixels. */
const levels = 256;

/** Adds the distinct values of a tensor to `seen`; false as soon as there are too many for pixels. */
export function collectLevels(seen: Set<number>, values: Float32Array): boolean {
  for (const value of values) {
    seen.add(value);
    if (seen.size > levels) return false;
  }
  return true;
}

/** Distance between neighbouring levels, when all levels lie on a regular grid. */
function gridStep(sorted: readonly number[]): number | undefined {
  const first = sorted[0] ?? 0;
  let step = Infinity;
  for (let i = 1; i < sorted.length; i++) step = Math.min(step, (sorted[i] ?? 0) - (sorted[i - 1] ?? 0));
  if (!Number.isFinite(step) || (sorted.at(-1) ?? 0) - first > (levels - 0.5) * step) return undefined;
  const regular = sorted.every((value) => Math.abs((value - first) / step - Math.round((value - first) / step)) < 0.05);
  return regular ? step : undefined;
}

const meanSquaredError = (values: readonly number[], { scale, zeroPoint }: AffineParameters): number =>
  values.reduce((sum, value) => {
    const stored = Math.max(0, Math.min(255, Math.round(value / scale) + zeroPoint));
    return sum + ((stored - zeroPoint) * scale - value) ** 2;
  }, 0) / values.length;

/**
 * Parameters for an input that is fed with normalized pixels, (pixel - mean) / std. With a whole mean the pixel grid goes
 * through zero and 8 bits hold it exactly. With mean 127.5 every level would fall half-way between two steps of a grid of the
 * same pitch, the worst place to round; a slightly wider pitch spreads the error.
 * @param seen distinct values of the input; undefined is returned unless they lie on a grid of at most 256 levels
 */
export function pixelParameters(seen: ReadonlySet<number>): AffineParameters | undefined {
  const sorted = [...seen].sort((a, b) => a - b);
  const step = gridStep(sorted);
  if (step === undefined || sorted.length < 16) return undefined;
  const min = sorted[0] ?? 0;
  const max = sorted.at(-1) ?? 0;
  if (min > 0 || max < 0) return undefined;
  const low = Math.round(min / step);
  const high = Math.round(max / step);
  if (Math.abs(min / step - low) < 0.02) {
    // Levels that calibration happened not to see are as likely below as above.
    const unseen = 255 - (high - low);
    return { scale: Math.fround(step), zeroPoint: Math.max(0, Math.min(255, -low + Math.floor(unseen / 2))) };
  }
  const candidates = Array.from({ length: 24 }, (_, i) => affineParameters({ min: min * (1 + i / 1000), max: max * (1 + i / 1000) }));
  return candidates.reduce((best, candidate) => (meanSquaredError(sorted, candidate) < meanSquaredError(sorted, best) ? candidate : best));
}

/** Parameters of the inputs that are fed with pixels, judged by some samples. */
export function pixelInputs(graph: Graph, plan: QuantizationPlan, samples: readonly Feeds[]): Map<string, AffineParameters> {
  const found = new Map<string, AffineParameters>();
  for (const input of graph.inputs) {
    if (!plan.values.has(input)) continue;
    const seen = new Set<number>();
    const few = samples.every((feeds) => {
      const data = feeds[input]?.data;
      return data instanceof Float32Array && collectLevels(seen, data);
    });
    const parameters = few ? pixelParameters(seen) : undefined;
    if (parameters !== undefined) found.set(input, parameters);
  }
  return found;
}
