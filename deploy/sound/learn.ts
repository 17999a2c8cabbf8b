/** What the lab's trainer is fed with: batches of patches that are varied a little. */
import type { Tensor } from '../../runtime/tensor.js';
import type { Session } from '../../runtime/session-types.js';
import { uniform } from '../compress/random.js';
import { joined } from '../lab/clips.js';
import { inRounds, randomOf } from '../lab/examples.js';
import { adamw } from '../lab/optimizers.js';
import { Trainer, type Batches } from '../lab/trainer.js';
import { rowsIn } from './clips.js';
import { channelsOf, headWeight, initialWeights, isLayer, learningModel, ownNet, patch, seenOf, type ClassLoss, type Net, type StudentShape, type Weight } from './student.js';

/** A patch with what it is to mean. */
export interface Example {
  /** Features that hold the patch, [rows][bands], and its first row. */
  rows: Float32Array;
  start: number;
  /** Of each class, 0..1. */
  target: Float32Array;
  /** The teacher's, standardized. */
  embedding: Float32Array;
  /** What the heads see of it and of variations of it, pool after pool; only needed where no layer learns. */
  seen?: readonly Float32Array[];
}

export interface TeachOptions {
  shape: StudentShape;
  seed: number;
  batch?: number;
  /** Highest rate of learning. */
  peak?: number;
  decay?: number;
  /** Weight of the teacher's embedding in the loss. */
  distill?: number;
  loss?: ClassLoss;
  /** Weights to go on from instead of random ones. */
  from?: Record<string, Weight>;
  /** So many of the first layers stay as they are. */
  frozen?: number;
  /** Share of the rate for the layers: what they were given changes more slowly than heads that know nothing yet (Howard and Ruder, arXiv 1801.06146). */
  layerRate?: number;
}

export interface LearnOptions extends TeachOptions {
  epochs: number;
  dropout?: number;
  onEpoch?: (epoch: number, loss: number) => void;
}

export interface StepOptions extends TeachOptions {
  steps: number;
  average?: number;
  onStep?: (step: number, loss: number) => void;
}

const silence = Math.log(0.001);
const usualBatch = 32;

/** @throws as `teach` */
export async function learn(examples: readonly Example[], options: LearnOptions): Promise<Record<string, Weight>> {
  const { shape, seed, batch = usualBatch, dropout = 0.2 } = options;
  return teach(batchesOf(examples, { shape, batch, dropout, seed }), { ...options, ...inEpochs(examples, batch, options) });
}

/** How many steps the epochs have, and what is told of each epoch. */
function inEpochs({ length }: readonly Example[], batch: number, { epochs, onEpoch = () => undefined }: LearnOptions): Required<Pick<StepOptions, 'batch' | 'steps' | 'onStep'>> {
  // Fewer examples than a batch are a batch all the same, in which some come again.
  const perEpoch = Math.max(1, Math.floor(length / batch));
  let sum = 0;
  return {
    batch, steps: epochs * perEpoch,
    onStep: (step, loss) => {
      sum += loss / perEpoch;
      if ((step + 1) % perEpoch !== 0) return;
      onEpoch(Math.floor(step / perEpoch), sum);
      sum = 0;
    },
  };
}

/**
 * Trains a student on batches that are made while it learns. `average` is the share of the averaged weights that a step keeps.
 * @throws RuntimeError E_ENGINE_MISSING without onnxruntime-node, which computes the gradients; DeployError E_LAB: a loss that is no number
 */
export async function teach(batches: Batches, options: StepOptions): Promise<Record<string, Weight>> {
  const { shape, steps, seed, batch = usualBatch, peak = 2e-3, decay = 0.02, distill = 8, average = 0, from, frozen = 0, layerRate = 1, loss, onStep = () => undefined } = options;
  const weights = from ?? initialWeights(shape, uniform(seed));
  const trainer = await Trainer.open(learningModel(weights, shape, { batch, distill, frozen, ...(loss === undefined ? {} : { loss }) }), {
    steps, rateOf: (name) => (isLayer(name) ? layerRate : 1), optimizer: { ...adamw, decay }, schedule: { kind: 'cosine' }, rate: peak, warmup: 0.05, clip: Infinity, average, threads: 1,
  }, batches);
  try {
    for (let step = 0; step < steps; step++) onStep(step, await trainer.advance());
  } finally {
    await trainer.close();
  }
  return Object.fromEntries(Object.entries(weights).map(([name, { dims, data }]) => [name, { dims, data: trainer.result.get(name) ?? data }]));
}

