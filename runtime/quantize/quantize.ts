import { graphToOnnx } from '../graph/export.js';
import type { Graph } from '../graph/graph.js';
import { loadModelBytes } from '../model-file.js';
import { parseModel } from '../onnx/parse.js';
import { serializeModel } from '../onnx/serialize.js';
import { findCandidates } from './formats/candidates.js';
import { chooseFormats } from './formats/choose-formats.js';
import { holdDrop, leaveRuinous, type FloatLayers, type FloatSearch } from './formats/float-layers.js';
import { gridOf, type Grid } from './formats/grids.js';
import { makeYardstick } from './formats/mix.js';
import { calibrate, channelMagnitudes, openObserved, spread, SpreadSample, type Feeds } from './observe/calibrate.js';
import { checkSeen } from './observe/dead-channels.js';
import { replayable } from './observe/replay.js';
import { checkExclusions, settle, unbounded, type QuantizeOptions, type Settings } from './options.js';
import { equalizeChannels, findChannelGroups } from './prepare/equalize.js';
import { migrateScales, type Migration } from './prepare/migrate.js';
import { planQuantization, type Layer, type QuantizationPlan } from './prepare/plan.js';
import { prepareGraph } from './prepare/read-model.js';
import { widenConvolutions } from './prepare/widen-convolutions.js';
import { chooseRanges, judgedSamples } from './ranges/choose-ranges.js';
import { pixelInputs } from './ranges/input-grid.js';
import { chooseParameters, type CalibrationChoice } from './ranges/parameters.js';
import type { AffineParameters } from './ranges/range.js';
import { measureModel } from './report/measure-model.js';
import { narrowWarnings } from './report/narrow.js';
import { reported, type OnQuantizeProgress, type QuantizeStage } from './report/progress.js';
import { layerReports, lowBitShares, type QuantizeReport } from './report/report.js';
import { fidelityWarnings, floatWarnings, planWarnings, ternaryWarning } from './report/warnings.js';
import { roundingSamples } from './round/round-layers.js';
import { quantizeTo, type Calibrated } from './write/carry-out.js';
import { storeNarrow } from './write/store-narrow.js';

export type { QuantizeOptions } from './options.js';
export type { LayerReport, QuantizeReport } from './report/report.js';

export interface QuantizeResult {
  /** QDQ ONNX: runs here and on every runtime that supports operator set 13, or 21 if it has INT4 weights. */
  model: Uint8Array;
  report: QuantizeReport;
}

/** Activations whose channels are looked at: the bias correction of their readers needs the means. */
const inputsOfWeighted = (plan: QuantizationPlan): Set<string> =>
  new Set(plan.layers.filter((layer) => layer.kind === 'weighted').flatMap((layer) => layer.inputs));

/**
 * Post-training quantization of a float32 ONNX model to 8 bits: per-channel symmetric weights in [-127, 127], per-tensor
 * unsigned activations with an exact zero, 32-bit biases, written as QDQ ONNX (Jacob et al., arXiv 1712.05877; Nagel et al.,
 * arXiv 2106.08295).
 * @param source the model's bytes or its path
 * @param calibration feeds like those that the model will see (a few dozen are enough); each must keep its buffers to itself
 * @throws RuntimeError E_OPTION for an unknown option, E_MODEL_* for a model that cannot be read, E_QUANTIZE for data or options that do not serve
 */
export async function quantizeModel(
  source: Uint8Array | string,
  calibration: AsyncIterable<Feeds> | Iterable<Feeds>,
  options: QuantizeOptions = {},
): Promise<QuantizeResult> {
  const settings = settle(options);
  const bytes = await loadModelBytes(source);
  const imported = widenConvolutions(prepareGraph(parseModel(bytes), settings));
  checkExclusions(imported, settings.exclude);
  const samples = await replayable(calibration);
  const total = Array.isArray(calibration) ? calibration.length : null;
  const counted = (stage: QuantizeStage): AsyncIterable<Feeds> => countedSamples(samples.pass(), { stage, total }, settings.onProgress);
  try {
    const { even, few } = await surveyed(imported, settings, counted);
    const { graph, migrations } = await migrated(even, settings, few);
    const { report, ...rest } = await quantizeGraph(graph, settings, { few, all: counted('calibrate') }, migrations);
    return { ...rest, report: { input_bytes: bytes.length, ...report } };
  } finally {
    await samples.close();
  }
}

