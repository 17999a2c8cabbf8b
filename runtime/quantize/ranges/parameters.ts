import { Histogram } from '../observe/histogram.js';
import type { Layer, QuantizationPlan } from '../prepare/plan.js';
import { affineParameters, chooseRange, gridRange, type AffineParameters, type CalibrationMethod, type Range } from './range.js';
import { SharedGroups } from './shared-groups.js';

/**
 * An operand of a concatenation whose range is this many times narrower than the whole keeps its own scale: the
 * requantization that it then needs costs less than the bits that it would lose.
 */
const widestConcatRatio = 4;

const span = (range: Range): number => Math.max(0, range.max) - Math.min(0, range.min);
const union = (a: Range, b: Range): Range => ({ min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) });

/** What of a range lies within a limit; zero is always part of it. */
const within = (range: Range, limit: Range | undefined): Range =>
  limit === undefined ? range : { min: Math.max(Math.min(0, range.min), Math.min(0, limit.min)), max: Math.min(Math.max(0, range.max), Math.max(0, limit.max)) };

export interface CalibrationChoice {
  method: CalibrationMethod;
  /** For method `percentile`: the share of values, in percent, that must not be clipped at either end. */
  percentile: number;
}

/** Operands of a moving layer that share the scale of its output. */
function tiedOperands(layer: Layer, rangeOf: (value: string) => Range): readonly string[] {
  if (layer.inputs.length === 1) return layer.inputs;
  const whole = layer.inputs.map(rangeOf).reduce(union);
  return layer.inputs.filter((input) => span(rangeOf(input)) * widestConcatRatio >= span(whole));
}

/**
 * Scale and zero-point of every 8-bit value. Layers that only move elements tie their input's parameters to their output's.
 * @param histograms what calibration saw of each value of the plan
 */
export function chooseParameters(
  plan: QuantizationPlan,
  histograms: ReadonlyMap<string, Histogram>,
  choice: CalibrationChoice,
): Map<string, AffineParameters> {
  const cache = new Map<string, Range>();
  const rangeOf = (value: string): Range => {
    const known = cache.get(value);
    if (known !== undefined) return known;
    const fixed = plan.fixed.get(value);
    const range = fixed === undefined ? within(chooseRange(histograms.get(value) ?? new Histogram(), choice.method, choice.percentile), plan.limits.get(value)) : gridRange(fixed);
    cache.set(value, range);
    return range;
  };
  const shared = new SharedGroups();
  const moved = new Set<string>();
  for (const layer of plan.layers) {
    if (layer.kind !== 'pass') continue;
    moved.add(layer.output);
    for (const input of tiedOperands(layer, rangeOf)) shared.join(input, layer.output);
  }
  const parameters = new Map<string, AffineParameters>();
  for (const values of shared.partition(plan.values)) {
    // What a moving layer puts out was counted where it was made.
    const sources = values.filter((value) => !moved.has(value));
    const chosen = parametersOfSet(sources.length > 0 ? sources : values, plan, histograms, choice);
    for (const value of values) parameters.set(value, chosen);
  }
  return parameters;
}

function parametersOfSet(
  sources: readonly string[],
  plan: QuantizationPlan,
  histograms: ReadonlyMap<string, Histogram>,
  choice: CalibrationChoice,
): AffineParameters {
  const fixed = sources.map((value) => plan.fixed.get(value)).filter((parameters) => parameters !== undefined);
  const [first] = fixed;
  const same = first !== undefined && fixed.every(({ scale, zeroPoint }) => scale === first.scale && zeroPoint === first.zeroPoint);
  if (same && fixed.length === sources.length) return first;
  const merged = new Histogram(choice.method !== 'minmax');
  for (const value of sources) {
    const histogram = histograms.get(value);
    if (histogram !== undefined && !plan.fixed.has(value)) merged.merge(histogram);
  }
  const limits = sources.map((value) => plan.limits.get(value)).filter((limit) => limit !== undefined);
  const limit = limits.length === sources.length ? limits.reduce(union) : undefined;
  const seen = within(chooseRange(merged, choice.method, choice.percentile), limit);
  return affineParameters([seen, ...fixed.map(gridRange)].reduce(union));
}
