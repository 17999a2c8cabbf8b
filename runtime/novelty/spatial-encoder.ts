import { ReceptiveFields } from './receptive-fields.js';
import type { SparseCode } from './sparse-code.js';
import { needs } from './synaptogenesis.js';

/**
 * A competitive encoder that learns on line and without gradients: few neurons win for each input, and move towards it. Fields are born wide and
 * are pruned in stages; afterwards, neurons that hardly ever win get other inputs (synaptogenesis).
 *
 * Follows P. Kuderov, dissertation (MIPT, 2024), competitive spatial encoder with newborn pruning and synaptogenesis, written anew from its
 * description; the losers' anti-Hebbian step is left out.
 */
export interface EncoderOptions {
  inputs: number;
  neurons: number;
  /** Neurons that win for an input. */
  winners: number;
  /** Inputs that a neuron reads when it is born, and when pruning is over; up to 256. */
  newbornField: number;
  field: number;
  /** Stages of the pruning, and steps of learning in each. */
  stages: number;
  stageSteps: number;
  learningRate: number;
  /** Uniform in [0, 1). */
  random: () => number;
}

/** Steps after which the needs for synapses are estimated anew. */
const cycle = 200;

export class SpatialEncoder {
  readonly #options: EncoderOptions;
  readonly #fields: ReceptiveFields;
  readonly #matches: Float32Array;
  readonly #boosted: Float32Array;
  /** How often neurons win and inputs are active, as moving averages. */
  readonly #wins: Float32Array;
  readonly #activity: Float32Array;
  readonly #dense: Float32Array;
  #needs: Float32Array | null = null;
  #recognition = 0;
  #steps = 0;
  #sharpness = 1;

