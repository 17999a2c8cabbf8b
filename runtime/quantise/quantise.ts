import { RuntimeError } from '../errors.js';
import { graphToOnnx } from '../graph/export.js';
import { typeOf, type Graph } from '../graph/graph.js';
import { loadModelBytes } from '../model-file.js';
import { parseModel } from '../onnx/parse.js';
import { serializeModel } from '../onnx/serialize.js';
import { aBoolean, aFunction, aNumber, anObject, aString, checkOptions, oneOf, type OptionKinds } from '../options.js';
import { engineNames, type EngineName } from '../session-types.js';
import { calibrate, channelMagnitudes, openObserved, peek, spread, type Feeds, type Peeked } from './calibrate.js';
import { equaliseChannels, findChannelGroups } from './equalise.js';
import { collectLevels, pixelParameters } from './input-grid.js';
import { checkSeen } from './dead-channels.js';
import { measureFidelity, type Fidelity } from './measure.js';
import { migrateScales, migrationScopes, type Migration, type MigrationScope } from './migrate.js';
import { chooseRanges, judgedSamples } from './choose-ranges.js';
import { holdDrop, leaveRuinous, type FloatLayers, type FloatSearch } from './float-layers.js';
import type { QuantisedGraph } from './insert.js';
import { makeYardstick } from './mix.js';
import { chooseParameters, type CalibrationChoice } from './parameters.js';
import { findCandidates, type KeptReason } from './assign.js';
import { quantiseTo, type Calibrated } from './carry-out.js';
import { chooseFormats, type ChosenFormats, type ParetoReport } from './formats.js';
import { columnLayout, layerMacs } from './columns.js';
import { formats, gridOf, offeredLevels, type Format, type Grid, type LevelPair } from './grids.js';
import { roundingSamples } from './round-layers.js';
import { storeNarrow } from './store-narrow.js';
import { blocksOf } from './gptq.js';
import { targets, type Target } from './targets.js';
import { planQuantisation, type Layer, type QuantisationPlan } from './plan.js';
import { prepareGraph } from './prepare.js';
import { reported, silent, type OnQuantiseProgress } from './progress.js';
import { calibrationMethods, type AffineParameters, type CalibrationMethod } from './range.js';
import { fidelityWarnings, floatWarnings, planWarnings, ternaryWarning, type QuantiseWarning } from './warnings.js';

export interface QuantiseOptions {
  /** Format of the layers' multiplications; default `int8`. Depthwise convolutions, first and last layers stay int8 unless asked. */
  format?: Format | 'auto';
  /**
   * Largest loss of the mean cosine between the outputs and the float outputs, on calibration samples. With fewer bits, it is the loss beyond
   * that of int8, and sensitive layers stay int8; default 0.012 for w46, w4a8 and auto, 0.035 for int4. With int8, it is the whole loss, and the
   * most sensitive layers stay float32; default: no bound. With ternary, all candidate layers become ternary, whatever the loss.
   */
  maxDrop?: number;
  /** For format `auto`: the machine for which the model is optimized. Default `this`. */
  target?: Target;
  /** For formats `w46` and `w4a8`: number of quantization levels of weights and activations. Default: 19 and 29 for w46; for w4a8, as few weight levels as `maxDrop` allows and 256 for activations. */
  levels?: { weights: number; activations?: number };
  /** Whether the first and last layers get the format, too; default false. */
  edges?: boolean;
  /** Whether depthwise convolutions get the format, too; default false. */
  depthwise?: boolean;
  /**
   * How activation ranges are chosen. Default `auto`: in 8 bits, the one of minmax, percentile 99.99, percentile 99.9 and mse whose outputs are
   * closest to the float outputs; with fewer than 256 levels, mse.
   */
  method?: CalibrationMethod | 'auto';
  /** For method `percentile`: the percentage of values within the range; default 99.99. */
  percentile?: number;
  /** Names of ONNX nodes that stay float32. */
  exclude?: readonly string[];
  /** Corrects each bias by the error that rounding the weights causes in the mean of the output; default true. */
  biasCorrection?: boolean;
  /** Rescales channels between layers so that one scale suits all channels of a tensor; default true. */
  equalise?: boolean;
  /**
   * Where magnitudes of channels may move from activations into weights, if that reduces the error at the outputs of the layers that read them
   * (AWQ). Default `auto`: after normalizations and between products, but not between convolutions.
   */
  migrate?: MigrationScope;
  /** Engine for calibration; by default onnxruntime if it is installed, else native. */
  engine?: EngineName;
  /** Values of symbolic dimensions. */
  symbols?: Readonly<Record<string, number>>;
  /** Shapes by input name, for dimensions that the file leaves open. The quantized model has these shapes. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Number of samples on which the report is measured; default 8. */
  measuredSamples?: number;
  /** Called with the current stage and its progress. */
  onProgress?: OnQuantiseProgress;
}

