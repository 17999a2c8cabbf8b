import { findCandidates, type KeptReason } from './candidates.js';
import { spread } from '../observe/calibrate.js';
import { roundAll, type Calibrated } from '../write/carry-out.js';
import type { ParetoPoint } from './pareto.js';
import { columnLayout, layerMacs } from '../observe/columns.js';
import { gridOf, type Format, type Grid } from './grids.js';
import type { RoundedLayer } from '../write/insert.js';
import { int8Drop, makeYardstick, measureDrop, mixFormats, type Mix, type Yardstick } from './mix.js';
import { outputRanges } from '../ranges/output-ranges.js';
import type { Layer } from '../prepare/plan.js';
import { instructionsFor, type Target } from './targets.js';
import { timeLayers } from './time-layers.js';
import type { FormatChoice } from '../options.js';

export interface FormatSettings extends FormatChoice {
  measuredSamples: number;
}

export interface ParetoReport {
  target: Target;
  /** ms: measured here. instructions: counted, in millions. */
  unit: 'ms' | 'instructions';
  /** Of the layers that could have fewer bits. `drop` is the sum of single losses, to be compared with the measured one in `chosen`. */
  points: { cost: number; drop: number; low_bit_layers: number }[];
  chosen: { cost: number; drop: number; low_bit_layers: number };
}

export interface ChosenFormats {
  /** By output of the layer; the others stay int8. */
  grids: ReadonlyMap<string, Grid>;
  rounded: ReadonlyMap<string, RoundedLayer>;
  kept: ReadonlyMap<string, KeptReason>;
  pareto?: ParetoReport;
}

/** Gives formats to the layers of a plan and rounds their weights. */
export async function chooseFormats(calibrated: Calibrated, settings: FormatSettings): Promise<ChosenFormats> {
  const { layers, kept } = findCandidates(calibrated.graph, calibrated.plan, settings);
  if (settings.grids.length === 0 || layers.length === 0) return { grids: new Map(), rounded: new Map(), kept: new Map() };
  const pairs = layers.flatMap((layer) => settings.grids.map((grid) => [layer, grid] as const));
  const ranged = calibrated.narrowMethod === 'output' ? { ...calibrated, outputRanges: await outputRanges(calibrated, pairs) } : calibrated;
  if (settings.format === 'auto') return chooseForTarget(ranged, settings, layers, kept);
  return settings.format === 'w4a8' ? chooseLevels(ranged, settings, layers, kept) : chooseWithin(ranged, settings, layers, kept);
}

const macsOf = ({ graph }: Calibrated, layer: Layer): number => {
  const layout = columnLayout(graph, layer);
  return layout === undefined ? 0 : layerMacs(layout);
};

/**
 * What a layer costs in a grid, when no target is named: half its share of the multiply-adds, if they are those of int8, and half its share of the
 * bits of the weights, both of all the layers.
 */
function shareOfCost(calibrated: Calibrated, layers: readonly Layer[]): (output: string, grid: Pick<Grid, 'weights' | 'activations'>) => number {
  const sizeOf = (layer: Layer): { macs: number; weights: number } => {
    const layout = columnLayout(calibrated.graph, layer);
    return layout === undefined ? { macs: 0, weights: 0 } : { macs: layerMacs(layout), weights: layout.outputs * layout.depth };
  };
  const sizes = new Map(layers.map((layer) => [layer.output, sizeOf(layer)]));
  const sum = (key: 'macs' | 'weights'): number => [...sizes.values()].reduce((total, size) => total + size[key], 0);
  const [macs, weights] = [sum('macs'), sum('weights')];
  return (output, grid) => {
    const size = sizes.get(output) ?? { macs: 0, weights: 0 };
    return (grid.activations < 256 ? 0 : size.macs / macs / 2) + (size.weights / weights / 2) * (Math.log2(grid.weights) / 8);
  };
}

/** What candidates are measured by, and the most that the outputs may lose. */
async function makeBound(calibrated: Calibrated, { maxDrop, measuredSamples }: FormatSettings): Promise<{ yardstick: Yardstick; most: number }> {
  const yardstick = await makeYardstick(calibrated, spread(calibrated.statistics.kept, measuredSamples));
  return { yardstick, most: maxDrop + (await int8Drop(calibrated, yardstick)) };
}

/** One grid for all candidates. */
async function giveAll(calibrated: Calibrated, layers: readonly Layer[], grid: Grid, yardstick: Yardstick): Promise<Omit<Mix, 'curve'>> {
  const grids = new Map(layers.map(({ output }) => [output, grid]));
  const rounded = await roundAll(calibrated, grids);
  return { grids, rounded, drop: await measureDrop(calibrated, grids, rounded, yardstick) };
}

