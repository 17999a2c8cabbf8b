import { graphToOnnx } from '../../../runtime/graph/export.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import type { ChosenSizes } from '../../../runtime/graph/open-dimensions.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { untilStable } from '../../../runtime/optimize/optimize.js';
import { foldConstants } from '../../../runtime/optimize/passes/fold-constants.js';
import { foldWeightDequantize } from '../../../runtime/optimize/passes/fold-weight-dequantize.js';
import { removeIdentities } from '../../../runtime/optimize/passes/remove-identities.js';
import { openPart, type Feeds } from '../../../runtime/quantize/observe/calibrate.js';
import { centredCosine, outputsOf } from '../../../runtime/quantize/report/fidelity.js';
import { runtimeVersion } from '../../../runtime/version.js';
import { timesOf } from '../../bench/time-models.js';
import { DeployError } from '../../errors.js';
import { divided } from '../divided.js';
import { rootMeanSquares } from '../root-mean-squares.js';
import { columnMoments } from './columns.js';
import { compensate } from './compensate.js';
import { findDependencies, type Dependencies } from './dependencies.js';
import { planRemoval, totalMacs } from './plan.js';
import { removeChannels } from './remove.js';
import { scoreChannels, type Criterion, type Scores } from './scores.js';
import { tune } from './tune.js';

/** What is to be left: a share of the multiply-adds, or of the time that a run takes on this CPU with one thread. */
export interface PruneTarget {
  readonly of: 'macs' | 'time';
  readonly left: number;
}

export interface PruneSettings {
  readonly target: PruneTarget;
  readonly criterion: Criterion;
  /** Channels go in so many rounds, each followed by its part of the steps. */
  readonly rounds: number;
  /** Steps of fine-tuning in all; 0: none. */
  readonly steps: number;
  readonly rate: number;
  readonly batch: number;
  readonly align: number;
  /** Least share of the channels that each layer keeps. */
  readonly keep: number;
  readonly exclude: readonly string[];
  readonly seed: number;
  readonly threads: number;
  readonly sizes?: ChosenSizes;
  onStage?(stage: string, done: number, total: number, detail?: string): void;
}

export const pruneDefaults = { criterion: 'second-order', rounds: 3, steps: 300, rate: 3e-4, batch: 8, align: 8, keep: 0.15, exclude: [], seed: 1, threads: 1 } as const satisfies Partial<PruneSettings>;

export interface PrunedLayers {
  /** Layers that make these channels. */
  layers: readonly string[];
  before: number;
  after: number;
}

export interface PruneReport {
  criterion: Criterion;
  macs_before: number;
  macs_after: number;
  bytes_before: number;
  bytes_after: number;
  /** Time of a run of the pruned model as a share of the unpruned one's, measured in turns; null unless time was the target. */
  time_ratio: number | null;
  groups: PrunedLayers[];
  tuned_samples: number;
  judged_samples: number;
  steps: number;
  /** Agreement of the outputs with those of the unpruned model on the samples judged, 0..1: the cosine without the mean over the samples. */
  agreement_untuned: number;
  agreement: number;
  seed: number;
}

/**
 * A float graph to be pruned or tuned: constants folded, weights float32; batch normalization stays, so that its gains can be looked at.
 * @throws DeployError E_LAB: the model is quantized; RuntimeError E_MODEL_*
 */
export function readGraph(bytes: Uint8Array, sizes: ChosenSizes | undefined): Graph {
  const graph = untilStable(inferShapes(graphFromOnnx(parseModel(bytes), sizes)), [foldConstants, removeIdentities, foldWeightDequantize]);
  const quantized = graph.nodes.find(({ op }) => op === 'QuantizeLinear' || op.startsWith('QLinear'));
  if (quantized !== undefined) throw new DeployError('E_LAB', `The model is quantized (node '${quantized.name}'); prune the float32 model that it was made from, and quantize the result`, { details: { node: quantized.name } });
  return graph;
}