/** A stream of samples, each reported when the next one is asked for. */
async function* countedSamples(samples: AsyncIterable<Feeds>, { stage, total }: { stage: QuantizeStage; total: number | null }, onProgress: OnQuantizeProgress): AsyncGenerator<Feeds> {
  let done = 0;
  onProgress(stage, done, total);
  for await (const feeds of samples) {
    yield feeds;
    onProgress(stage, ++done, total);
  }
}

interface GraphResult {
  model: Uint8Array;
  report: Omit<QuantizeReport, 'input_bytes'>;
}

async function quantizeGraph(graph: Graph, settings: Settings, samples: { few: readonly Feeds[]; all: AsyncIterable<Feeds> }, migrations: ReadonlyMap<string, Migration>): Promise<GraphResult> {
  const { method, narrowMethod, percentile, engine, grids, measuredSamples, agreement, onProgress } = settings;
  const plan = planQuantization(graph, settings.exclude, settings);
  const narrow = grids.length > 0;
  const keep = Math.max(measuredSamples, narrow ? roundingSamples : 0, method === 'auto' ? judgedSamples : 0);
  const float = await openObserved(graph, plan.values, engine);
  const observed = { values: plan.values, channelsOf: inputsOfWeighted(plan), keep, keepsBins: narrow || method !== 'minmax' };
  const seen = await calibrate(float, graph, samples.all, observed).finally(() => float.close());
  checkSeen(graph, plan, seen);
  const statistics = settings.biasCorrection ? seen : { ...seen, channelMeans: new Map<string, Float32Array>() };
  const pixels = pixelInputs(graph, plan, samples.few);
  const unranged = { graph, plan, statistics, narrowMethod, percentile, engine, agreement, onProgress };
  const { floats, ranges } = await settleRanges(unranged, pixels, settings);
  const { calibrated } = floats;
  const formats = await chooseFormats(calibrated, settings);
  const qdq = quantizeTo(calibrated, formats.grids, formats.rounded);
  const model = serializeModel(graphToOnnx(storeNarrow(qdq.graph, qdq.levels)));
  const measured = spread(statistics.kept, measuredSamples);
  const fidelity = await measureModel(calibrated, qdq, reported(measured, 'measure', onProgress));
  const judged = settings.format === 'ternary' ? [ternaryWarning(fidelity)] : fidelityWarnings(calibrated.plan, fidelity);
  return {
    model,
    report: {
      output_bytes: model.length,
      method: ranges.method,
      ...(ranges.method === 'percentile' ? { percentile: ranges.percentile } : {}),
      engine: float.stats.engine,
      calibration_samples: statistics.samples,
      layers: layerReports(graph, calibrated.plan, { ...formats, ...fidelity, migrations, reasons: floats.reasons }),
      output_cosine: fidelity.outputCosine,
      lowest_cosine: fidelity.lowestCosine,
      centred_cosine: fidelity.centredCosine,
      measured_samples: measured.length,
      agreement: fidelity.agreement,
      top1_agreement: fidelity.top1Agreement,
      ...lowBitShares(graph, calibrated.plan, formats),
      ...(formats.pareto === undefined ? {} : { pareto: formats.pareto }),
      warnings: [...narrowWarnings(samples.few), ...planWarnings(graph, calibrated.plan, statistics), ...floatWarnings(floats, settings.maxDrop), ...judged],
    },
  };
}

/**
 * How ranges are chosen, and the layers that stay float32: those that would ruin the outputs; and in int8 with a bound on the drop, those
 * without which it would not hold. Ranges that were chosen to tame a ruinous layer are chosen again without it.
 */
