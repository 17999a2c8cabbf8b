import { spread } from '../observe/calibrate.js';
import type { Calibrated } from '../write/carry-out.js';
import { toRows, type ColumnSample } from '../observe/columns.js';
import type { Grid } from '../formats/grids.js';
import { Histogram } from '../observe/histogram.js';
import { narrowKey } from '../formats/narrow-values.js';
import { weightOperands, type Layer } from '../prepare/plan.js';
import { affineParameters, chooseRange, roundTrip, type AffineParameters, type Range } from './range.js';
import { observeFloat, roundingSamples } from '../round/round-layers.js';
import { operand } from '../../graph/operands.js';
import { constantOf } from '../../graph/graph.js';

/** Shares of the range that calibration saw. */
const shares = Array.from({ length: 15 }, (_, i) => 1 - i / 20);

/** Of a layer's columns and outputs: the choice among ranges, or scales, needs no more. */
export const [mostColumns, mostOutputs] = [192, 48];

/**
 * Ranges of activations in few codes with the least error at the outputs of the layers that read them, the means left out: those the
 * biases take. By value and levels, as `narrowKey` names them.
 */
export async function outputRanges(calibrated: Calibrated, offers: readonly (readonly [Layer, Grid])[]): Promise<Map<string, AffineParameters>> {
  const { graph, statistics, engine } = calibrated;
  const layers = [...new Set(offers.map(([layer]) => layer))];
  const errors = new Map<string, { candidates: AffineParameters[]; sums: number[] }>();
  for (const layer of layers) {
    // One layer at a time: the columns of all would not fit the memory of a small machine.
    const seen = await observeFloat({ graph, samples: spread(statistics.kept, roundingSamples), engine }, [layer]);
    const columns = seen.get(layer);
    const value = operand(layer.node, 0);
    for (const [, { activations }] of offers.filter(([offered]) => offered === layer)) {
      const key = narrowKey(value, activations);
      const known = errors.get(key) ?? startOf(chooseRange(statistics.histograms.get(value) ?? new Histogram(), 'minmax', 100), activations);
      errors.set(key, known);
      if (columns !== undefined) known.candidates.forEach((candidate, i) => (known.sums[i] = (known.sums[i] ?? 0) + outputError(calibrated, layer, columns, candidate)));
    }
  }
  return new Map([...errors].flatMap(([key, { candidates, sums }]) => {
    const best = candidates[sums.indexOf(Math.min(...sums))];
    return best === undefined ? [] : [[key, best] as const];
  }));
}

function startOf({ min, max }: Range, levels: number): { candidates: AffineParameters[]; sums: number[] } {
  return { candidates: shares.map((share) => affineParameters({ min: min * share, max: max * share }, levels)), sums: shares.map(() => 0) };
}

/** Variance that rounding the columns puts into a layer's outputs, as a share of what these are. */
function outputError({ graph }: Calibrated, layer: Layer, { values, count, layout: { groups, depth, outputs } }: ColumnSample, parameters: AffineParameters): number {
  const operands = weightOperands(graph, layer.node);
  const weights = constantOf(graph, operands?.weights);
  if (operands === undefined || weights === undefined) return 0;
  const rows = toRows(weights.data as ArrayLike<number>, outputs, operands.axis);
  const places = spread(Array.from({ length: count }, (_, c) => c), mostColumns);
  let [noise, signal] = [0, 0];
  const width = groups * depth;
  const errors = places.map((c) => Float64Array.from(values.subarray(c * width, (c + 1) * width), (x) => roundTrip(x, parameters) - x));
  for (const o of spread(Array.from({ length: outputs }, (_, o) => o), mostOutputs)) {
    const first = Math.floor((o * groups) / outputs) * depth;
    const project = (column: ArrayLike<number>, start: number): number => {
      let sum = 0;
      for (let k = 0; k < depth; k++) sum += (rows[o * depth + k] ?? 0) * (column[start + k] ?? 0);
      return sum;
    };
    noise += variance(errors.map((column) => project(column, first)));
    signal += variance(places.map((c) => project(values, c * width + first)));
  }
  return signal === 0 ? 0 : noise / signal;
}

export function variance(numbers: readonly number[]): number {
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  return numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length;
}