  constructor(options: EncoderOptions) {
    const { inputs, neurons, winners, newbornField, random } = options;
    if (!(winners >= 1 && winners < neurons && options.field <= newbornField)) throw new RangeError(`Expected fewer winners (${winners}) than neurons (${neurons}), and fields that shrink from ${newbornField} to ${options.field}`);
    this.#options = options;
    this.#fields = new ReceptiveFields({ inputs, neurons, size: newbornField }, random);
    [this.#matches, this.#boosted] = [new Float32Array(neurons), new Float32Array(neurons)];
    this.#wins = new Float32Array(neurons).fill(winners / neurons);
    [this.#activity, this.#dense] = [new Float32Array(inputs), new Float32Array(inputs)];
  }

  get steps(): number {
    return this.#steps;
  }

  /** Inputs that each neuron reads now. */
  get fieldSize(): number {
    return this.#fields.size;
  }

  /** Of everything that is kept between inputs. */
  get bytes(): number {
    return this.#fields.bytes + [this.#matches, this.#boosted, this.#wins, this.#activity, this.#dense].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** The best cosine between an input and a neuron's weights, 0..1: how much of the input looks like something learned. */
  resemblance(code: SparseCode): number {
    this.#fields.match(code, this.#matches);
    return this.#best();
  }

  #best(): number {
    let best = 0;
    for (let neuron = 0; neuron < this.#matches.length; neuron++) best = Math.max(best, (this.#matches[neuron] ?? 0) / (this.#fields.norm(neuron) || 1));
    return Math.min(1, best);
  }

  /** Numbers of the neurons that match best, best first. */
  encode(code: SparseCode): number[] {
    this.#fields.match(code, this.#matches);
    return largest(this.#matches, this.#options.winners);
  }

  /** Learns an input. @returns its resemblance before */
  learn(code: SparseCode): number {
    const { winners, neurons, stages, stageSteps, field, newbornField } = this.#options;
    this.#fields.match(code, this.#matches);
    const before = this.#best();
    const target = winners / neurons;
    for (let i = 0; i < neurons; i++) this.#boosted[i] = boosted(this.#matches[i] ?? 0, (this.#wins[i] ?? 0) / target);
    const ranked = largest(this.#boosted, winners + 1);
    this.#reward(code, ranked.slice(0, winners), this.#boosted[ranked[winners] ?? 0] ?? 0);
    this.#count(code, ranked.slice(0, winners));
    this.#steps++;
    const stage = this.#steps / stageSteps;
    if (stage <= stages) {
      if (Number.isInteger(stage)) this.#prune(Math.round(newbornField * (field / newbornField) ** (stage / stages)));
    } else this.#grow(code, before);
    return before;
  }

  /** Winners move towards the input, in proportion to how far each is above the best loser; the sum of their steps is the learning rate each. */
  #reward({ indices, rates }: SparseCode, winners: readonly number[], threshold: number): void {
    const above = winners.map((neuron) => Math.max(0, (this.#boosted[neuron] ?? 0) - threshold) ** this.#sharpness);
    const sum = above.reduce((total, value) => total + value, 0);
    if (sum === 0) return;
    this.#sharpen(above, sum);
    indices.forEach((input, k) => { this.#dense[input] = rates[k] ?? 0; });
    winners.forEach((neuron, n) => {
      const step = Math.min(1, this.#options.learningRate * winners.length * (above[n] ?? 0) / sum);
      const { sources, weights } = this.#fields.field(neuron);
      for (let slot = 0; slot < weights.length; slot++) {
        const weight = weights[slot] ?? 0;
        weights[slot] = Math.max(1e-6, weight + step * ((this.#dense[sources[slot] ?? 0] ?? 0) - weight));
      }
      this.#fields.changed(neuron);
    });
    for (const input of indices) this.#dense[input] = 0;
  }

  /** The better half of the winners is to take 70 to 90 % of the steps. */
  #sharpen(above: readonly number[], sum: number): void {
    const share = above.slice(0, Math.ceil(above.length / 2)).reduce((total, value) => total + value, 0) / sum;
    if (share < 0.7) this.#sharpness = Math.min(4, this.#sharpness * 1.01);
    else if (share > 0.9) this.#sharpness = Math.max(0.25, this.#sharpness / 1.01);
  }

  #count({ indices }: SparseCode, winners: readonly number[]): void {
    const [slow, share] = [1 - 1 / 500, 1 / 500];
    for (let i = 0; i < this.#wins.length; i++) this.#wins[i] = Math.max(1e-9, (this.#wins[i] ?? 0) * slow);
    for (const neuron of winners) this.#wins[neuron] = (this.#wins[neuron] ?? 0) + share;
    for (let i = 0; i < this.#activity.length; i++) this.#activity[i] = (this.#activity[i] ?? 0) * slow;
    for (const input of indices) this.#activity[input] = (this.#activity[input] ?? 0) + share;
  }

  /** Synapses go at random, weak ones with a higher probability. */
  #prune(size: number): void {
    const { random } = this.#options;
    this.#fields.shrink(size, (weights, kept) => {
      const mean = weights.reduce((sum, weight) => sum + weight, 0) / weights.length;
      const strength = Array.from(weights, (weight) => Math.log(Math.min(1e6, Math.max(1e-6, weight / mean))));
      const strongest = Math.max(...strength);
      // The smallest of exponential times with these rates are a draw without replacement, in proportion to them.
      const times = strength.map((value) => -Math.log(1 - random()) / (strongest - value + 0.1));
      return Array.from(times, (_, slot) => slot).sort((a, b) => (times[b] ?? 0) - (times[a] ?? 0)).slice(0, kept);
    });
  }

  /** Now and then, more often where inputs are matched badly, a neuron in need exchanges its weakest synapse for an active input. */
  #grow({ indices }: SparseCode, resemblance: number): void {
    const { random } = this.#options;
    this.#recognition += (resemblance - this.#recognition) / (this.#recognition === 0 ? 1 : 500);
    if (this.#needs === null || this.#steps % cycle === 0) this.#needs = this.#estimateNeeds();
    if (random() >= Math.min(1, 5 / cycle * this.#recognition / Math.max(resemblance, 1e-6))) return;
    const neuron = this.#drawNeuron(this.#needs);
    if (neuron === null) return;
    const { sources, weights } = this.#fields.field(neuron);
    const fresh = indices.filter((input) => !sources.includes(input));
    const input = fresh[Math.floor(random() * fresh.length)];
    if (input === undefined) return;
    const weakest = weights.indexOf(Math.min(...weights));
    const norm = this.#fields.norm(neuron);
    weights[weakest] = 1 / weights.length;
    const factor = norm / Math.hypot(...weights);
    for (let slot = 0; slot < weights.length; slot++) weights[slot] = (weights[slot] ?? 0) * factor;
    this.#fields.rewire(neuron, weakest, input);
    this.#fields.changed(neuron);
    this.#needs[neuron] = 0;
  }

  #estimateNeeds(): Float32Array {
    const meanActivity = Math.max(this.#activity.reduce((sum, value) => sum + value, 0) / this.#activity.length, 1e-12);
    const supply = Float32Array.from({ length: this.#options.neurons }, (_, neuron) => {
      const { sources, weights } = this.#fields.field(neuron);
      return weights.reduce((sum, weight, slot) => sum + weight * (this.#activity[sources[slot] ?? 0] ?? 0) / meanActivity, 0);
    });
    const { winners, neurons } = this.#options;
    return needs(supply, this.#wins.map((rate) => rate * neurons / winners));
  }

  /** The largest of normal draws: around the root of the match, as wide as the need. Null when nobody is in need. */
  #drawNeuron(wanted: Float32Array): number | null {
    const { random } = this.#options;
    let [best, chosen]: [number, number | null] = [-Infinity, null];
    for (let neuron = 0; neuron < wanted.length; neuron++) {
      const need = wanted[neuron] ?? 0;
      if (need === 0) continue;
      const draw = Math.sqrt(this.#matches[neuron] ?? 0) + need * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
      if (draw > best) [best, chosen] = [draw, neuron];
    }
    return chosen;
  }
}

/** A match as the competition sees it: up to twice of it for a neuron that wins less often than it should, down to half. @param share of the wins that it should have */
export const boosted = (match: number, share: number): number => match * 2 ** Math.tanh(-Math.log(share) / 3);

/** Indices of the largest values, largest first; of equal ones the first. */
export function largest(values: Float32Array, count: number): number[] {
  const found: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (found.length === count && value <= (values[found[count - 1] ?? 0] ?? 0)) continue;
    let at = found.length;
    while (at > 0 && (values[found[at - 1] ?? 0] ?? 0) < value) at--;
    found.splice(at, 0, i);
    if (found.length > count) found.pop();
  }
  return found;
}
