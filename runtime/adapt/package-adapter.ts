/** Adapts the models of a package that see pictures: gathers what they are fed, tunes their thresholds, and judges the whole package. */
import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import type { ModelPackage } from '../package/package.js';
import { selfTest } from '../package/self-test.js';
import { createPipeline } from '../pipeline/create.js';
import { SpreadSample } from '../quantize/observe/calibrate.js';
import type { StageContract } from '../stages/contract.js';
import type { EngineOptions } from '../stages/model-stage.js';
import type { Pipeline } from '../stages/types.js';
import type { Tensor } from '../tensor.js';
import { bytesOf, readQuantized, type Threshold } from './apply.js';
import { withModels, withThresholds } from './overlay.js';
import { floatActivations } from './teacher.js';
import { adapting, leastSamples, type AdaptReport, type AdaptStep } from './tune.js';

/** Of what a stage is fed, so much is kept, bytes; small inputs are kept so many times at most. */
const keptBytes = 5 << 20;
const keptInputs = 48;

/** Why a stage was left as it is, or how far it was adapted. */
export interface StageAdaptation {
  readonly stage: string;
  readonly model: string;
  readonly report: AdaptReport | null;
  /** Null when it was adapted. */
  readonly reason: string | null;
}

export interface PackageAdaptation {
  readonly stages: readonly StageAdaptation[];
  /** Thresholds by path of the model; none, for the reason. */
  readonly models: ReadonlyMap<string, readonly Threshold[]>;
  readonly reason: string | null;
}

export interface PackageStep extends AdaptStep {
  readonly stage: string;
}

type Seen = Pick<StageContract, 'model' | 'input'>;

/** What a stage was fed, as a session with `pixels` takes it. */
function fedTensor({ input }: Seen, data: Uint8Array): Tensor {
  if (input.type !== 'pixels') throw new RuntimeError('E_ADAPT', 'Expected a stage that is fed pixels');
  return { type: 'uint8', dims: [1, input.height, input.width, input.channels === 'grey' ? 1 : 3], data: Uint8Array.from(data) };
}

export class PackageAdapter {
  readonly #package: ModelPackage;
  readonly #engine: EngineOptions;
  readonly #fed = new Map<string, SpreadSample<Tensor>>();
  readonly #counts = new Map<string, number>();
  #pipeline: Pipeline | null;

  private constructor(modelPackage: ModelPackage, pipeline: Pipeline, engine: EngineOptions) {
    this.#package = modelPackage;
    this.#pipeline = pipeline;
    this.#engine = engine;
    for (const [name, { input }] of this.#stages()) {
      const { width, height } = input.type === 'pixels' ? input : { width: 1, height: 1 };
      // The sample holds up to twice as many as it gives.
      this.#fed.set(name, new SpreadSample(Math.max(leastSamples, Math.min(keptInputs, Math.floor(keptBytes / (width * height * 3)))) / 2 | 0 || 1));
    }
  }

  /**
   * @param engine of the sessions; without a cache, because candidates come and go
   * @throws RuntimeError E_ADAPT: a package that listens; E_MODEL_*
   */
  static async open(modelPackage: ModelPackage, engine: EngineOptions = {}): Promise<PackageAdapter> {
    if (!Object.values(modelPackage.manifest.pipeline.stages).some(({ input }) => input.type === 'pixels')) throw new RuntimeError('E_ADAPT', `The package ${modelPackage.manifest.name} has no model that sees pictures: thresholds of models for sound are not adapted`);
    const pipeline = await createPipeline(modelPackage, { ...engine, motionGate: false, tracking: false });
    const adapter = new PackageAdapter(modelPackage, pipeline, engine);
    await pipeline.withStages((stages) => {
      for (const [name] of adapter.#stages()) {
        const stage = stages[name];
        if (stage !== undefined) stage.onRun = (fed) => adapter.#keep(name, fed);
      }
      return Promise.resolve();
    });
    return adapter;
  }

  #stages(): [string, Seen][] {
    return Object.entries(this.#package.manifest.pipeline.stages).filter(([, { input }]) => input.type === 'pixels');
  }