async function settleRanges(
  unranged: Omit<Calibrated, 'parameters'>, pixels: ReadonlyMap<string, AffineParameters>, settings: Settings,
): Promise<{ floats: FloatLayers; ranges: CalibrationChoice }> {
  const { graph, statistics } = unranged;
  const samples = spread(statistics.kept, settings.measuredSamples);
  const withPixels = (plan: QuantizationPlan): QuantizationPlan => ({ ...plan, fixed: new Map([...plan.fixed, ...pixels]) });
  const choose = (plan: QuantizationPlan) => chooseRanges({ ...unranged, plan }, withPixels(plan), settings);
  const yardstick = await makeYardstick(unranged, samples);
  const searchWith = (ranges: CalibrationChoice): FloatSearch => ({
    yardstick,
    replan(names) {
      const plan = planQuantization(graph, new Set([...settings.exclude, ...names]), settings);
      return { ...unranged, plan, parameters: chooseParameters(withPixels(plan), statistics.histograms, ranges) };
    },
    measure: (candidate) => measureModel(candidate, quantizeTo(candidate, new Map(), new Map()), samples),
  });
  let { parameters, ...ranges } = await choose(unranged.plan);
  let floats = await leaveRuinous({ ...unranged, parameters }, searchWith(ranges));
  if (floats.reasons.size > 0 && settings.method === 'auto') {
    ({ parameters, ...ranges } = await choose(floats.calibrated.plan));
    floats = { ...floats, calibrated: { ...floats.calibrated, parameters } };
  }
  const bounded = settings.format === 'int8' && settings.maxDrop < unbounded;
  return { floats: bounded ? await holdDrop(floats, settings.maxDrop, searchWith(ranges)) : floats, ranges };
}

/** Samples that migration and the search for pixels look at, evenly spread over all. */
const fewSamples = 16;

/**
 * The first pass over the samples: gives channels like ranges, by what all samples have in them (a data set sorted by class shows its first class
 * alone at its beginning), and keeps a few samples.
 */
async function surveyed(graph: Graph, { equalize, engine }: Settings, samples: (stage: QuantizeStage) => AsyncIterable<Feeds>): Promise<{ even: Graph; few: Feeds[] }> {
  // Rescaling is exact in float32, so layers that stay float32 take part: without them, their neighbors would not be equalized either.
  const groups = equalize ? findChannelGroups(graph, planQuantization(graph)) : [];
  const values = groups.flatMap((group) => group.values);
  const few = new SpreadSample<Feeds>(fewSamples);
  async function* watched(): AsyncGenerator<Feeds> {
    for await (const feeds of samples('channels')) {
      few.add(feeds);
      yield feeds;
    }
  }
  if (groups.length === 0) {
    for await (const _ of watched());
    return { even: graph, few: few.result() };
  }
  const session = await openObserved(graph, values, engine);
  try {
    const magnitudes = await channelMagnitudes(session, graph, values, watched());
    return { even: equalizeChannels(graph, groups, magnitudes), few: few.result() };
  } finally {
    await session.close();
  }
}

/** Scale migration, judged by the finest of the grids below eight bits for the layers that may have one, by int8's for the others. */
async function migrated(graph: Graph, settings: Settings, samples: readonly Feeds[]): Promise<Awaited<ReturnType<typeof migrateScales>>> {
  const { exclude, grids: [grid], method, narrowMethod, percentile, engine, migrate: scope, onProgress } = settings;
  const plan = planQuantization(graph, exclude, settings);
  const candidates = new Set(findCandidates(graph, plan, settings).layers);
  const gridFor = (layer: Layer): Grid => (grid !== undefined && candidates.has(layer) ? grid : gridOf('int8'));
  return migrateScales({ graph, plan, samples, engine, gridFor, methodFor: (levels) => (levels < 256 ? narrowMethod : method === 'auto' ? 'minmax' : method), percentile, scope, onProgress });
}