/**
 * Only the heads learn, over layers that stay as `from` has them: from `seen` of the examples, so that a step costs next to nothing.
 * The teacher's embedding, which teaches layers, has no part in it. Heads that know nothing would spoil layers that know something (Kumar et al., arXiv 2202.10054).
 * @throws as `teach`
 */
export async function learnHeads(examples: readonly Example[], options: LearnOptions & { from: Record<string, Weight> }): Promise<Record<string, Weight>> {
  const { shape: { classes, net = ownNet }, seed, batch = usualBatch, dropout = 0.2 } = options;
  const exampleAt = inRounds(examples, seed);
  const channels = channelsOf(net);
  const scale = scaleOf(examples.flatMap(({ seen = [] }) => seen));
  const weights = await teach((step) => {
    const random = randomOf(seed, step);
    const feeds = { target: new Float32Array(batch * classes), keep: new Float32Array(batch * channels) };
    const seen = seenOf(net).map((name) => [name, new Float32Array(batch * channels)] as const);
    for (let slot = 0; slot < batch; slot++) {
      const { seen: variations = [], target = [] } = exampleAt(step * batch + slot) ?? {};
      const variation = (variations[Math.floor(random() * variations.length)] ?? new Float32Array(0)).map((x, i) => (x - (scale.mean[i] ?? 0)) * (scale.factor[i] ?? 1));
      seen.forEach(([, data], i) => data.set(variation.subarray(i * channels, (i + 1) * channels), slot * channels));
      feeds.target.set(target, slot * classes);
    }
    for (let i = 0; i < feeds.keep.length; i++) feeds.keep[i] = random() < dropout ? 0 : 1 / (1 - dropout);
    return Object.fromEntries([...Object.entries(feeds), ...seen].map(([name, data]): [string, Tensor] => [name, { type: 'float32', dims: [batch, data.length / batch], data }]));
  }, { ...options, ...inEpochs(examples, batch, options), frozen: net.layers.length, distill: 0 });
  return unscaledHead(weights, net, scale);
}

/** How the values that the heads see are centred and scaled while they learn: some channels are a hundred times as loud as others. */
interface Scale {
  mean: Float64Array;
  factor: Float64Array;
}

/** Channels that are nearly always silent are not made louder than this. */
const leastDeviation = 0.02;

function scaleOf(vectors: readonly Float32Array[]): Scale {
  const mean = new Float64Array(vectors[0]?.length ?? 0);
  const squares = new Float64Array(mean.length);
  for (const vector of vectors) {
    for (let i = 0; i < mean.length; i++) {
      mean[i] = (mean[i] ?? 0) + (vector[i] ?? 0) / vectors.length;
      squares[i] = (squares[i] ?? 0) + (vector[i] ?? 0) ** 2 / vectors.length;
    }
  }
  return { mean, factor: squares.map((square, i) => 1 / Math.max(leastDeviation, Math.sqrt(Math.max(0, square - (mean[i] ?? 0) ** 2)))) };
}

/** The head of the classes for values as they are: W (x - mean) factor + b = (W factor) x + (b - W factor mean). */
function unscaledHead(weights: Record<string, Weight>, net: Net, { mean, factor }: Scale): Record<string, Weight> {
  const channels = channelsOf(net);
  const bias = Float64Array.from(weights['classBias']?.data ?? []);
  const scaled = net.pools.map((pool, part): [string, Weight] => {
    const name = headWeight('classes', pool, part);
    const { dims, data } = weights[name] ?? { dims: [], data: new Float32Array(0) };
    return [name, { dims, data: data.map((weight, i) => {
      const [row, at] = [Math.floor(i / channels), part * channels + (i % channels)];
      bias[row] = (bias[row] ?? 0) - weight * (factor[at] ?? 1) * (mean[at] ?? 0);
      return weight * (factor[at] ?? 1);
    }) }];
  });
  return { ...weights, ...Object.fromEntries(scaled), classBias: { dims: [bias.length], data: Float32Array.from(bias) } };
}

