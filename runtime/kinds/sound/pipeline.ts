import { RuntimeError } from '../../errors.js';
import { isSound } from '../../frame.js';
import { stated } from '../../options.js';
import { medianOf } from '../../percentile.js';
import { elementCount } from '../../graph/tensor-value.js';
import type { AnySample, AudioChunk, Image } from '../../frame.js';
import { SoundDecisions } from '../../sound/decisions.js';
import type { SoundClass } from '../../sound/decisions.js';
import { SoundGate } from '../../sound/gate.js';
import { levelsOf, SignalWatch } from '../../sound/levels.js';
import { rateOf } from '../../stages/contract.js';
import type { FeaturesContract, SoundContract, StageContract } from '../../stages/contract.js';
import { ExclusiveStages } from '../../stages/exclusive-stages.js';
import { soundStageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import type { SoundStage } from '../../stages/sound-stage.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { ExitKind, Pipeline, PipelineResult, SoundEvent } from '../../stages/types.js';
import type { Tensor } from '../../tensor.js';
import { initialAudit, missRate, stepAudit, thresholdFactor } from '../../vision/gates/audit.js';
import type { AuditState, GateReport } from '../../vision/gates/audit.js';
import type { PipelineParts } from '../kind.js';
import { softmax } from '../softmax.js';
import type { SoundSettings } from './settings.js';

/** What a pipeline that listens is made of. `random` draws the windows that are checked; a test brings its own. */
export interface SoundParts extends Pick<PipelineParts, 'name' | 'version' | 'stages'> {
  contract: StageContract & { input: SoundContract };
  settings: SoundSettings;
  random?: () => number;
  now?: () => number;
}

const shownScores = 5;
/** Runs that an estimate of a run's time is made of: their median. The slowest of them would stop windows for two seconds after each hiccup of the machine. */
const rememberedRuns = 20;

/** Listens to one stream: gate, features, model, decisions; one chunk at a time, every stage timed. */
export class SoundPipeline implements Pipeline {
  readonly name: string;
  readonly version: string;
  readonly embeddingSpaceId = null;
  readonly sound: { rate: number; step: number; deadlineMs: number };
  readonly #stages: ExclusiveStages;
  readonly #settings: SoundSettings;
  readonly #contract: SoundParts['contract'];
  readonly #gate: SoundGate;
  readonly #watch = new SignalWatch();
  readonly #classes: readonly SoundClass[];
  readonly #decisions: SoundDecisions;
  readonly #random: () => number;
  readonly #now: () => number;
  readonly #runMs: number[] = [];
  #next: number | undefined;
  #late = 0;
  #audit: AuditState = initialAudit;
  #auditedNow = false;

  constructor({ name, version, stages, contract, settings, random = Math.random, now = () => performance.now() }: SoundParts) {
    this.name = name;
    this.version = version;
    this.sound = { rate: rateOf(contract.input), step: contract.input.step, deadlineMs: settings.deadline_ms };
    this.#stages = new ExclusiveStages(stages);
    this.#settings = settings;
    this.#contract = contract;
    this.#gate = new SoundGate(settings.gate);
    this.#classes = classesOf(settings, stages, contract);
    this.#decisions = new SoundDecisions({ ...settings, classes: this.#classes });
    this.#random = random;
    this.#now = now;
  }

  get memoryBytes(): number {
    return this.#stages.memoryBytes;
  }

  get gates(): GateReport | undefined {
    const { enabled, audit_share: share } = this.#settings.gate;
    if (!enabled || share === 0) return undefined;
    const { strictness, audits, misses, unsure } = this.#audit;
    return { strictness, audits, misses, unsure, skipped: 0, missRate: missRate(this.#audit) };
  }

  async process(sample: AnySample): Promise<PipelineResult> {
    if (!isSound(sample)) throw new RuntimeError('E_INPUT', 'Expected sound for this pipeline but received a frame; kinds of pictures see');
    this.#checkRate(sample);
    return this.#stages.use((stages) => this.#process(sample, soundStageOf(stages, 'classifier')));
  }

  embed(): Promise<[]> {
    return Promise.resolve([]);
  }

  withStages<T>(work: (stages: Stages) => Promise<T>): Promise<T> {
    return this.#stages.use(work);
  }

  async rehearse(sample: Image | AudioChunk): Promise<void> {
    if (!('samples' in sample)) throw new RuntimeError('E_INPUT', 'Expected sound for this pipeline but received a picture');
    this.#checkRate(sample);
    await this.#stages.use(async (stages) => {
      const stage = soundStageOf(stages, 'classifier');
      stage.push(sample.samples);
      await stage.run();
    });
  }

  close(): Promise<void> {
    return this.#stages.close();
  }

  /** @throws RuntimeError E_INPUT */
  #checkRate({ rate }: AudioChunk): void {
    if (rate !== this.sound.rate) throw new RuntimeError('E_INPUT', `Expected sound of ${this.sound.rate} samples a second but received ${rate}`);
  }

  async #process(chunk: AudioChunk, stage: SoundStage): Promise<PipelineResult> {
    const clock = new StageClock(chunk);
    const durationMs = (1000 * chunk.samples.length) / chunk.rate;
    const fromMs = chunk.mediaMs ?? chunk.capturedMs;
    const time = { fromMs, untilMs: fromMs + durationMs };
    // A recording that is read as fast as it is processed has no time to be late for.
    const live = chunk.mediaMs === undefined || chunk.capturedMs + durationMs <= this.#now();
    const waitedMs = live ? Math.max(0, this.#now() - chunk.capturedMs - durationMs) : 0;
    clock.add('chunk', durationMs);
    clock.add('buffer', waitedMs);
    if (this.#next !== undefined && chunk.sequence !== this.#next) this.#lost(stage);
    this.#next = chunk.sequence + 1;
    const levels = clock.measure('levels', () => levelsOf(chunk.samples));
    clock.measure('features', () => stage.push(chunk.samples));
    const problems = this.#watch.step(levels, time.untilMs, durationMs);
    const open = this.#gate.decide(levels.levelDb, time.untilMs, durationMs, this.#decisions.busy);
    const { exit, events } = await this.#hear(stage, clock, { open, live, time, waitedMs, durationMs });
    // What smoothing costs, is the age of the oldest window in the average.
    const smoothingMs = (this.#settings.smoothing_windows - 1) * durationMs;
    clock.add('smooth', smoothingMs);
    const result = clock.finish(events, { exit, audit: this.#auditedNow });
    const { floorDb } = this.#gate;
    return {
      ...result,
      sound: {
        levelDb: levels.levelDb, floorDb, scores: this.#decisions.best(shownScores), problems, late: this.#late, smoothingMs,
        spectrum: this.#contract.input.type === 'features' ? picture(stage.freshFeatures, this.#contract.input) : null,
      },
    };
  }

  async #hear(
    stage: SoundStage, clock: StageClock, { open, live, time, waitedMs, durationMs }: { open: boolean; live: boolean; time: { fromMs: number; untilMs: number }; waitedMs: number; durationMs: number },
  ): Promise<{ exit: ExitKind; events: SoundEvent[] }> {
    this.#auditedNow = false;
    const spentMs = durationMs * this.#settings.smoothing_windows + waitedMs + clock.totalMs;
    if (open && live && spentMs + (medianOf(this.#runMs) ?? 0) > this.#settings.deadline_ms) {
      // A model that was slow for a while must not silence the pipeline: what is remembered of it fades.
      this.#runMs.shift();
      return this.#tooLate();
    }
    if (!open) {
      if (this.#random() < this.#settings.gate.audit_share) await this.#check(stage);
      return { exit: 'silence', events: clock.measure('smooth', () => this.#decisions.step(null, time)) };
    }
    const startedMs = this.#now();
    const scores = await clock.measureAsync('infer', () => this.#timed(stage));
    // A run that took longer than runs usually do: nobody waits for what it says any more.
    if (live && spentMs + this.#now() - startedMs > this.#settings.deadline_ms) return this.#tooLate();
    return { exit: 'full', events: clock.measure('smooth', () => this.#decisions.step(scores, time)) };
  }

  #tooLate(): { exit: ExitKind; events: SoundEvent[] } {
    this.#late++;
    return { exit: 'late', events: this.#decisions.events };
  }

  /** A stopped window in full: would something have been heard? If that happens too often, the gate becomes stricter. */
  async #check(stage: SoundStage): Promise<void> {
    this.#auditedNow = true;
    const scores = await this.#scores(stage);
    this.#audit = stepAudit(this.#audit, hearsAny(this.#classes, scores) ? 'miss' : 'nothing new', this.#settings.gate);
    this.#gate.factor = thresholdFactor(this.#audit.strictness);
  }

  async #timed(stage: SoundStage): Promise<Float32Array> {
    const started = this.#now();
    const scores = await this.#scores(stage);
    this.#runMs.push(this.#now() - started);
    if (this.#runMs.length > rememberedRuns) this.#runMs.shift();
    return scores;
  }

  async #scores(stage: SoundStage): Promise<Float32Array> {
    const outputs = await stage.run();
    return scoresOf(outputs[this.#contract.outputs[0] ?? ''], this.#settings.activation);
  }

  /** Samples are missing: what was before has nothing to do with what comes. */
  #lost(stage: SoundStage): void {
    stage.reset();
    this.#decisions.reset();
  }
}

/** Whether any class reaches its threshold in one window. */
export const hearsAny = (classes: readonly SoundClass[], scores: ArrayLike<number>): boolean => classes.some(({ members, on }) => members.some((member) => (scores[member] ?? 0) >= on));

/** Probabilities of the classes. @throws RuntimeError E_MODEL_SHAPE when the output is not of floats */
export function scoresOf(output: Tensor | undefined, activation: SoundSettings['activation']): Float32Array {
  if (!(output?.data instanceof Float32Array)) throw new RuntimeError('E_MODEL_SHAPE', 'Expected a float32 output of scores from the classifier');
  const { data } = output;
  if (activation === 'none') return data;
  return activation === 'sigmoid' ? data.map((value) => 1 / (1 + Math.exp(-value))) : softmax(data);
}

/** What is told, with the thresholds of each. */
export function classesOf(settings: SoundSettings, stages: Stages, { outputs }: StageContract): SoundClass[] {
  const { classes, labels, on, off, min_ms } = settings;
  if (classes.length > 0) return classes.map((one) => ({ on, off: Math.min(off, one.on ?? on), min_ms, ...defined(one) }));
  const info = soundStageOf(stages, 'classifier').session.outputs.find(({ name }) => name === outputs[0]);
  const count = info === undefined ? labels.length : elementCount(info.dims);
  return Array.from({ length: count }, (_, i) => ({ label: labels[i] ?? `class ${i}`, members: [i], on, off, min_ms }));
}

function defined(one: SoundSettings['classes'][number]): Pick<SoundClass, 'label' | 'members'> & Partial<SoundClass> {
  const { label, members, ...rest } = one;
  return { label, members, ...stated(rest) };
}

/** Rows of features for people: 80 dB below the level at which speech is loud are 0, that level is 255. */
function picture(rows: ArrayLike<number> | null, { definition, codes }: FeaturesContract): NonNullable<PipelineResult['sound']>['spectrum'] {
  if (rows === null || definition.cepstrum !== undefined) return null;
  const bands = definition.mel.bands;
  const { normalize, compression } = definition;
  const perDecibel = compression.type === 'log' ? 10 / Math.LN10 / compression.factor : 0;
  return { bands, rows: Uint8Array.from({ length: rows.length }, (_, i) => {
    const value = codes === undefined ? rows[i] ?? 0 : ((rows[i] ?? 0) - codes.zero_point) * codes.scale;
    const own = (values: readonly number[]): number => values[values.length === 1 ? 0 : i % bands] ?? 0;
    const plain = normalize === undefined ? value : value * own(normalize.std) + own(normalize.mean);
    // Power in a band of full-scale noise is some 30 dB above 1 for windows of 25 ms.
    const decibels = perDecibel === 0 ? plain * 20 : (plain - (compression.type === 'log' ? compression.shift : 0)) * perDecibel - 20 * Math.log10(definition.gain);
    return Math.max(0, Math.min(255, ((decibels + 60) / 80) * 255));
  }) };
}