function checkExclusions(graph: Graph, exclude: readonly string[]): void {
  const unknown = exclude.find((name) => graph.nodes.every((node) => node.name !== name));
  if (unknown !== undefined) throw new DeployError('E_LAB', `Expected the name of a node to exclude but the model has no '${unknown}'; \`sterna inspect\` lists them`, { details: { node: unknown } });
}

/** The graph as an ONNX file. */
export const graphBytes = (graph: Graph): Uint8Array => serializeModel(graphToOnnx(graph));

/** What a float graph answers to samples. @throws RuntimeError E_ENGINE_MISSING */
export async function answersOf(graph: Graph, samples: readonly Feeds[]): Promise<Feeds[]> {
  const session = await openPart(graph, graph.outputs, 'onnxruntime');
  return outputsOf(session, samples).finally(() => session.close());
}

/** Measurements that look for the multiply-adds which take the wanted time. */
const timeTrials = 6;

/** Multiply-adds such that a run takes at most the wanted share of the time. @throws DeployError E_LAB: out of reach */
async function macsForTime(original: Uint8Array, dependencies: Dependencies, scores: Scores, left: number, settings: PruneSettings): Promise<number> {
  const whole = totalMacs(dependencies);
  let [low, high] = [0.02, 1];
  let found: number | undefined;
  for (let trial = 0; trial < timeTrials; trial++) {
    const share = trial === 0 ? left : (low + high) / 2;
    settings.onStage?.('measuring time', trial, timeTrials);
    let ratio = 0;
    try {
      const pruned = graphBytes(removeChannels(dependencies, planRemoval(dependencies, scores, { ...settings, macs: share * whole })));
      ratio = (await timesOf(original, pruned)).ratio;
    } catch (error) {
      if (!(error instanceof DeployError) || error.details?.['reachable'] === undefined) throw error;
      low = 1 - Number(error.details['reachable']);
      if (low >= high) break;
      continue;
    }
    if (ratio <= left) [found, low] = [share * whole, share];
    else high = share;
  }
  if (found === undefined) throw new DeployError('E_LAB', `No choice of channels brings a run to ${(100 * left).toFixed(0)} % of its time on this CPU; ask for less`);
  return found;
}

interface Round {
  readonly graph: Graph;
  readonly tuned: readonly Feeds[];
  readonly sizes: ReadonlyMap<string, number>;
}

/** Removes channels until so many multiply-adds are left; layers behind them make up for what they can. */
async function removed({ graph, tuned, sizes }: Round, macsOf: (dependencies: Dependencies, scores: Scores) => Promise<number> | number, settings: PruneSettings): Promise<Graph> {
  const exclude = new Set(settings.exclude);
  const dependencies = findDependencies(graph, exclude);
  const readers = [...new Set(dependencies.cuts.filter(({ role, ids }) => role === 'reads' && ids.some((id) => id !== 0)).map(({ node }) => node))];
  settings.onStage?.('scoring channels', 0, 1);
  const moments = await columnMoments(graph, readers, tuned);
  const scores = await scoreChannels(settings.criterion, dependencies, { samples: tuned, sizes, moments, seed: settings.seed });
  const chosen = planRemoval(dependencies, scores, { ...settings, macs: await macsOf(dependencies, scores), keep: settings.keep ** (1 / settings.rounds) });
  // The same channels have the same numbers: only weights have changed, and biases that layers did not have are new.
  return removeChannels(findDependencies(compensate(dependencies, chosen, moments), exclude), chosen);
}

const groupsReport = (before: Graph, after: Graph, exclude: ReadonlySet<string>): PrunedLayers[] => {
  const widths = (graph: Graph): Map<string, number> => new Map(findDependencies(graph).cuts.filter(({ role, operand }) => role === 'makes' && operand === 1).map(({ node, ids }) => [node.name, ids.length]));
  const [from, to] = [widths(before), widths(after)];
  return findDependencies(before, exclude).groups.map(({ makers }) => ({ layers: makers, before: from.get(makers[0] ?? '') ?? 0, after: to.get(makers[0] ?? '') ?? 0 })).filter((group) => group.before !== group.after);
};