  #keep(name: string, fed: Uint8Array): void {
    const contract = this.#package.manifest.pipeline.stages[name];
    if (contract === undefined) return;
    this.#fed.get(name)?.add(fedTensor(contract, fed));
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** How often each stage was fed something so far. */
  get fed(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Runs a picture through the package, and keeps some of what its models are fed. Nothing is kept of the picture itself. */
  async gather(picture: Image): Promise<void> {
    if (this.#pipeline === null) throw new RuntimeError('E_ADAPT', 'Pictures were gathered, and thresholds are being adapted to them');
    await this.#pipeline.rehearse(picture);
  }

  /**
   * Adapts one model after the other; each step is a run or two of a model. The pipeline is closed first, so that the memory of both is never needed.
   * @throws RuntimeError E_ADAPT as `adapting`, except for stages that cannot be adapted, which are left as they are
   */
  async *adapt(): AsyncGenerator<PackageStep, PackageAdaptation> {
    await this.close();
    const models = new Map<string, readonly Threshold[]>();
    const stages: StageAdaptation[] = [];
    for (const [stage, contract] of this.#stages()) {
      const { thresholds, ...outcome } = yield* this.#adaptStage(stage, contract);
      stages.push({ stage, model: contract.model, ...outcome });
      // Two stages may have one model; it is adapted to what the first of them sees.
      if (thresholds.length > 0 && !models.has(contract.model)) models.set(contract.model, thresholds);
    }
    if (models.size === 0) return { stages, models, reason: 'no model gains enough by other thresholds' };
    const { passed, failures } = await selfTest(withoutBudget(withThresholds(this.#package, models)), { ...this.#engine, rounds: 0 });
    return passed ? { stages, models, reason: null } : { stages, models: new Map(), reason: `golden vectors of the package do not hold: ${failures.slice(0, 3).join('; ')}` };
  }

  async *#adaptStage(stage: string, { model, input }: Seen): AsyncGenerator<PackageStep, Pick<StageAdaptation, 'report' | 'reason'> & { thresholds: readonly Threshold[] }> {
    const samples = (this.#fed.get(stage)?.result() ?? []).map((tensor) => ({ [input.type === 'features' ? '' : input.tensor]: tensor }));
    this.#fed.delete(stage);
    const left = (reason: string): { thresholds: readonly Threshold[]; report: null; reason: string } => ({ thresholds: [], report: null, reason });
    if (input.type !== 'pixels') return left('it sees no pictures');
    if (samples.length < leastSamples) return left(`it was fed ${samples.length} times, which is too little`);
    const { engine, threads, isa } = this.#engine;
    const session = { ...(engine === undefined ? {} : { engine }), ...(threads === undefined ? {} : { threads }), ...(isa === undefined ? {} : { isa }), pixels: { [input.tensor]: { mean: input.mean, std: input.std } } };
    const steps = adapting(this.#package.file(model), samples, { session });
    try {
      for (;;) {
        const { done, value } = await steps.next();
        if (done === true) return { thresholds: value.thresholds, report: value.report, reason: value.report.kept ? null : 'its outputs are not closer to those without rounding' };
        yield { stage, ...value };
      }
    } catch (error) {
      if (error instanceof RuntimeError && error.code === 'E_ADAPT') return left(error.message);
      throw error;
    }
  }

  /** Closes the pipeline; what was gathered is kept. */
  async close(): Promise<void> {
    const pipeline = this.#pipeline;
    this.#pipeline = null;
    await pipeline?.close();
  }
}

/** A test of accuracy alone: time and memory are the same as those of the package. */
const withoutBudget = (modelPackage: ModelPackage): ModelPackage => ({ ...modelPackage, manifest: { ...modelPackage.manifest, budget: { ...modelPackage.manifest.budget, p99_ms: Number.MAX_VALUE, ram_bytes: Number.MAX_SAFE_INTEGER } } });

/** The package without rounded activations wherever thresholds may move: the judge of what the package and its overlay find. */
export function teacherOf(modelPackage: ModelPackage): ModelPackage {
  const paths = new Set(Object.values(modelPackage.manifest.pipeline.stages).filter(({ input }) => input.type === 'pixels').map(({ model }) => model));
  const models = new Map<string, Uint8Array>();
  for (const path of paths) {
    try {
      models.set(path, bytesOf(floatActivations(readQuantized(modelPackage.file(path)))));
    } catch (error) {
      if (!(error instanceof RuntimeError) || error.code !== 'E_ADAPT') throw error; // A float model judges as it is.
    }
  }
  return withModels(modelPackage, models);
}
