import { consumersOf, producersOf } from '../../graph/graph.js';
import type { KeptReason } from './candidates.js';
import type { Calibrated } from '../write/carry-out.js';
import type { Fidelity } from '../report/fidelity.js';
import { int8Drop, type Yardstick } from './mix.js';
import type { Layer } from '../prepare/plan.js';
import { reported } from '../report/progress.js';
import { firstOutput } from '../../graph/operands.js';

/** Layers that stay in float32 although 8-bit kernels could run them. */
export interface FloatLayers {
  calibrated: Calibrated;
  /** By name of the node. */
  reasons: ReadonlyMap<string, KeptReason>;
  /** What was lost of the agreement with the float model before a layer was left in float32, and after. */
  ruinous: readonly { layer: Layer; before: number; after: number }[];
}

export interface FloatSearch {
  yardstick: Yardstick;
  /** The same data with the nodes of these names in float32. */
  replan: (names: ReadonlySet<string>) => Calibrated;
  /** How much of each value is left with these layers in int8. */
  measure: (calibrated: Calibrated) => Promise<Pick<Fidelity, 'sqnr'>>;
}

/** Less than this is what 8 bits cost in a sound network. */
const leastDrop = 0.005;
/** A layer stays in float32 when that leaves at most this share of what was lost. */
const clearGain = 0.5;
/** A layer is looked at when its output has so many dB less than what it reads, and so many less than the median of all. */
const [freshLoss, farBelow] = [6, 10];
/** Values without noise count as having so many dB. */
const exact = 60;
const mostSuspects = 3;
const mostRounds = 4;

const isWeighted = ({ kind }: Layer): boolean => kind === 'weighted';

/** Names of the nodes of layers, with the activations that they were joined with: an activation alone would ask for another 8-bit value. */
function namesOf({ graph }: Calibrated, layers: Iterable<Layer>): Set<string> {
  const producers = producersOf(graph.nodes);
  return new Set([...layers].flatMap(({ node, output }) => [node.name, producers.get(output)?.name ?? node.name]));
}

/** Finds the layers around values, through those that only move elements. */
class Neighbours {
  readonly #layers: ReadonlyMap<string, Layer>;
  readonly #makers: ReadonlyMap<string, Layer>;
  readonly #consumers: ReturnType<typeof consumersOf>;

  constructor({ graph, plan }: Calibrated) {
    this.#layers = new Map(plan.layers.map((layer) => [firstOutput(layer.node), layer]));
    this.#makers = new Map(plan.layers.map((layer) => [layer.output, layer]));
    this.#consumers = consumersOf(graph.nodes);
  }

  /** Whoever reads a value, and what passes it on. */
  readers(value: string): Layer[] {
    return (this.#consumers.get(value) ?? []).flatMap((node) => {
      const layer = this.#layers.get(firstOutput(node));
      if (layer === undefined) return [];
      return layer.kind === 'pass' ? [layer, ...this.readers(layer.output)] : [layer];
    });
  }

  /** Whoever makes a value, with all that read it: with these in float32 the value has no 8 bits anywhere. */
  around(value: string): Layer[] {
    const maker = this.#makers.get(value);
    if (maker?.kind === 'pass') return [maker, ...maker.inputs.flatMap((input) => this.around(input))];
    return [...(maker === undefined ? [] : [maker]), ...this.readers(value)];
  }
}

/** Layers at which much more is lost than at the others, the worst first. */
function suspects({ plan }: Calibrated, { sqnr }: Pick<Fidelity, 'sqnr'>): Layer[] {
  const of = (value: string): number => sqnr.get(value) ?? exact;
  const computing = plan.layers.filter(({ kind }) => kind !== 'pass');
  const all = computing.map(({ output }) => of(output)).sort((a, b) => a - b);
  const median = all[Math.floor(all.length / 2)] ?? exact;
  const lossOf = ({ inputs, output }: Layer): number => Math.min(exact, ...inputs.map(of)) - of(output);
  return computing.filter((layer) => lossOf(layer) >= freshLoss && of(layer.output) <= median - farBelow).sort((a, b) => lossOf(b) - lossOf(a)).slice(0, mostSuspects);
}

interface Trial {
  layers: Set<Layer>;
  drop: number;
}

/**
 * Leaves layers in float32 at which most of the damage is done: a layer alone where its weights are to blame, or with its neighbours where 8 bits are
 * too few for a value between them. At least one layer with weights stays int8.
 */
export async function leaveRuinous(start: Calibrated, search: FloatSearch): Promise<FloatLayers> {
  let calibrated = start;
  const names = new Set<string>();
  const ruinous: FloatLayers['ruinous'][number][] = [];
  let drop = await int8Drop(calibrated, search.yardstick);
  for (let round = 0; round < mostRounds && drop > leastDrop; round++) {
    const found = suspects(calibrated, await search.measure(calibrated));
    const helps = (trial: Trial | undefined): trial is Trial => trial !== undefined && trial.drop <= clearGain * drop;
    const suspected = await bestTrial(calibrated, found, names, search);
    const best = helps(suspected) ? suspected : await narrowDown(calibrated, names, { search, helps });
    if (best === undefined) break;
    for (const name of namesOf(calibrated, best.layers)) names.add(name);
    for (const layer of best.layers) if (layer.kind !== 'pass') ruinous.push({ layer, before: drop, after: best.drop });
    calibrated = search.replan(names);
    drop = best.drop;
  }
  return { calibrated, reasons: new Map([...names].map((name) => [name, 'ruinous'])), ruinous };
}

