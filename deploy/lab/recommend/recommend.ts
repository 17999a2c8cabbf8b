import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { stringify } from 'yaml';
import { SternaError } from '../../../kernels/binding/errors.js';
import { writeFileAtomic } from '../../../runtime/atomic-file.js';
import { modelPorts } from '../../../runtime/quantize/prepare/read-model.js';
import type { Target } from '../../../runtime/quantize/formats/targets.js';
import { elementCount } from '../../../runtime/graph/tensor-value.js';
import { runtimeVersion } from '../../../runtime/version.js';
import { DeployError } from '../../errors.js';
import { adoptSteps, answersTo, fewestChainSamples, hashOfSamples, runChain, splitSamples, type ChainInput } from '../chain/chain.js';
import { chainConfig, type ChainConfig } from '../chain/config.js';
import { pruneDefaults, readGraph } from '../prune/prune.js';
import type { EnergyModel } from './energy.js';
import { dropOf, measured, sizesOf, timed, timesTogether, type Drop, type Measured } from './figures.js';
import { bestOf, missesOf, nearestTo, paretoFront, type Bounds } from './front.js';
import { methods, settingsOf, unitOf } from './methods.js';
import { frontSvg } from './plot.js';
import { readProgress, writeProgress, type Progress } from './progress.js';
import type { LeftChain, Recommendation, TriedChain } from './report.js';
import { candidatesOf, type Candidate, type Scenario } from './scenarios.js';
import { Estimates, tryAll, type Outcome } from './schedule.js';

/** What chains and their judges need: a fifth of the samples judges, and no step sees it. */
export interface RecommendInput extends ChainInput {
  /** Samples that neither a step nor a choice sees: they confirm what is recommended. */
  readonly confirming: ChainInput['samples'];
}

/** What all chains have in common, as their `lab.yaml` states it. */
export type ChainBase = Omit<ChainConfig, 'chain'>;

export interface RecommendSettings {
  readonly scenario: Scenario;
  readonly target: Target;
  readonly bounds: Bounds;
  /** Steps of each fine-tuning and of each distillation. */
  readonly steps: number;
  readonly budgetSeconds: number;
  readonly energy: EnergyModel;
  /** Seconds; a test has its own. */
  clock?(): number;
  onStage?(stage: string, done: number, total: number, detail?: string): void;
}

/** Samples for steps, and a few more that confirm. */
export const fewestSamples = fewestChainSamples + 4;

/** What is thrown when the budget ends within a step. */
class BudgetEnd extends Error {}

const originalId = 'original';

/** @throws DeployError E_LAB: what makes a recommendation impossible from the start */
function checkInput({ bytes, samples, confirming, shapes }: RecommendInput, { bounds, target }: RecommendSettings): void {
  if (samples.length < fewestChainSamples || confirming.length < 2) {
    throw new DeployError('E_LAB', `Expected at least ${fewestSamples} samples to recommend by but received ${samples.length + confirming.length}: a fifth is kept for the choice and a fifth for the result, and no step sees them; give more pictures, or .npy arrays`);
  }
  readGraph(bytes, { shapes });
  const ports = modelPorts(bytes, { shapes });
  const least = [...ports.inputs, ...ports.outputs].reduce((sum, { dims }) => sum + elementCount(dims), 0) / 1000;
  if (bounds.memoryKb !== undefined && bounds.memoryKb < least) {
    throw new DeployError('E_LAB', `A bound of ${bounds.memoryKb} kB of memory is impossible: inputs and outputs of the model alone take ${least.toFixed(1)} kB with one byte a value; allow more, or take a model of a smaller input`, { details: { least_kb: least } });
  }
  if (!(bounds.maxDrop > 0 && bounds.maxDrop < 1)) throw new DeployError('E_LAB', `Expected a largest drop above 0 and below 1 but received ${bounds.maxDrop}: it is the share of the agreement with the original that may be lost`);
  if (bounds.cost !== undefined && !(bounds.cost > 0)) throw new DeployError('E_LAB', `Expected a bound above 0 ${unitOf(target)} but received ${bounds.cost}`);
}