export interface LayerReport {
  /** Name of the ONNX node. */
  name: string;
  /** Operators that run as one kernel, e.g. `Conv+PRelu`. */
  op: string;
  /** Signal-to-quantization-noise ratio at the layer's output, with all earlier layers quantized, too; null means no error. */
  sqnr_db: number | null;
  format: Format | 'float32';
  /** Number of quantization levels of weights and activations, for layers with fewer than eight bits. */
  levels?: LevelPair;
  /** Why a layer has more bits than asked for. */
  kept?: KeptReason;
  /** Number of blocks in which the weights of an output were rounded, if they are too many for one block. A block does not compensate for the errors of another. */
  rounding_blocks?: number;
  /** Where scales may migrate: the exponent of the input channels' magnitudes that moved into the weights, and the remaining share of the output's error. */
  migration?: Migration;
}

export interface QuantiseReport {
  input_bytes: number;
  output_bytes: number;
  /** Method for the 8-bit activations; with `auto`, the one that was chosen. */
  method: CalibrationMethod;
  /** For method `percentile`: the percentage of values within the range. */
  percentile?: number;
  engine: EngineName;
  calibration_samples: number;
  layers: LayerReport[];
  /** Mean cosine between the quantized and the float outputs over the measured samples. */
  output_cosine: number;
  /** Share of the measured samples in which the largest value of a classifier's output [1, N] has the same index as in the float model; null without such an output. */
  top1_agreement: number | null;
  /** Of the multiply-adds in layers with constant weights, the share that has fewer than eight bits. */
  low_bit_macs: number;
  /** Mean over the weights of these layers of log2 of the number of values that a weight can take. */
  weight_bits: number;
  /** For format `auto`: the trade-off between cost and loss on the target. */
  pareto?: ParetoReport;
  warnings: QuantiseWarning[];
}

export interface QuantiseResult {
  /** QDQ ONNX: runs here and on every runtime that supports operator set 13, or 21 if it has INT4 weights. */
  model: Uint8Array;
  report: QuantiseReport;
}

/** The options with their defaults. */
interface Settings {
  format: Format | 'auto';
  /** Formats that layers may have besides int8. */
  grids: readonly Grid[];
  maxDrop: number;
  target: Target;
  edges: boolean;
  depthwise: boolean;
  method: CalibrationMethod | 'auto';
  /** Of activations with fewer than 256 levels: the wide steps that would hold every outlier cost them more than clipping does. */
  narrowMethod: CalibrationMethod;
  percentile: number;
  exclude: ReadonlySet<string>;
  biasCorrection: boolean;
  equalise: boolean;
  migrate: MigrationScope;
  engine: EngineName | undefined;
  symbols: Readonly<Record<string, number>>;
  shapes: Readonly<Record<string, readonly number[]>>;
  measuredSamples: number;
  onProgress: OnQuantiseProgress;
}

/** No cosine is further from one. */
const unbounded = 2;
const defaultDrops: Readonly<Record<Format, number>> = { int8: unbounded, w4a8: 0.012, w46: 0.012, int4: 0.035, ternary: unbounded };

/** Grids that layers may have besides int8. Where few levels of the activations cost too much, those of the weights still make the model smaller. */
function gridsFor(format: Format | 'auto', levels: QuantiseOptions['levels']): Grid[] {
  if (format === 'int8') return [];
  if (format === 'auto') return [gridOf('w46', levels), gridOf('int4'), gridOf('ternary')];
  if (format === 'w4a8' && levels === undefined) return offeredLevels.map((weights) => gridOf('w4a8', { weights }));
  const grid = gridOf(format, levels);
  return format === 'w46' || format === 'int4' ? [grid, gridOf('w4a8', { weights: grid.weights })] : [grid];
}

/** Values are checked below, for data and options that do not serve share E_QUANTIZE. */
const quantiseOptionKinds: OptionKinds<Required<QuantiseOptions>> = {
  format: aString, maxDrop: aNumber, target: aString, levels: anObject, edges: aBoolean, depthwise: aBoolean, method: aString, percentile: aNumber,
  exclude: anObject, biasCorrection: aBoolean, equalise: aBoolean, migrate: aString, engine: oneOf(engineNames), symbols: anObject, shapes: anObject, measuredSamples: aNumber, onProgress: aFunction,
};