/** What the heads see of an example as it is, and of so many variations. */
export async function seenIn(session: Session, { rows, start }: Pick<Example, 'rows' | 'start'>, net: Net, variations: number, random: () => number): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  for (let i = 0; i <= variations; i++) {
    const data = new Float32Array(patch.rows * patch.bands);
    if (i === 0) data.set(rows.subarray(start * patch.bands, (start + patch.rows) * patch.bands).map((feature) => (feature - net.scale.mean) / net.scale.std));
    else vary({ rows, start }, data, net.scale, random);
    const outputs = await session.run({ patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data } });
    found.push(joined(seenOf(net).map((name) => outputs[name]?.data as Float32Array)));
  }
  return found;
}

function batchesOf(examples: readonly Example[], { shape, batch, dropout, seed }: { shape: StudentShape; batch: number; dropout: number; seed: number }): (step: number) => Record<string, Tensor> {
  const exampleAt = inRounds(examples, seed);
  const buffers = new Batch(shape, batch);
  return (step) => {
    const random = randomOf(seed, step);
    for (let slot = 0; slot < batch; slot++) buffers.put(slot, exampleAt(step * batch + slot), random);
    buffers.drop(dropout, random);
    return buffers.feeds();
  };
}

/** The feeds of a step, written over from step to step. */
export class Batch {
  readonly #patches: Float32Array;
  readonly #targets: Float32Array;
  readonly #embeddings: Float32Array;
  readonly #keep: Float32Array;
  readonly #shape: StudentShape;
  readonly #net: Net;
  readonly #batch: number;

  constructor(shape: StudentShape, batch: number) {
    this.#shape = shape;
    this.#net = shape.net ?? ownNet;
    this.#batch = batch;
    this.#patches = new Float32Array(batch * patch.rows * patch.bands);
    this.#targets = new Float32Array(batch * shape.classes);
    this.#embeddings = new Float32Array(batch * shape.teacher);
    this.#keep = new Float32Array(batch * channelsOf(this.#net));
  }

  put(slot: number, example: Example | undefined, random: () => number): void {
    if (example === undefined) return;
    vary(example, this.#patches.subarray(slot * patch.rows * patch.bands, (slot + 1) * patch.rows * patch.bands), this.#net.scale, random);
    this.#targets.set(example.target, slot * this.#shape.classes);
    if (this.#shape.teacher > 0) this.#embeddings.set(example.embedding, slot * this.#shape.teacher);
  }

  drop(share: number, random: () => number): void {
    for (let i = 0; i < this.#keep.length; i++) this.#keep[i] = random() < share ? 0 : 1 / (1 - share);
  }

  feeds(): Record<string, Tensor> {
    const { classes, teacher } = this.#shape;
    return {
      patch: { type: 'float32', dims: [this.#batch, 1, patch.rows, patch.bands], data: this.#patches },
      target: { type: 'float32', dims: [this.#batch, classes], data: this.#targets },
      ...(teacher === 0 ? {} : { embedding: { type: 'float32' as const, dims: [this.#batch, teacher], data: this.#embeddings } }),
      keep: { type: 'float32', dims: [this.#batch, channelsOf(this.#net)], data: this.#keep },
    };
  }
}

/** Moved by up to 80 ms and one band, up to 8 dB louder or softer, with a stripe of time and one of frequency left out (Park et al., arXiv 1904.08779). */
function vary({ rows, start }: Pick<Example, 'rows' | 'start'>, into: Float32Array, { mean, std }: Net['scale'], random: () => number): void {
  const most = rowsIn(rows) - patch.rows;
  const first = Math.max(0, Math.min(most, start + Math.round(16 * random() - 8)));
  const shift = Math.floor(3 * random()) - 1;
  const gain = (16 * random() - 8) * (Math.LN10 / 20);
  const [hiddenRows, hiddenBands] = [Math.floor(14 * random()), Math.floor(8 * random())];
  const [fromRow, fromBand] = [Math.floor(random() * patch.rows), Math.floor(random() * patch.bands)];
  for (let row = 0; row < patch.rows; row++) {
    const hidden = row >= fromRow && row < fromRow + hiddenRows;
    for (let band = 0; band < patch.bands; band++) {
      const source = Math.max(0, Math.min(patch.bands - 1, band + shift));
      const blank = hidden || (band >= fromBand && band < fromBand + hiddenBands);
      into[row * patch.bands + band] = ((blank ? silence + 2 : Math.max(silence, (rows[(first + row) * patch.bands + source] ?? silence) + gain)) - mean) / std;
    }
  }
}
