import { RuntimeError } from '../../runtime/errors.js';
import { openOnnxRuntime } from '../../runtime/engines/onnxruntime.js';
import type { Session } from '../../runtime/session-types.js';
import type { Tensor } from '../../runtime/tensor.js';
import { DeployError } from '../errors.js';
import type { Checkpoint } from './checkpoint.js';
import { clipNorm, createOptimizer, type Arrays, type Optimizer, type OptimizerSettings } from './optimizers.js';
import { rateShare, type ScheduleSettings } from './schedules.js';
import type { TrainingModel } from './training-model.js';

/** Feeds of one step by name, a function of its number and of the weights alone: a run that goes on from a checkpoint sees the same data. */
export type Batches = (step: number, weights: Arrays) => Promise<Readonly<Record<string, Tensor>>> | Readonly<Record<string, Tensor>>;

export interface TrainerSettings {
  readonly steps: number;
  readonly optimizer: OptimizerSettings;
  readonly schedule: ScheduleSettings;
  /** Peak of the learning rate. */
  readonly rate: number;
  /** Share of the steps in which the rate rises. */
  readonly warmup: number;
  /** Largest common norm of the gradients. */
  readonly clip: number;
  /** Share of the averaged weights that a step keeps; 0: weights are not averaged. */
  readonly average: number;
  readonly threads: number;
  /** Share of the rate for a weight by its name; 1 for all if left out. */
  readonly rateOf?: (name: string) => number;
}

/** How much of the running statistics a step keeps. */
const momentum = 0.9;

const finite = (data: ArrayLike<number>): boolean => {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return false;
  return true;
};

/** A session of the step: in blocks where this processor has them, which onnxruntime refuses otherwise. @throws RuntimeError E_ENGINE_MISSING */
async function openStep({ bytes, blocked }: TrainingModel, threads: number): Promise<Session> {
  const inBlocks = process.arch === 'x64' ? blocked() : undefined;
  if (inBlocks !== undefined) {
    const session = await openOnnxRuntime(inBlocks, { threads }).catch((error: unknown) => {
      if (error instanceof RuntimeError && (error.code === 'E_MODEL_OP' || error.code === 'E_MODEL_MALFORMED')) return undefined;
      throw error;
    });
    if (session !== undefined) return session;
  }
  return openOnnxRuntime(bytes, { threads });
}

/** Trains the weights of a training model on onnxruntime. Equal settings, data and checkpoints give equal bits. */
export class Trainer {
  readonly weights: Arrays;
  /** Running statistics of normalizations. */
  readonly statistics: Map<string, Float32Array>;
  readonly losses: number[] = [];
  #step = 0;
  readonly #average: Map<string, Float32Array>;
  readonly #optimizer: Optimizer;
  readonly #model: TrainingModel;
  readonly #session: Session;
  readonly #settings: TrainerSettings;
  readonly #batches: Batches;
  /** Weights by their share of the rate. */
  readonly #paces: ReadonlyMap<number, Arrays>;

  private constructor(model: TrainingModel, session: Session, settings: TrainerSettings, batches: Batches) {
    this.#model = model;
    this.#session = session;
    this.#settings = settings;
    this.#batches = batches;
    this.weights = new Map([...model.weights].map(([name, { data }]) => [name, Float32Array.from(data as Float32Array)]));
    this.#average = new Map(settings.average > 0 ? [...this.weights].map(([name, data]) => [name, data.slice()]) : []);
    this.statistics = new Map(model.statistics.map(({ running, batch }) => [running, new Float32Array(session.outputs.find(({ name }) => name === batch)?.dims[0] ?? 0)]));
    const { rateOf = () => 1 } = settings;
    this.#paces = new Map([...new Set([...this.weights.keys()].map(rateOf))].map((share) => [share, new Map([...this.weights].filter(([name]) => rateOf(name) === share))]));
    this.#optimizer = createOptimizer(settings.optimizer, new Map([...model.weights].map(([name, { dims }]) => [name, dims])));
  }

  /** @throws RuntimeError E_ENGINE_MISSING: onnxruntime-node is not installed */
  static async open(model: TrainingModel, settings: TrainerSettings, batches: Batches): Promise<Trainer> {
    return new Trainer(model, await openStep(model, settings.threads), settings, batches);
  }

  /** Steps that have been made. */
  get step(): number {
    return this.#step;
  }