function settle(options: QuantiseOptions): Settings {
  checkOptions('quantiseModel', options, quantiseOptionKinds);
  const { format = 'int8', levels, maxDrop = format === 'auto' ? 0.012 : defaultDrops[format], target = 'this', edges = false, depthwise = false, method = 'auto', percentile = 99.99, exclude = [], biasCorrection = true, equalise = true, migrate = 'auto', engine, symbols = {}, shapes = {}, measuredSamples = 8, onProgress = silent } = options;
  const refuse = (expected: string, received: unknown): never => {
    throw new RuntimeError('E_QUANTIZE', `Expected ${expected} but received ${String(received)}`);
  };
  if (format !== 'auto' && !formats.includes(format)) refuse(`auto or one of ${formats.join(', ')} for the format`, format);
  if (!(maxDrop > 0)) refuse('a drop above 0', maxDrop);
  if (!targets.includes(target)) refuse(`one of ${targets.join(', ')} for the target`, target);
  if (method !== 'auto' && !calibrationMethods.includes(method)) refuse(`auto or one of ${calibrationMethods.join(', ')} for the method`, method);
  if (!migrationScopes.includes(migrate)) refuse(`one of ${migrationScopes.join(', ')} for the migration`, migrate);
  if (!(percentile > 50 && percentile <= 100)) refuse('a percentile above 50 and up to 100', percentile);
  if (!(Number.isInteger(measuredSamples) && measuredSamples > 0)) refuse('a positive number of measured samples', measuredSamples);
  const grids = gridsFor(format, levels);
  return { format, grids, maxDrop, target, edges, depthwise, method, narrowMethod: method === 'auto' ? 'mse' : method, percentile, exclude: new Set(exclude), biasCorrection, equalise, migrate, engine, symbols, shapes, measuredSamples, onProgress };
}

function checkExclusions(graph: Graph, exclude: ReadonlySet<string>): void {
  const names = new Set(graph.nodes.map((node) => node.name));
  const unknown = [...exclude].find((name) => !names.has(name));
  if (unknown !== undefined) {
    throw new RuntimeError('E_QUANTIZE', `Expected the name of a node to exclude but the model has no '${unknown}' (after folding); \`sterna inspect\` lists them`, { details: { node: unknown } });
  }
}

/** Activations whose channels are looked at: the bias correction of their readers needs the means. */
const inputsOfWeighted = (plan: QuantisationPlan): Set<string> =>
  new Set(plan.layers.filter((layer) => layer.kind === 'weighted').flatMap((layer) => layer.inputs));

/** What was decided of each layer, and measured, by its output. */
interface Outcome extends ChosenFormats, Fidelity {
  migrations: ReadonlyMap<string, Migration>;
  /** Why nodes stay float32, by name. */
  reasons: FloatLayers['reasons'];
}

function layerReports(graph: Graph, plan: QuantisationPlan, { grids, kept, rounded, migrations, reasons, sqnr }: Outcome): LayerReport[] {
  const order = new Map(graph.nodes.map((node, index) => [node.outputs[0] ?? '', index]));
  const position = (layer: Layer): number => order.get(layer.node.outputs[0] ?? '') ?? 0;
  const report = (format: LayerReport['format']) => (layer: Layer): LayerReport & { position: number } => {
    const grid = grids.get(layer.output);
    const reason = format === 'float32' ? reasons.get(layer.node.name) : kept.get(layer.output);
    const migration = migrations.get(layer.output);
    const blocks = rounded.has(layer.output) ? blocksOf(columnLayout(graph, layer)?.depth ?? 1) : 1;
    return {
      name: layer.name,
      op: layer.op,
      sqnr_db: sqnr.get(layer.output) ?? null,
      format: grid?.format ?? format,
      ...(grid === undefined ? {} : { levels: { weights: grid.weights, activations: grid.activations } }),
      ...(reason === undefined ? {} : { kept: reason }),
      ...(blocks === 1 ? {} : { rounding_blocks: blocks }),
      ...(migration === undefined ? {} : { migration }),
      position: position(layer),
    };
  };
  return [...plan.layers.map(report('int8')), ...plan.floatLayers.map(report('float32'))]
    .sort((a, b) => a.position - b.position)
    .map(({ position: _, ...layer }) => layer);
}

