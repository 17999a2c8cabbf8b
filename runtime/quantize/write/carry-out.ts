import { levelsKey } from '../../graph/declared-levels.js';
import type { Graph } from '../../graph/graph.js';
import type { EngineName } from '../../session.js';
import { spread, type CalibrationStatistics } from '../observe/calibrate.js';
import type { Grid } from '../formats/grids.js';
import { Histogram } from '../observe/histogram.js';
import { insertQuantization, type QuantizedGraph, type RoundedLayer, type WeightContext } from './insert.js';
import type { QuantizationPlan } from '../prepare/plan.js';
import { narrowKey, narrowValues } from '../formats/narrow-values.js';
import type { Agreement } from '../report/fidelity.js';
import type { OnQuantizeProgress } from '../report/progress.js';
import { affineParameters, chooseRange, type AffineParameters, type CalibrationMethod } from '../ranges/range.js';
import { roundLayers, roundingSamples } from '../round/round-layers.js';

/** What calibration settled, before formats are given to layers. */
export interface Calibrated {
  graph: Graph;
  plan: QuantizationPlan;
  statistics: CalibrationStatistics;
  /** Of all values in 8 bits. */
  parameters: ReadonlyMap<string, AffineParameters>;
  /** How the ranges of activations with fewer than 256 levels are chosen. */
  narrowMethod: CalibrationMethod;
  percentile: number;
  /** Ranges that were chosen by method `output`, by value and levels. */
  outputRanges?: ReadonlyMap<string, AffineParameters>;
  engine: EngineName | undefined;
  /** How answers are compared where the user knows what they mean. */
  agreement: Agreement | undefined;
  onProgress: OnQuantizeProgress;
}

/** What layers with these grids read, and all that is settled but their weights. */
export function contextFor({ graph, plan, statistics, parameters, narrowMethod, percentile, outputRanges }: Calibrated, grids: ReadonlyMap<string, Grid>): Omit<WeightContext, 'rounded'> {
  const narrow = narrowValues(graph, plan, grids).map((entry) => {
    const chosen = outputRanges?.get(narrowKey(entry.value, entry.levels));
    if (chosen !== undefined) return { ...entry, parameters: chosen };
    const histogram = statistics.histograms.get(entry.value) ?? new Histogram();
    return { ...entry, parameters: affineParameters(chooseRange(histogram, narrowMethod, percentile, entry.levels), entry.levels) };
  });
  const replaced = narrow.filter(({ replaces }) => replaces).map((entry): [string, AffineParameters] => [entry.value, entry.parameters]);
  return { parameters: new Map([...parameters, ...replaced]), channelMeans: statistics.channelMeans, narrow };
}

/** Rounds the weights of all layers with grids, each after those before it. */
export function roundAll(calibrated: Calibrated, grids: ReadonlyMap<string, Grid>): Promise<Map<string, RoundedLayer>> {
  const { graph, plan, statistics, engine, onProgress } = calibrated;
  return roundLayers({ graph, plan, grids, context: contextFor(calibrated, grids), samples: spread(statistics.kept, roundingSamples), engine, onProgress });
}

/** Inserts the quantization of a plan whose layers have the grids given to them, and weights rounded to these. */
export function quantizeTo(calibrated: Calibrated, grids: ReadonlyMap<string, Grid>, rounded: ReadonlyMap<string, RoundedLayer>): QuantizedGraph {
  const { graph, plan } = calibrated;
  const qdq = insertQuantization(graph, plan, { ...contextFor(calibrated, grids), rounded });
  if (qdq.levels.size === 0) return qdq;
  return { ...qdq, graph: { ...qdq.graph, metadata: new Map([...graph.metadata, [levelsKey, JSON.stringify(Object.fromEntries(qdq.levels))]]) } };
}
