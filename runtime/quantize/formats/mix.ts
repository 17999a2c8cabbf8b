import type { Tensor } from '../../tensor.js';
import { openPart, spread, type Feeds } from '../observe/calibrate.js';
import { contextFor, quantizeTo, roundAll, type Calibrated } from '../write/carry-out.js';
import { cheapestWithin, paretoCurve, type Choice, type LayerChoices, type ParetoPoint } from './pareto.js';
import type { Format, Grid } from './grids.js';
import type { RoundedLayer } from '../write/insert.js';
import { meanAgreement, outputsOf } from '../report/fidelity.js';
import { reported } from '../report/progress.js';
import { roundAlone, roundingSamples } from '../round/round-layers.js';

/** The float model's answers, which those of quantized ones are measured against. */
export interface Yardstick {
  samples: readonly Feeds[];
  expected: readonly Readonly<Record<string, Tensor>>[];
}

export async function makeYardstick({ graph, engine }: Pick<Calibrated, 'graph' | 'engine'>, samples: readonly Feeds[]): Promise<Yardstick> {
  const session = await openPart(graph, graph.outputs, engine);
  return { samples, expected: await outputsOf(session, samples).finally(() => session.close()) };
}

/** One less the mean agreement with the float model: what is lost, told without labels. */
export async function measureDrop(calibrated: Calibrated, grids: ReadonlyMap<string, Grid>, rounded: ReadonlyMap<string, RoundedLayer>, { samples, expected }: Yardstick): Promise<number> {
  const { graph } = quantizeTo(calibrated, grids, rounded);
  const session = await openPart(graph, graph.outputs, calibrated.engine);
  return 1 - meanAgreement(expected, await outputsOf(session, samples).finally(() => session.close()), calibrated.agreement);
}

/** What int8 everywhere loses: the formats of fewer bits are judged by what they take beyond that. */
export const int8Drop = (calibrated: Calibrated, yardstick: Yardstick): Promise<number> => measureDrop(calibrated, new Map(), new Map(), yardstick);

/**
 * What each layer costs and loses in each of the formats offered to it, all other layers being int8.
 * @param offers by output of the layer: grids of fewer than eight bits
 * @param costOf of a layer in a format; of one unit throughout
 */
export async function measureChoices(
  calibrated: Calibrated, offers: ReadonlyMap<string, readonly Grid[]>, costOf: (layer: string, format: Format) => number, yardstick: Yardstick,
): Promise<LayerChoices[]> {
  const base = await int8Drop(calibrated, yardstick);
  const choices = new Map([...offers.keys()].map((layer): [string, [Choice, ...Choice[]]] => [layer, [{ format: 'int8', cost: costOf(layer, 'int8'), drop: 0 }]]));
  const grids = new Map([...offers.values()].flat().map((grid) => [grid.format, grid]));
  for (const grid of grids.values()) {
    const offered = new Map([...offers].filter(([, some]) => some.includes(grid)).map(([layer]) => [layer, grid]));
    const { graph, plan, statistics, engine, onProgress } = calibrated;
    const rounded = await roundAlone({ graph, plan, grids: offered, context: contextFor(calibrated, offered), samples: spread(statistics.kept, roundingSamples), engine, onProgress });
    for (const layer of reported([...offered.keys()], 'choose', onProgress)) {
      const weights = rounded.get(layer);
      if (weights === undefined) continue;
      const drop = await measureDrop(calibrated, new Map([[layer, grid]]), new Map([[layer, weights]]), yardstick);
      choices.get(layer)?.push({ format: grid.format, cost: costOf(layer, grid.format), drop: Math.max(0, drop - base) });
    }
  }
  return [...choices].map(([layer, options]) => ({ layer, choices: options }));
}

export interface Mix {
  /** By output of the layer; layers that are not here stay int8. */
  grids: Map<string, Grid>;
  rounded: ReadonlyMap<string, RoundedLayer>;
  drop: number;
  /** From int8 everywhere to the fastest formats; empty when nothing had to be weighed up. */
  curve: readonly ParetoPoint[];
}

/** Mixtures that are rounded and measured before the best of them is taken. */
const largestTrials = 4;

/**
 * Formats such that the outputs lose at most `maxDrop` more than in int8, and the cost is low: the layers that lose least for what they save, as far as
 * single losses add up to; that sum is then corrected by what mixtures really lose.
 */
export async function mixFormats(
  calibrated: Calibrated, offers: ReadonlyMap<string, readonly Grid[]>, costOf: (layer: string, format: Format) => number, maxDrop: number, yardstick: Yardstick,
): Promise<Mix> {
  const curve = paretoCurve(await measureChoices(calibrated, offers, costOf, yardstick));
  const base = await int8Drop(calibrated, yardstick);
  let best: Mix = { grids: new Map(), rounded: new Map(), drop: base, curve };
  let bestCost = curve[0]?.cost ?? 0;
  const tried = new Set<ParetoPoint>();
  let budget = maxDrop;
  for (let trial = 0; trial < largestTrials; trial++) {
    const point = cheapestWithin(curve, budget);
    if (point === undefined || tried.has(point) || point === curve[0]) break;
    tried.add(point);
    const mix = await carryOutPoint(calibrated, offers, point, yardstick);
    const loss = Math.max(mix.drop - base, 1e-9);
    if (loss <= maxDrop && point.cost < bestCost) [best, bestCost] = [{ ...mix, curve }, point.cost];
    // What single losses would add up to where the mixture's loss is what is left to lose, and a little less.
    budget = Math.max(point.drop, 1e-9) * Math.min(4, (0.95 * maxDrop) / loss);
  }
  return best;
}

async function carryOutPoint(calibrated: Calibrated, offers: ReadonlyMap<string, readonly Grid[]>, { formats }: ParetoPoint, yardstick: Yardstick): Promise<Omit<Mix, 'curve'>> {
  const grids = new Map<string, Grid>();
  for (const [layer, format] of formats) {
    const grid = offers.get(layer)?.find((offer) => offer.format === format);
    if (grid !== undefined) grids.set(layer, grid);
  }
  const rounded = await roundAll(calibrated, grids);
  return { grids, rounded, drop: await measureDrop(calibrated, grids, rounded, yardstick) };
}