/**
 * Post-training quantization of a float32 ONNX model to 8 bits: per-channel symmetric weights in [-127, 127], per-tensor
 * unsigned activations with an exact zero, 32-bit biases, written as QDQ ONNX (Jacob et al., arXiv 1712.05877; Nagel et al.,
 * arXiv 2106.08295).
 * @param source the model's bytes or its path
 * @param calibration feeds like those that the model will see (a few dozen are enough); each must keep its buffers to itself
 * @throws RuntimeError E_OPTION for an unknown option, E_MODEL_* for a model that cannot be read, E_QUANTIZE for data or options that do not serve
 */
export async function quantiseModel(
  source: Uint8Array | string,
  calibration: AsyncIterable<Feeds> | Iterable<Feeds>,
  options: QuantiseOptions = {},
): Promise<QuantiseResult> {
  const settings = settle(options);
  const bytes = await loadModelBytes(source);
  const imported = prepareGraph(parseModel(bytes), settings);
  checkExclusions(imported, settings.exclude);
  const samples = await peek(calibration, equalisationSamples);
  try {
    const even = settings.equalise ? await equalised(imported, settings, samples.first) : imported;
    const { graph, migrations } = await migrated(even, settings, samples.first);
    const total = Array.isArray(calibration) ? calibration.length : null;
    const counted = { ...samples, all: countedSamples(samples.all, total, settings.onProgress) };
    const { report, ...rest } = await quantiseGraph(graph, settings, counted, migrations);
    return { ...rest, report: { input_bytes: bytes.length, ...report } };
  } finally {
    await samples.close();
  }
}

/** A stream of samples, each reported when the next one is asked for. */
async function* countedSamples(samples: AsyncIterable<Feeds>, total: number | null, onProgress: OnQuantiseProgress): AsyncGenerator<Feeds> {
  let done = 0;
  onProgress('calibrate', done, total);
  for await (const feeds of samples) {
    yield feeds;
    onProgress('calibrate', ++done, total);
  }
}

interface GraphResult {
  model: Uint8Array;
  report: Omit<QuantiseReport, 'input_bytes'>;
}

async function quantiseGraph(graph: Graph, settings: Settings, samples: Peeked<Feeds>, migrations: ReadonlyMap<string, Migration>): Promise<GraphResult> {
  const { method, narrowMethod, percentile, engine, grids, measuredSamples, onProgress } = settings;
  const plan = planQuantisation(graph, settings.exclude);
  const narrow = grids.length > 0;
  const keep = Math.max(measuredSamples, narrow ? roundingSamples : 0, method === 'auto' ? judgedSamples : 0);
  const float = await openObserved(graph, plan.values, engine);
  const seen = await calibrate(float, graph, plan.values, inputsOfWeighted(plan), samples.all, { keep, keepsBins: narrow || method !== 'minmax' }).finally(() => float.close());
  checkSeen(graph, plan, seen);
  const statistics = settings.biasCorrection ? seen : { ...seen, channelMeans: new Map<string, Float32Array>() };
  const pixels = pixelInputs(graph, plan, samples.first);
  const unranged = { graph, plan, statistics, narrowMethod, percentile, engine, onProgress };
  const { parameters, ...ranges } = await chooseRanges(unranged, { ...plan, fixed: new Map([...plan.fixed, ...pixels]) }, settings);
  const floats = await leaveFloat({ ...unranged, parameters }, settings, { pixels, ranges });
  const { calibrated } = floats;
  const formats = await chooseFormats(calibrated, settings);
  const qdq = quantiseTo(calibrated, formats.grids, formats.rounded);
  const model = serializeModel(graphToOnnx(storeNarrow(qdq.graph, qdq.levels)));
  const fidelity = await measureModel(calibrated, qdq, reported(spread(statistics.kept, measuredSamples), 'measure', onProgress));
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
      top1_agreement: fidelity.top1Agreement,
      ...lowBitShares(graph, calibrated.plan, formats),
      ...(formats.pareto === undefined ? {} : { pareto: formats.pareto }),
      warnings: [...planWarnings(graph, calibrated.plan, statistics), ...floatWarnings(floats, settings.maxDrop), ...judged],
    },
  };
}