  #feeds(batch: Readonly<Record<string, Tensor>>, weights: Arrays): Record<string, Tensor> {
    return { ...batch, ...Object.fromEntries([...this.#model.weights].map(([name, { dims }]) => [name, { type: 'float32', dims, data: weights.get(name) ?? new Float32Array(0) }])) };
  }

  async #run(weights: Arrays, step: number): Promise<Record<string, Tensor>> {
    return this.#session.run(this.#feeds(await this.#batches(step, weights), weights));
  }

  /** The gradients of a run. @throws DeployError E_LAB that names step and tensor where one is not finite */
  #gradients(outputs: Readonly<Record<string, Tensor>>): Map<string, Float32Array> {
    const loss = Number(outputs[this.#model.loss]?.data[0]);
    const gradients = new Map([...this.#model.gradients].map(([name, output]) => [name, outputs[output]?.data as Float32Array]));
    const bad = [...gradients].reverse().find(([, data]) => !finite(data))?.[0];
    if (Number.isFinite(loss) && bad === undefined) return gradients;
    const what = bad === undefined ? '' : `, and the gradient by '${bad}' is not finite`;
    throw new DeployError('E_LAB', `Step ${this.#step + 1}: the loss is ${loss}${what}; the last checkpoint is kept. Lower the rate, or the norm that gradients are clipped to`, { details: { step: this.#step + 1, ...(bad === undefined ? {} : { tensor: bad }) } });
  }

  /** Makes one step, and gives back its loss. */
  async advance(): Promise<number> {
    const { steps, rate, warmup, schedule, clip, average } = this.#settings;
    const outputs = await this.#run(this.weights, this.#step);
    const gradients = this.#gradients(outputs);
    clipNorm(gradients, clip);
    const now = rate * rateShare(schedule, warmup, this.#step, steps);
    for (const [share, weights] of this.#paces) this.#optimizer.step(weights, gradients, now * share, this.#step + 1);
    this.#step += 1;
    // Early weights count less: the average would keep the beginning otherwise.
    const keep = Math.min(average, this.#step / (this.#step + 10));
    for (const [name, mean] of this.#average) blend(mean, this.weights.get(name), keep);
    for (const { running, batch } of this.#model.statistics) blend(this.statistics.get(running), outputs[batch]?.data as Float32Array, this.#step === 1 ? 0 : momentum);
    const loss = Number(outputs[this.#model.loss]?.data[0]);
    this.losses.push(loss);
    return loss;
  }

  /** Weights as they are to be used: averaged if so set. */
  get result(): Arrays {
    return this.#average.size > 0 ? this.#average : this.weights;
  }

  /** Statistics of normalizations with the resulting weights, over some batches: those that were kept while weights changed are of older weights. */
  async reestimate(batches: number): Promise<void> {
    if (this.#model.statistics.length === 0) return;
    for (let i = 0; i < batches; i++) {
      const outputs = await this.#run(this.result, this.#step + i);
      for (const { running, batch } of this.#model.statistics) blend(this.statistics.get(running), outputs[batch]?.data as Float32Array, i / (i + 1));
    }
  }

  checkpoint(run: string): Checkpoint {
    const named = (prefix: string, arrays: Arrays): [string, Float32Array][] => [...arrays].map(([name, data]) => [`${prefix}/${name}`, data]);
    const arrays = new Map([...named('weight', this.weights), ...named('average', this.#average), ...named('statistic', this.statistics), ...named('optimizer', this.#optimizer.state)]);
    return { step: this.#step, run, arrays, losses: this.losses };
  }

  /** Goes on from a checkpoint of the same run. @throws DeployError E_LAB */
  restore({ step, arrays, losses }: Checkpoint): void {
    const fill = (prefix: string, into: Arrays): void => {
      for (const [name, data] of into) {
        const saved = arrays.get(`${prefix}/${name}`);
        if (saved?.length !== data.length) throw new DeployError('E_LAB', `The checkpoint has no ${prefix} '${name}' of ${data.length} numbers; delete it to begin anew`);
        data.set(saved);
      }
    };
    fill('weight', this.weights);
    fill('average', this.#average);
    fill('statistic', this.statistics);
    fill('optimizer', this.#optimizer.state);
    this.#step = step;
    this.losses.splice(0, this.losses.length, ...losses);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** mean = keep * mean + (1 - keep) * value */
function blend(mean: Float32Array | undefined, value: Float32Array | undefined, keep: number): void {
  if (mean === undefined || value === undefined) return;
  for (let i = 0; i < mean.length; i++) mean[i] = keep * (mean[i] ?? 0) + (1 - keep) * (value[i] ?? 0);
}
