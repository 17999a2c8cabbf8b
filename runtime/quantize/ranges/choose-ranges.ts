import { spread } from '../observe/calibrate.js';
import type { Calibrated } from '../write/carry-out.js';
import { int8Drop, makeYardstick } from '../formats/mix.js';
import { chooseParameters, type CalibrationChoice } from './parameters.js';
import { reported } from '../report/progress.js';
import type { QuantizationPlan } from '../prepare/plan.js';
import type { AffineParameters, CalibrationMethod } from './range.js';

/** What method `auto` tries, the tamest first: what clips no value of the calibration data may still clip some of the device's. */
const tried: readonly [CalibrationChoice, ...CalibrationChoice[]] = [
  { method: 'minmax', percentile: 100 }, { method: 'percentile', percentile: 99.99 }, { method: 'percentile', percentile: 99.9 }, { method: 'mse', percentile: 100 },
];

/** A later choice is taken when it loses less than this share of what the best one before it does. */
const clearlyLess = 0.98;

/** Samples that choices are judged by. */
export const judgedSamples = 16;

/** Ranges of all values in 8 bits, and how they were chosen. */
export interface ChosenRanges extends CalibrationChoice {
  parameters: Map<string, AffineParameters>;
}

/**
 * Ranges by a given method; by `auto`, those of the one with which the int8 model agrees best with the float model. No labels are needed:
 * clipped tails cost some networks much and help others, which the noise of single layers does not tell.
 */
export async function chooseRanges(
  calibrated: Omit<Calibrated, 'parameters'>, plan: QuantizationPlan, { method, percentile }: { method: CalibrationMethod | 'auto'; percentile: number },
): Promise<ChosenRanges> {
  const { histograms, kept } = calibrated.statistics;
  const choose = (choice: CalibrationChoice): ChosenRanges => ({ ...choice, parameters: chooseParameters(plan, histograms, choice) });
  if (method !== 'auto') return choose({ method, percentile });
  const yardstick = await makeYardstick(calibrated, spread(kept, judgedSamples));
  let best = choose(tried[0]);
  let least = Infinity;
  for (const choice of reported(tried, 'ranges', calibrated.onProgress)) {
    const candidate = choose(choice);
    const drop = await int8Drop({ ...calibrated, ...candidate }, yardstick);
    if (choice === tried[0] || drop < clearlyLess * least) [best, least] = [candidate, drop];
  }
  return best;
}