/** A recommendation while it is made. */
class Search {
  readonly #input: RecommendInput;
  readonly #base: ChainBase;
  readonly #settings: RecommendSettings;
  readonly #folder: string;
  readonly #candidates: Candidate[];
  readonly #judged: ChainInput['samples'];
  readonly #clock: () => number;
  readonly #began: number;
  #before = 0;
  #wanted: Awaited<ReturnType<typeof answersTo>> = [];
  #progress!: Progress;
  #estimates!: Estimates;

  constructor(input: RecommendInput, base: ChainBase, settings: RecommendSettings, folder: string) {
    [this.#input, this.#base, this.#settings, this.#folder] = [input, base, settings, folder];
    this.#candidates = candidatesOf(settings.scenario);
    this.#judged = splitSamples(input.samples).judged;
    this.#clock = settings.clock ?? (() => performance.now() / 1000);
    this.#began = this.#clock();
  }

  get spent(): number {
    return this.#before + this.#clock() - this.#began;
  }

  /** Reads what an earlier run found out, or measures the original. @returns outcomes that are known */
  async open(): Promise<Map<string, Outcome<Measured>>> {
    const { bytes, samples, shapes } = this.#input;
    const { target, steps, energy } = this.#settings;
    const { model: _, data: __, ...rest } = this.#base;
    const run = createHash('sha256').update(runtimeVersion).update(bytes).update(hashOfSamples(samples)).update(JSON.stringify({ rest, target, steps, energy: energy.provenance })).digest('hex');
    await mkdir(this.#folder, { recursive: true });
    const found = await readProgress(this.#folder, run);
    this.#wanted = await answersTo(bytes, this.#judged, shapes);
    this.#progress = found ?? await this.#begin(run);
    this.#before = this.#progress.spent_seconds;
    this.#estimates = new Estimates({ pass: this.#progress.pass_seconds, weights: this.#progress.weights, samples: samples.length - this.#judged.length, steps, batch: pruneDefaults.batch }, this.#progress.seen);
    return new Map(Object.entries(this.#progress.outcomes));
  }

  /** Measures the original. */
  async #begin(run: string): Promise<Progress> {
    const { bytes, shapes } = this.#input;
    const { target, energy } = this.#settings;
    const [times, sizes] = [(await timesTogether([bytes], shapes, 1))[0], await sizesOf(bytes, shapes, target)];
    const original = measured(originalId, { drop: 0, plus_minus: 0 }, sizes, target === 'this' ? times : undefined, energy);
    return { run, spent_seconds: 0, pass_seconds: (times?.ms ?? 0) / 1000, weights: sizes.weights, seen: {}, original, outcomes: {}, together: null };
  }

  async #times(models: readonly Uint8Array[], seconds: number): Promise<Awaited<ReturnType<typeof timesTogether>>> {
    return this.#settings.target === 'this' ? timesTogether(models, this.#input.shapes, seconds) : [];
  }

  #chainFolder = (id: string): string => join(this.#folder, 'chains', id);
  configOf = ({ steps }: Pick<Candidate, 'steps'>): ChainConfig => chainConfig.parse({ ...this.#base, chain: steps.map((name) => settingsOf(name, this.#settings.steps)) });

  /** The chain that has been made of which a candidate can take the most steps. */
  #source({ id, steps }: Candidate): { from: Candidate; shared: number } | undefined {
    const made = this.#candidates.filter((other) => other.id !== id && this.#progress.outcomes[other.id]?.state === 'tried');
    const sharing = made.map((from) => ({ from, shared: steps.filter((_, i) => steps.slice(0, i + 1).every((name, k) => name === from.steps[k])).length }));
    return sharing.filter(({ shared }) => shared > 0).sort((a, b) => b.shared - a.shared)[0];
  }

  async save(): Promise<void> {
    this.#progress.seen = this.#estimates.seen;
    this.#progress.spent_seconds = this.spent;
    await writeProgress(this.#folder, this.#progress);
  }

  async tryCandidates(known: ReadonlyMap<string, Outcome<Measured>>): Promise<Map<string, Outcome<Measured>>> {
    const outcomes = await tryAll(this.#candidates, {
      known, estimates: this.#estimates, bounds: this.#settings.bounds, budget: { seconds: this.#settings.budgetSeconds, spent: () => this.spent },
      made: (candidate) => this.#source(candidate)?.shared ?? 0,
      attempt: async (candidate) => {
        const outcome = await this.#attempt(candidate);
        if (outcome.state !== 'untried') this.#progress.outcomes[candidate.id] = outcome;
        await this.save();
        return outcome;
      },
    });
    await this.save();
    return outcomes;
  }

  async #attempt(candidate: Candidate): Promise<Outcome<Measured>> {
    try {
      return await this.#carryOut(candidate);
    } catch (error) {
      if (error instanceof BudgetEnd) return { state: 'untried', why: `it was stopped when the budget ended, ${error.message}; a larger budget goes on there` };
      if (error instanceof SternaError) return { state: 'failed', why: `${error.code}: ${error.message}` };
      throw error;
    }
  }

  async #carryOut(candidate: Candidate): Promise<Outcome<Measured>> {
    const { id, steps } = candidate;
    const { onStage, budgetSeconds, target, energy } = this.#settings;
    const { bytes, shapes, agreement } = this.#input;
    const [config, folder, source] = [this.configOf(candidate), this.#chainFolder(id), this.#source(candidate)];
    if (source !== undefined) await adoptSteps(config, this.#input, { folder, from: { folder: this.#chainFolder(source.from.id), config: this.configOf(source.from) } });
    let since = this.#clock();
    const report = await runChain(config, this.#input, folder, {
      onStage: (stage, done, total, detail) => {
        onStage?.(`${id}: ${stage}`, done, total, detail);
        if (this.spent > budgetSeconds) throw new BudgetEnd(`in ${stage.split(':')[0] ?? stage}`);
      },
      onStep: (i) => {
        this.#estimates.note(steps, i, this.#clock() - since);
        since = this.#clock();
      },
    });
    if (report.steps.at(-1)?.figures['kept'] === false) return { state: 'failed', why: 'distillation did not help on samples that it did not learn from, and was undone' };
    onStage?.(`${id}: measuring`, 0, 1);
    const made = await readFile(report.model);
    const drop = dropOf(this.#wanted, await answersTo(made, this.#judged, shapes), agreement);
    if (!Number.isFinite(drop.drop)) return { state: 'failed', why: 'its answers are no numbers' };
    const [before, after] = await this.#times([bytes, made], 0.5);
    const scale = before === undefined ? 1 : this.#progress.original.cost / before.ms;
    return { state: 'tried', point: measured(id, drop, await sizesOf(made, shapes, target), after === undefined ? undefined : { ms: after.ms * scale, cpu_ms: after.cpu_ms }, energy) };
  }

  modelOf = async (id: string): Promise<Uint8Array> => (id === originalId ? this.#input.bytes : readFile(join(this.#chainFolder(id), 'model.onnx')));

  /** All points, the original first, with times of models that took turns. */
  async points(outcomes: ReadonlyMap<string, Outcome<Measured>>): Promise<Measured[]> {
    const points = [this.#progress.original, ...[...outcomes.values()].flatMap((outcome) => (outcome.state === 'tried' ? [outcome.point] : []))];
    if (this.#settings.target !== 'this') return points;
    const ids = points.map(({ id }) => id);
    let together = this.#progress.together;
    if (together === null || together.ids.join() !== ids.join()) {
      this.#settings.onStage?.('measuring all models in turns', 0, 1);
      together = { ids, times: await this.#times(await Promise.all(ids.map((id) => this.modelOf(id))), 1) };
      this.#progress.together = together;
      await this.save();
    }
    const { times } = together;
    return points.map((point, i) => timed(point, times[i], this.#settings.energy));
  }

  /** The drop on samples that neither a step nor a choice saw. */
  async confirm(id: string): Promise<Drop> {
    const { bytes, confirming, shapes, agreement } = this.#input;
    return dropOf(await answersTo(bytes, confirming, shapes), await answersTo(await this.modelOf(id), confirming, shapes), agreement);
  }

  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  get judgedSamples(): number {
    return this.#judged.length;
  }
}

/** A file of `sterna lab chain` that makes the recommended model. */
const labText = (config: ChainConfig, model: Uint8Array): string => [
  '# Written by `sterna lab recommend`. `sterna lab chain lab.yaml -o FOLDER` makes the recommended model from it,',
  `# with the same version and kind of machine to the same bytes (SHA-256 ${createHash('sha256').update(model).digest('hex')}).`,
  stringify(config),
].join('\n');

/** Writes what was chosen, and takes away what an earlier choice left. @returns the paths */
async function writeChoice(search: Search, id: string | undefined, folder: string): Promise<{ model: string | null; lab: string | null }> {
  const [model, lab] = [join(folder, 'model.onnx'), join(folder, 'lab.yaml')];
  await rm(lab, { force: true });
  const candidate = search.candidates.find((each) => each.id === id);
  if (id === undefined) {
    await rm(model, { force: true });
    return { model: null, lab: null };
  }
  const bytes = await search.modelOf(id);
  await writeFileAtomic(model, bytes, 0o644);
  if (candidate === undefined) return { model, lab: null };
  await writeFileAtomic(lab, labText(search.configOf(candidate), bytes), 0o644);
  return { model, lab };
}

/** How many times as long as its CPU time a run of one thread takes; null where nothing is timed. */
const busyness = (original: Measured | undefined): number | null => (original === undefined || original.cpu_ms === null ? null : original.cost / original.cpu_ms);

/**
 * Tries the chains of a scenario within a budget, judges them by samples that no step saw, and chooses the one that fits the bounds best. Writes the model,
 * the `lab.yaml` that makes it again, the plot and the record into the folder. An interrupted run goes on where it was, and one with other bounds, another
 * scenario or a larger budget takes over what the folder has.
 * @throws DeployError E_LAB: too few samples, an impossible bound, a model that is quantized already, a folder of something else; RuntimeError E_MODEL_*
 */
export async function recommend(input: RecommendInput, base: ChainBase, settings: RecommendSettings, folder: string): Promise<Recommendation> {
  checkInput(input, settings);
  const { scenario, target, bounds, energy, budgetSeconds } = settings;
  const search = new Search(input, base, settings, folder);
  const known = await search.open();
  const outcomes = await search.tryCandidates(known);
  const points = await search.points(outcomes);
  const best = bestOf(points, bounds, scenario);
  const front = new Set(paretoFront(points));
  const rows = new Map(search.candidates.map((candidate) => [candidate.id, candidate]));
  const tried = points.map((point): TriedChain => {
    const { steps = [], reason = 'the model as it is', source = '' } = rows.get(point.id) ?? {};
    return { ...point, steps, reason, source, on_front: front.has(point), misses: missesOf(point, bounds) };
  });
  const left = search.candidates.flatMap(({ id, reason, source }): LeftChain[] => {
    const outcome = outcomes.get(id);
    return outcome === undefined || outcome.state === 'tried' ? [] : [{ id, state: outcome.state, why: outcome.why, reason, source }];
  });
  const report: Recommendation = {
    scenario, target, unit: unitOf(target), bounds, passed: best !== undefined, recommended: best?.id ?? null, nearest: best === undefined ? (nearestTo(points, bounds)?.id ?? null) : null,
    tried, left, confirmed: best === undefined ? null : await search.confirm(best.id), judged_by: input.agreement === undefined ? 'cosine' : 'boxes',
    used_samples: input.samples.length - search.judgedSamples, judged_samples: search.judgedSamples, confirming_samples: input.confirming.length, energy: energy.provenance, busy: busyness(points[0]),
    measured: (rows.get(best?.id ?? '')?.steps ?? []).flatMap((step) => methods[step].measured.map((figure) => ({ step, ...figure }))),
    budget_seconds: budgetSeconds, spent_seconds: search.spent, resumed: search.candidates.filter(({ id }) => known.get(id) !== undefined && outcomes.get(id) === known.get(id)).length,
    ...await writeChoice(search, best?.id, folder), plot: join(folder, 'front.svg'),
  };
  await search.save();
  await writeFileAtomic(report.plot, frontSvg(report), 0o644);
  await writeFileAtomic(join(folder, 'recommend.json'), `${JSON.stringify(report, null, 2)}\n`, 0o644);
  return report;
}