/** The first of grids, which get finer, that all candidates can have within what the outputs can bear; or the last, for as many as can bear it. */
async function chooseLevels(calibrated: Calibrated, settings: FormatSettings, layers: readonly Layer[], kept: ReadonlyMap<string, KeptReason>): Promise<ChosenFormats> {
  const { grids } = settings;
  const { yardstick, most } = await makeBound(calibrated, settings);
  let best: ChosenFormats | undefined;
  for (let [low, high] = [0, grids.length - 1]; low < high;) {
    const middle = Math.floor((low + high) / 2);
    const { drop, ...all } = await giveAll(calibrated, layers, grids[middle] ?? gridOf('w4a8'), yardstick);
    if (drop <= most) [best, high] = [{ ...all, kept }, middle];
    else low = middle + 1;
  }
  return best ?? chooseWithin(calibrated, { ...settings, grids: grids.slice(-1) }, layers, kept);
}

/** The first grid for all candidates; or each the cheapest that the outputs can bear, of all the grids and int8. */
async function chooseWithin(calibrated: Calibrated, settings: FormatSettings, layers: readonly Layer[], kept: ReadonlyMap<string, KeptReason>): Promise<ChosenFormats> {
  const { grids, maxDrop } = settings;
  const { yardstick, most } = await makeBound(calibrated, settings);
  const [first = gridOf('int8')] = grids;
  const { drop, ...all } = await giveAll(calibrated, layers, first, yardstick);
  if (drop <= most) return { ...all, kept };
  const offers = new Map(layers.map(({ output }) => [output, grids]));
  const costOf = shareOfCost(calibrated, layers);
  const mix = await mixFormats(calibrated, offers, (layer, format) => costOf(layer, grids.find((grid) => grid.format === format) ?? gridOf('int8')), maxDrop, yardstick);
  return { grids: mix.grids, rounded: mix.rounded, kept: withSensitive(kept, layers, mix.grids) };
}

function withSensitive(kept: ReadonlyMap<string, KeptReason>, layers: readonly Layer[], grids: ReadonlyMap<string, Grid>): Map<string, KeptReason> {
  return new Map([...kept, ...layers.filter(({ output }) => !grids.has(output)).map(({ output }): [string, KeptReason] => [output, 'sensitive'])]);
}

/** The formats with which the target is fastest. A format that is no faster for a layer is not offered to it. */
async function chooseForTarget(calibrated: Calibrated, settings: FormatSettings, layers: readonly Layer[], kept: ReadonlyMap<string, KeptReason>): Promise<ChosenFormats> {
  const { target, grids, maxDrop, measuredSamples } = settings;
  const times = target === 'this' ? await timeLayers(calibrated, layers, grids) : undefined;
  const byOutput = new Map(layers.map((layer) => [layer.output, layer]));
  const costOf = (output: string, format: Format): number => {
    const layer = byOutput.get(output);
    if (layer === undefined || target === 'this') return times?.get(output)?.get(format) ?? 0;
    return instructionsFor(target, format, macsOf(calibrated, layer)) / 1e6;
  };
  const offers = new Map(layers.map(({ output }) => [output, grids.filter(({ format }) => costOf(output, format) < costOf(output, 'int8'))]));
  const useful = new Map([...offers].filter(([, offer]) => offer.length > 0));
  const yardstick = await makeYardstick(calibrated, spread(calibrated.statistics.kept, measuredSamples));
  const mix = await mixFormats(calibrated, useful, costOf, maxDrop, yardstick);
  // Layers to which nothing was offered cost what they cost, in every mixture.
  const rest = layers.filter(({ output }) => !useful.has(output)).reduce((sum, { output }) => sum + costOf(output, 'int8'), 0);
  const cost = [...useful.keys()].reduce((sum, output) => sum + costOf(output, mix.grids.get(output)?.format ?? 'int8'), rest);
  const lowBits = ({ formats }: ParetoPoint): number => [...formats.values()].filter((format) => format !== 'int8').length;
  return {
    grids: mix.grids,
    rounded: mix.rounded,
    kept: withSensitive(kept, layers.filter(({ output }) => useful.has(output)), mix.grids),
    pareto: {
      target,
      unit: target === 'this' ? 'ms' : 'instructions',
      points: mix.curve.map((point) => ({ cost: point.cost + rest, drop: point.drop, low_bit_layers: lowBits(point) })),
      chosen: { cost, drop: mix.drop, low_bit_layers: mix.grids.size },
    },
  };
}