/**
 * Structured pruning: removes channels with all that depends on them, by dependency groups (Fang et al., DepGraph, arXiv 2301.12900), in rounds; what reads
 * them is adjusted by least squares, and the model is fine-tuned by distillation from the unpruned one. No labels are needed.
 * @param samples feeds like those that the model will see; every fifth judges the result
 * @returns an ordinary float32 model in which the channels do not exist any more; its metadata has the record
 * @throws DeployError E_LAB: fewer than ten samples, no channels to remove, a target out of reach; RuntimeError E_GRADIENT, E_ENGINE_MISSING, E_MODEL_*
 */
export async function pruneModel(bytes: Uint8Array, samples: readonly Feeds[], settings: PruneSettings): Promise<{ model: Uint8Array; report: PruneReport }> {
  const { target, rounds, steps, exclude } = settings;
  if (samples.length < 10) throw new DeployError('E_LAB', `Expected at least 10 samples to prune with but received ${samples.length}: every fifth one judges the result`);
  if (!(target.left > 0 && target.left < 1)) throw new DeployError('E_LAB', `Expected a share above 0 and below 1 to be left but received ${target.left}`);
  const original = readGraph(bytes, settings.sizes);
  checkExclusions(original, exclude);
  const { tuned, judged } = divided(samples);
  const answers = await answersOf(original, samples);
  const wanted = divided(answers);
  const before = totalMacs(findDependencies(original));
  const originalBytes = graphBytes(original);
  const agreementOf = async (graph: Graph): Promise<number> => centredCosine(wanted.judged, await answersOf(graph, judged));
  const sizes = rootMeanSquares(wanted.tuned);
  let graph = original;
  let [goal, untuned, agreement] = [target.left * before, 1, 1];
  for (let round = 0; round < rounds; round++) {
    const part = (round + 1) / rounds;
    const made = await removed({ graph, tuned, sizes }, async (dependencies, scores) => {
      if (target.of === 'time' && round === 0) goal = await macsForTime(originalBytes, dependencies, scores, target.left, settings);
      return before * (goal / before) ** part;
    }, settings);
    untuned = await agreementOf(made);
    [graph, agreement] = [made, untuned];
    const own = Math.round((steps * part)) - Math.round(steps * (round / rounds));
    if (own === 0) continue;
    const learned = await tune(made, original, tuned, { ...settings, steps: own, seed: settings.seed + round, onStep: (step, all, loss) => settings.onStage?.(`fine-tuning, round ${round + 1} of ${rounds}`, step, all, `loss ${loss.toFixed(4)}`) });
    const after = await agreementOf(learned);
    if (after > untuned) [graph, agreement] = [learned, after];
  }
  const report: PruneReport = {
    criterion: settings.criterion, macs_before: before, macs_after: totalMacs(findDependencies(graph)), bytes_before: bytes.length, bytes_after: 0,
    time_ratio: target.of === 'time' ? (await timesOf(originalBytes, graphBytes(graph))).ratio : null, groups: groupsReport(original, graph, new Set(exclude)),
    tuned_samples: tuned.length, judged_samples: judged.length, steps, agreement_untuned: untuned, agreement, seed: settings.seed,
  };
  const { bytes_after: _, ...record } = report;
  const model = graphBytes({ ...graph, metadata: new Map([...parseModel(bytes).metadata, ['sterna.lab.prune', JSON.stringify({ version: runtimeVersion, target, rounds, rate: settings.rate, batch: settings.batch, align: settings.align, ...record })]]) });
  return { model, report: { ...report, bytes_after: model.length } };
}
