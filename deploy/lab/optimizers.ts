import { elementCount } from '../../runtime/graph/tensor-value.js';

/** Numbers that are trained, and the state of their optimizer, by name. */
export type Arrays = ReadonlyMap<string, Float32Array>;

export type OptimizerSettings =
  | { readonly kind: 'sgd'; readonly momentum: number; readonly decay: number }
  | { readonly kind: 'adamw'; readonly beta1: number; readonly beta2: number; readonly epsilon: number; readonly decay: number };

/** AdamW as its authors use it, but for the decay. */
export const adamw = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const;

/** Changes weights in place. Its whole state is `state`, so that a checkpoint can hold it. */
export interface Optimizer {
  readonly state: Arrays;
  /** @param count steps made so far, this one included */
  step(weights: Arrays, gradients: Arrays, rate: number, count: number): void;
}

/** Norms and biases, which have one axis, do not decay. */
const decays = (shape: readonly number[] | undefined): boolean => (shape?.length ?? 0) > 1;

type Shapes = ReadonlyMap<string, readonly number[]>;

const zeros = (shapes: Shapes, prefix: string): [string, Float32Array][] =>
  [...shapes].map(([name, shape]) => [`${prefix}/${name}`, new Float32Array(elementCount(shape))]);

function sgdOptimizer({ momentum, decay }: { momentum: number; decay: number }, shapes: Shapes): Optimizer {
  const state = new Map(zeros(shapes, 'velocity'));
  return {
    state,
    step(weights, gradients, rate) {
      for (const [name, w] of weights) {
        const [g, v] = [gradients.get(name), state.get(`velocity/${name}`)];
        if (g === undefined || v === undefined) continue;
        const shrink = decays(shapes.get(name)) ? decay : 0;
        for (let i = 0; i < w.length; i++) {
          v[i] = momentum * (v[i] ?? 0) + (g[i] ?? 0) + shrink * (w[i] ?? 0);
          w[i] = (w[i] ?? 0) - rate * (v[i] ?? 0);
        }
      }
    },
  };
}

/** Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101). */
function adamOptimizer({ beta1, beta2, epsilon, decay }: { beta1: number; beta2: number; epsilon: number; decay: number }, shapes: Shapes): Optimizer {
  const state = new Map([...zeros(shapes, 'mean'), ...zeros(shapes, 'square')]);
  return {
    state,
    step(weights, gradients, rate, count) {
      const [first, second] = [1 - beta1 ** count, 1 - beta2 ** count];
      for (const [name, w] of weights) {
        const [g, mean, square] = [gradients.get(name), state.get(`mean/${name}`), state.get(`square/${name}`)];
        if (g === undefined || mean === undefined || square === undefined) continue;
        const shrink = decays(shapes.get(name)) ? rate * decay : 0;
        for (let i = 0; i < w.length; i++) {
          const gradient = g[i] ?? 0;
          mean[i] = beta1 * (mean[i] ?? 0) + (1 - beta1) * gradient;
          square[i] = beta2 * (square[i] ?? 0) + (1 - beta2) * gradient * gradient;
          const towards = (mean[i] ?? 0) / first / (Math.sqrt((square[i] ?? 0) / second) + epsilon);
          w[i] = (w[i] ?? 0) * (1 - shrink) - rate * towards;
        }
      }
    },
  };
}

export const createOptimizer = (settings: OptimizerSettings, shapes: Shapes): Optimizer => (settings.kind === 'sgd' ? sgdOptimizer(settings, shapes) : adamOptimizer(settings, shapes));

/** Scales all gradients so that their common norm is at most `most`; gives back the norm that they had. */
export function clipNorm(gradients: Arrays, most: number): number {
  let sum = 0;
  for (const gradient of gradients.values()) for (const g of gradient) sum += g * g;
  const norm = Math.sqrt(sum);
  if (norm > most) for (const gradient of gradients.values()) for (let i = 0; i < gradient.length; i++) gradient[i] = ((gradient[i] ?? 0) * most) / norm;
  return norm;
}
