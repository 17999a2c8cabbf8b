import { noise } from '../noise.js';
import { sparseCode } from './sparse-code.js';
import { SpatialEncoder } from './spatial-encoder.js';

export interface NoveltyOptions {
  /** Neurons of the encoder: its memory is some 400 bytes each. */
  neurons: number;
  /** Vectors that are learned before anything is called novel. The first tenth of them gives the mean that is taken off each. */
  learnFirst: number;
  /** Standard deviations below the usual resemblance at which a vector is novel. */
  deviations: number;
  seed: number;
}

export const defaultNovelty: NoveltyOptions = { neurons: 1000, learnFirst: 5000, deviations: 3, seed: 1 };

export interface Novelty {
  /** How little of the vector looks like something seen before, 0..1. */
  score: number;
  /** False until enough was learned. */
  novel: boolean;
}

/** Share of the values of a vector that are active inputs: a twentieth of the inputs, since each value has two. */
const activeShare = 0.1;
/** Stages of the pruning. */
const stages = 12;

/** Tells vectors that resemble nothing seen before; its memory does not grow with what it sees. Deterministic in the order of the vectors. */
export class NoveltyDetector {
  readonly #options: NoveltyOptions;
  readonly #dimensions: number;
  readonly encoder: SpatialEncoder;
  readonly #mean: Float64Array;
  #seen = 0;
  #usual = { mean: 0, variance: 0, count: 0 };

  constructor(dimensions: number, options: NoveltyOptions = defaultNovelty) {
    this.#options = options;
    this.#dimensions = dimensions;
    this.#mean = new Float64Array(dimensions);
    const next = noise(options.seed);
    const newbornField = Math.min(256, Math.ceil(dimensions / 2));
    this.encoder = new SpatialEncoder({
      inputs: 2 * dimensions, neurons: options.neurons, winners: Math.max(1, Math.round(options.neurons / 100)),
      newbornField, field: Math.min(newbornField, Math.max(8, Math.round(0.8 * activeShare * dimensions))),
      stages, stageSteps: Math.max(1, Math.floor(options.learnFirst / (2 * stages))), learningRate: 0.05, random: () => next() / 2 ** 32,
    });
  }

  get bytes(): number {
    return this.encoder.bytes + this.#mean.byteLength;
  }

  /** Numbers of the neurons that stand for a vector, once the mean is known. */
  encode(vector: Float32Array): number[] {
    return this.encoder.encode(this.#code(vector));
  }

  /** 0..1, without learning. */
  score(vector: Float32Array): number {
    return 1 - this.encoder.resemblance(this.#code(vector));
  }

  /** Judges a vector, and learns it. Vectors with values that are no numbers are neither learned nor novel. */
  observe(vector: Float32Array): Novelty {
    if (!vector.every(Number.isFinite)) return { score: 0, novel: false };
    const { learnFirst, deviations } = this.#options;
    this.#seen++;
    if (this.#seen <= learnFirst / 10) {
      for (let i = 0; i < this.#dimensions; i++) this.#mean[i] = (this.#mean[i] ?? 0) + ((vector[i] ?? 0) - (this.#mean[i] ?? 0)) / this.#seen;
      return { score: 0, novel: false };
    }
    const score = 1 - this.encoder.learn(this.#code(vector));
    const novel = this.#seen > learnFirst && score > this.#usual.mean + deviations * Math.sqrt(this.#usual.variance);
    if (this.#seen > learnFirst / 2 && !novel) this.#follow(score);
    return { score, novel };
  }

  #code(vector: Float32Array): ReturnType<typeof sparseCode> {
    return sparseCode(vector.map((value, i) => value - (this.#mean[i] ?? 0)), Math.round(activeShare * this.#dimensions));
  }

  /** A moving average over a thousand scores. */
  #follow(score: number): void {
    const count = Math.min(1000, this.#usual.count + 1);
    const difference = score - this.#usual.mean;
    this.#usual = { count, mean: this.#usual.mean + difference / count, variance: (1 - 1 / count) * (this.#usual.variance + difference ** 2 / count) };
  }
}
