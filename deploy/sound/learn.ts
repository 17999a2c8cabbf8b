/** What the lab's trainer is fed with: batches of patches that are varied a little. */
import type { Tensor } from '../../runtime/tensor.js';
import { uniform } from '../compress/random.js';
import { inRounds, randomOf } from '../lab/examples.js';
import { adamw } from '../lab/optimizers.js';
import { Trainer, type Batches } from '../lab/trainer.js';
import { rowsIn } from './clips.js';
import { embedded, initialWeights, learningModel, patch, patchScale, type StudentShape, type Weight } from './student.js';

/** A patch with what it is to mean. */
export interface Example {
  /** Features that hold the patch, [rows][bands], and its first row. */
  rows: Float32Array;
  start: number;
  /** Of each class, 0..1. */
  target: Float32Array;
  /** The teacher's, standardized. */
  embedding: Float32Array;
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
}

export interface LearnOptions extends TeachOptions {
  epochs: number;
  dropout?: number;
  onEpoch?: (epoch: number, loss: number) => void;
}

const silence = Math.log(0.001);
const usualBatch = 32;

/** @throws as `teach` */
export async function learn(examples: readonly Example[], options: LearnOptions): Promise<Record<string, Weight>> {
  const { shape, epochs, seed, batch = usualBatch, dropout = 0.2, onEpoch = () => undefined } = options;
  const perEpoch = Math.floor(examples.length / batch);
  let sum = 0;
  return teach(batchesOf(examples, { shape, batch, dropout, seed }), {
    ...options, batch, steps: epochs * perEpoch,
    onStep: (step, loss) => {
      sum += loss / perEpoch;
      if ((step + 1) % perEpoch !== 0) return;
      onEpoch(Math.floor(step / perEpoch), sum);
      sum = 0;
    },
  });
}

/**
 * Trains a student on batches that are made while it learns. `average` is the share of the averaged weights that a step keeps; `from` are weights to go on
 * from instead of random ones.
 * @throws RuntimeError E_ENGINE_MISSING without onnxruntime-node, which computes the gradients; DeployError E_LAB: a loss that is no number
 */
export async function teach(batches: Batches, options: TeachOptions & { steps: number; average?: number; from?: Record<string, Weight>; onStep?: (step: number, loss: number) => void }): Promise<Record<string, Weight>> {
  const { shape, steps, seed, batch = usualBatch, peak = 2e-3, decay = 0.02, distill = 8, average = 0, from, onStep = () => undefined } = options;
  const weights = from ?? initialWeights(shape, uniform(seed));
  const trainer = await Trainer.open(learningModel(weights, shape, { batch, distill }), {
    steps, optimizer: { ...adamw, decay }, schedule: { kind: 'cosine' }, rate: peak, warmup: 0.05, clip: Infinity, average, threads: 1,
  }, batches);
  try {
    for (let step = 0; step < steps; step++) onStep(step, await trainer.advance());
  } finally {
    await trainer.close();
  }
  return Object.fromEntries(Object.entries(weights).map(([name, { dims, data }]) => [name, { dims, data: trainer.result.get(name) ?? data }]));
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
  readonly #batch: number;

  constructor(shape: StudentShape, batch: number) {
    this.#shape = shape;
    this.#batch = batch;
    this.#patches = new Float32Array(batch * patch.rows * patch.bands);
    this.#targets = new Float32Array(batch * shape.classes);
    this.#embeddings = new Float32Array(batch * shape.teacher);
    this.#keep = new Float32Array(batch * embedded);
  }

  put(slot: number, example: Example | undefined, random: () => number): void {
    if (example === undefined) return;
    vary(example, this.#patches.subarray(slot * patch.rows * patch.bands, (slot + 1) * patch.rows * patch.bands), random);
    this.#targets.set(example.target, slot * this.#shape.classes);
    this.#embeddings.set(example.embedding, slot * this.#shape.teacher);
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
      keep: { type: 'float32', dims: [this.#batch, embedded], data: this.#keep },
    };
  }
}

/** Moved by up to 80 ms and one band, up to 8 dB louder or softer, with a stripe of time and one of frequency left out (Park et al., arXiv 1904.08779). */
function vary({ rows, start }: Example, into: Float32Array, random: () => number): void {
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
      into[row * patch.bands + band] = scaled(blank ? silence + 2 : Math.max(silence, (rows[(first + row) * patch.bands + source] ?? silence) + gain));
    }
  }
}

const scaled = (feature: number): number => (feature - patchScale.mean) / patchScale.std;
