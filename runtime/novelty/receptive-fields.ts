import type { SparseCode } from './sparse-code.js';

/**
 * The synapses of neurons that each read `size` of the inputs. Weights lie neuron by neuron; an index by input (compressed sparse rows by the
 * presynaptic side) makes the work of a match proportional to the active inputs alone. 9 bytes a synapse.
 */
export class ReceptiveFields {
  readonly inputs: number;
  readonly neurons: number;
  #size: number;
  #sources: Uint16Array;
  #weights: Float32Array;
  readonly #norms: Float32Array;
  readonly #offsets: Uint32Array;
  #targets: Uint16Array;
  #slots: Uint8Array;

  /** @param random uniform in [0, 1) */
  constructor({ inputs, neurons, size }: { inputs: number; neurons: number; size: number }, random: () => number) {
    if (!(inputs >= 1 && inputs <= 65_536 && neurons >= 1 && neurons <= 65_536 && size >= 1 && size <= Math.min(256, inputs))) {
      throw new RangeError(`Expected up to 65536 inputs and neurons, and fields of up to 256 inputs, not ${inputs}, ${neurons} and ${size}`);
    }
    [this.inputs, this.neurons, this.#size] = [inputs, neurons, size];
    this.#sources = new Uint16Array(neurons * size);
    this.#weights = Float32Array.from({ length: neurons * size }, () => (0.5 + random()) / size);
    this.#norms = new Float32Array(neurons);
    this.#offsets = new Uint32Array(inputs + 1);
    [this.#targets, this.#slots] = [new Uint16Array(neurons * size), new Uint8Array(neurons * size)];
    const order = Uint32Array.from({ length: inputs }, (_, i) => i);
    for (let neuron = 0; neuron < neurons; neuron++) {
      for (let slot = 0; slot < size; slot++) swap(order, slot, slot + Math.floor(random() * (inputs - slot)));
      this.#sources.set(order.subarray(0, size), neuron * size);
      this.#measure(neuron);
    }
    this.#index();
  }

  /** Inputs that each neuron reads. */
  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return [this.#sources, this.#weights, this.#norms, this.#offsets, this.#targets, this.#slots].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Writes the sum of weight times rate of each neuron. @param matches one value a neuron */
  match({ indices, rates }: SparseCode, matches: Float32Array): void {
    matches.fill(0);
    for (let k = 0; k < indices.length; k++) {
      const [input, rate] = [indices[k] ?? 0, rates[k] ?? 0];
      for (let at = this.#offsets[input] ?? 0, end = this.#offsets[input + 1] ?? 0; at < end; at++) {
        const neuron = this.#targets[at] ?? 0;
        matches[neuron] = (matches[neuron] ?? 0) + rate * (this.#weights[neuron * this.#size + (this.#slots[at] ?? 0)] ?? 0);
      }
    }
  }

  /** Root of the sum of squares of a neuron's weights. */
  norm(neuron: number): number {
    return this.#norms[neuron] ?? 0;
  }

  /** Of a neuron; what is written to the weights has to be followed by `changed`. */
  field(neuron: number): { sources: Uint16Array; weights: Float32Array } {
    const [from, to] = [neuron * this.#size, (neuron + 1) * this.#size];
    return { sources: this.#sources.subarray(from, to), weights: this.#weights.subarray(from, to) };
  }

  changed(neuron: number): void {
    this.#measure(neuron);
  }

  /** A synapse of a neuron reads another input. */
  rewire(neuron: number, slot: number, input: number): void {
    this.#sources[neuron * this.#size + slot] = input;
    this.#index();
  }

  /** Keeps `size` synapses of each neuron: those that `survivors` names, whose weights are scaled so that the neuron's norm stays. */
  shrink(size: number, survivors: (weights: Float32Array, size: number) => readonly number[]): void {
    const [sources, weights] = [new Uint16Array(this.neurons * size), new Float32Array(this.neurons * size)];
    for (let neuron = 0; neuron < this.neurons; neuron++) {
      const field = this.field(neuron);
      const kept = survivors(field.weights, size);
      const factor = this.norm(neuron) / (Math.hypot(...kept.map((slot) => field.weights[slot] ?? 0)) || 1);
      sources.set(kept.map((slot) => field.sources[slot] ?? 0), neuron * size);
      weights.set(kept.map((slot) => factor * (field.weights[slot] ?? 0)), neuron * size);
    }
    [this.#size, this.#sources, this.#weights] = [size, sources, weights];
    [this.#targets, this.#slots] = [new Uint16Array(this.neurons * size), new Uint8Array(this.neurons * size)];
    this.#index();
  }

  #measure(neuron: number): void {
    this.#norms[neuron] = Math.hypot(...this.field(neuron).weights);
  }

  /** A counting sort of the synapses by input. */
  #index(): void {
    const offsets = this.#offsets.fill(0);
    for (const input of this.#sources) offsets[input + 1] = (offsets[input + 1] ?? 0) + 1;
    for (let input = 0; input < this.inputs; input++) offsets[input + 1] = (offsets[input + 1] ?? 0) + (offsets[input] ?? 0);
    const next = offsets.slice();
    for (let neuron = 0; neuron < this.neurons; neuron++) {
      for (let slot = 0; slot < this.#size; slot++) {
        const input = this.#sources[neuron * this.#size + slot] ?? 0;
        const at = next[input] ?? 0;
        next[input] = at + 1;
        this.#targets[at] = neuron;
        this.#slots[at] = slot;
      }
    }
  }
}

function swap(values: Uint32Array, a: number, b: number): void {
  [values[a], values[b]] = [values[b] ?? 0, values[a] ?? 0];
}