/** Runs the float and the quantized graph side by side, and measures every value that both have. */
async function measureModel({ graph, plan, engine }: Calibrated, qdq: QuantisedGraph, samples: Iterable<Feeds>): Promise<Fidelity> {
  const observed = [...plan.values, ...floatOutputs(graph, plan)];
  const carriers = new Map(observed.map((value) => [value, qdq.names.get(value) ?? value]));
  const float = await openObserved(graph, observed, engine);
  try {
    const quantised = await openObserved(qdq.graph, carriers.values(), engine);
    return await measureFidelity(float, quantised, carriers, graph.outputs, samples).finally(() => quantised.close());
  } finally {
    await float.close();
  }
}

/** Layers stay float32 that would ruin the outputs; and in int8 with a bound on the drop, those without which it would not hold. */
async function leaveFloat(calibrated: Calibrated, settings: Settings, { pixels, ranges }: { pixels: ReadonlyMap<string, AffineParameters>; ranges: CalibrationChoice }): Promise<FloatLayers> {
  const { graph, statistics } = calibrated;
  const samples = spread(statistics.kept, settings.measuredSamples);
  const search: FloatSearch = {
    yardstick: await makeYardstick(calibrated, samples),
    replan(names) {
      const plan = planQuantisation(graph, new Set([...settings.exclude, ...names]));
      return { ...calibrated, plan, parameters: chooseParameters({ ...plan, fixed: new Map([...plan.fixed, ...pixels]) }, statistics.histograms, ranges) };
    },
    measure: (candidate) => measureModel(candidate, quantiseTo(candidate, new Map(), new Map()), samples),
  };
  const floats = await leaveRuinous(calibrated, search);
  return settings.format === 'int8' && settings.maxDrop < unbounded ? holdDrop(floats, settings.maxDrop, search) : floats;
}

/** What fewer bits are about, over all layers with constant weights: how much is multiplied in them, and how many a weight has. */
function lowBitShares(graph: Graph, plan: QuantisationPlan, { grids }: ChosenFormats): Pick<QuantiseReport, 'low_bit_macs' | 'weight_bits'> {
  let [macs, low, weights, bits] = [0, 0, 0, 0];
  for (const layer of plan.layers) {
    const layout = columnLayout(graph, layer);
    if (layout === undefined) continue;
    const grid = grids.get(layer.output) ?? gridOf('int8');
    macs += layerMacs(layout);
    if (grid.activations < 256) low += layerMacs(layout);
    weights += layout.outputs * layout.depth;
    bits += layout.outputs * layout.depth * Math.log2(grid.weights);
  }
  return { low_bit_macs: macs === 0 ? 0 : low / macs, weight_bits: weights === 0 ? 0 : bits / weights };
}

/** The magnitudes of channels settle fast; the ranges that are rounded to come from all samples. */
const equalisationSamples = 16;

async function equalised(graph: Graph, { exclude, engine, onProgress }: Settings, samples: readonly Feeds[]): Promise<Graph> {
  const groups = findChannelGroups(graph, planQuantisation(graph, exclude));
  if (groups.length === 0 || samples.length === 0) return graph;
  const values = groups.flatMap((group) => group.values);
  const session = await openObserved(graph, values, engine);
  try {
    return equaliseChannels(graph, groups, await channelMagnitudes(session, graph, values, reported(samples, 'channels', onProgress)));
  } finally {
    await session.close();
  }
}

/** Scale migration, judged by the finest of the grids below eight bits for the layers that may have one, by int8's for the others. */
async function migrated(graph: Graph, settings: Settings, samples: readonly Feeds[]): Promise<Awaited<ReturnType<typeof migrateScales>>> {
  const { exclude, grids: [grid], method, narrowMethod, percentile, engine, migrate: scope, onProgress } = settings;
  const plan = planQuantisation(graph, exclude);
  const candidates = new Set(findCandidates(graph, plan, settings).layers);
  const gridFor = (layer: Layer): Grid => (grid !== undefined && candidates.has(layer) ? grid : gridOf('int8'));
  return migrateScales({ graph, plan, samples, engine, gridFor, methodFor: (levels) => (levels < 256 ? narrowMethod : method === 'auto' ? 'minmax' : method), percentile, scope, onProgress });
}

/** Parameters of the inputs that are fed with pixels, judged by some samples. */
function pixelInputs(graph: Graph, plan: QuantisationPlan, samples: readonly Feeds[]): Map<string, AffineParameters> {
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

/** Float results of layers that are not quantized, to be measured too. */
const floatOutputs = (graph: Graph, plan: QuantisationPlan): string[] =>
  plan.floatLayers.map((layer) => layer.output).filter((value) => value !== '' && typeOf(graph, value).dtype === 'float32');
