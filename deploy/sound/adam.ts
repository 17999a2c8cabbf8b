import type { Weights } from './student.js';

interface Moments {
  mean: Float32Array;
  square: Float32Array;
}

const [meanDecay, squareDecay, epsilon] = [0.9, 0.999, 1e-8];

/** Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101): the decay spares biases. */
export class Adam {
  readonly #moments = new Map<string, Moments>();
  readonly #decay: number;
  #steps = 0;

  constructor(decay: number) {
    this.#decay = decay;
  }

  /** Changes the weights in place. */
  step(weights: Weights, gradients: Readonly<Record<string, Float32Array>>, rate: number): void {
    this.#steps++;
    const [meanScale, squareScale] = [1 - meanDecay ** this.#steps, 1 - squareDecay ** this.#steps];
    for (const [name, { dims, data }] of Object.entries(weights)) {
      const gradient = gradients[name];
      if (gradient === undefined) continue;
      const { mean, square } = this.#of(name, data.length);
      const shrink = dims.length > 1 ? 1 - rate * this.#decay : 1;
      for (let i = 0; i < data.length; i++) {
        const g = gradient[i] ?? 0;
        const m = meanDecay * (mean[i] ?? 0) + (1 - meanDecay) * g;
        const s = squareDecay * (square[i] ?? 0) + (1 - squareDecay) * g * g;
        mean[i] = m;
        square[i] = s;
        data[i] = (data[i] ?? 0) * shrink - (rate * (m / meanScale)) / (Math.sqrt(s / squareScale) + epsilon);
      }
    }
  }

  #of(name: string, length: number): Moments {
    const known = this.#moments.get(name) ?? { mean: new Float32Array(length), square: new Float32Array(length) };
    this.#moments.set(name, known);
    return known;
  }
}

/** Warms up over the first twentieth of the steps, then falls to 0 along half a cosine. */
export function rateAt(step: number, steps: number, peak: number): number {
  const warm = Math.max(1, Math.round(steps / 20));
  return step < warm ? (peak * (step + 1)) / warm : (peak * (1 + Math.cos((Math.PI * (step - warm)) / Math.max(1, steps - warm)))) / 2;
}