/** A search by halves ends without a result above so many layers: then the noise is everywhere. */
const mostNeighbours = 8;

/**
 * Searches the layers by halves for a few neighbours that do most of the damage: noise in a value tells nothing of what it does to the outputs
 * where most of the value is constant, or behind it little depends on the noisy part. Halves overlap, for the layers around a value only help together.
 */
async function narrowDown(
  calibrated: Calibrated, names: ReadonlySet<string>, { search, helps }: { search: FloatSearch; helps: (trial: Trial) => boolean },
): Promise<Trial | undefined> {
  let [run, best]: [readonly Layer[], Trial | undefined] = [calibrated.plan.layers, undefined];
  for (;;) {
    const size = run.length > mostNeighbours ? Math.ceil(run.length / 2) : run.length - 1;
    const starts = new Set([0, Math.floor((run.length - size) / 2), run.length - size]);
    const trials: Trial[] = [];
    for (const start of size < 1 ? [] : reported([...starts], 'float', calibrated.onProgress)) {
      const trial = await tried(names, new Set(run.slice(start, start + size)), calibrated, search);
      if (trial !== undefined) trials.push(trial);
    }
    const next = trials.filter(helps).sort((a, b) => a.drop - b.drop)[0];
    if (next === undefined || (best !== undefined && best.layers.size <= mostNeighbours && next.drop > 1.25 * best.drop + 1e-4)) break;
    best = next;
    run = [...next.layers];
  }
  return best !== undefined && best.layers.size <= mostNeighbours ? best : undefined;
}

/** What is lost with these layers in float32; undefined when no layer with weights would be left in int8. */
async function tried(names: ReadonlySet<string>, layers: Set<Layer>, calibrated: Calibrated, { replan, yardstick }: FloatSearch): Promise<Trial | undefined> {
  const candidate = replan(new Set([...names, ...namesOf(calibrated, layers)]));
  return candidate.plan.layers.some(isWeighted) ? { layers, drop: await int8Drop(candidate, yardstick) } : undefined;
}

async function bestTrial(calibrated: Calibrated, found: readonly Layer[], names: ReadonlySet<string>, search: FloatSearch): Promise<Trial | undefined> {
  const neighbours = new Neighbours(calibrated);
  const forms = found.flatMap((layer) => [[layer], [layer, ...neighbours.readers(layer.output)], [layer, ...layer.inputs.flatMap((input) => neighbours.around(input))]]);
  const trials: Trial[] = [];
  for (const form of reported(forms, 'float', calibrated.onProgress)) {
    const trial = await tried(names, new Set(form), calibrated, search);
    if (trial !== undefined) trials.push(trial);
  }
  const least = Math.min(...trials.map(({ drop }) => drop));
  // Of those that gain about as much, the one that costs the fewest layers.
  return trials.filter(({ drop }) => drop <= 1.25 * least + 1e-4).sort((a, b) => a.layers.size - b.layers.size || a.drop - b.drop)[0];
}

/**
 * Leaves the layers in float32 that int8 takes most from, with whoever reads what they make, as many as it takes for the outputs to lose no more than
 * `maxDrop`: in the worst case all.
 */
export async function holdDrop(start: FloatLayers, maxDrop: number, { replan, yardstick }: FloatSearch): Promise<FloatLayers> {
  const { calibrated, reasons } = start;
  if ((await int8Drop(calibrated, yardstick)) <= maxDrop) return start;
  const neighbours = new Neighbours(calibrated);
  const ranked: { names: Set<string>; drop: number }[] = [];
  for (const layer of reported(calibrated.plan.layers.filter(isWeighted), 'float', calibrated.onProgress)) {
    const names = namesOf(calibrated, [layer, ...neighbours.readers(layer.output)]);
    ranked.push({ names, drop: await int8Drop(replan(new Set([...reasons.keys(), ...names])), yardstick) });
  }
  ranked.sort((a, b) => a.drop - b.drop);
  const firstOf = (count: number): Set<string> => new Set([...reasons.keys(), ...ranked.slice(0, count).flatMap(({ names }) => [...names])]);
  let [low, high] = [1, ranked.length];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((await int8Drop(replan(firstOf(middle)), yardstick)) <= maxDrop) high = middle;
    else low = middle + 1;
  }
  const names = firstOf(low);
  return { ...start, calibrated: replan(names), reasons: new Map([...names].map((name) => [name, reasons.get(name) ?? 'sensitive'])) };
}
