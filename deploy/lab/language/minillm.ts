import type { ValueType } from '../../../runtime/graph/tensor-value.js';
import type { Calculus } from '../../../runtime/gradients/rule.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { logSoftmaxOf } from '../losses.js';
import { drawnAt, drawnOf, type SampleSize, type Samples } from './sampling.js';

// MiniLLM (Gu et al., arXiv 2306.08543): the reverse KL divergence to the teacher on what the student writes itself. Each sample is
// used for one step, so the policy that drew it is the one that is changed, and PPO's clipping of their ratio would do nothing.

export interface MiniLlmSettings {
  /** Characters are drawn from a mix of the teacher, by this share, and the student. */
  readonly teacher_share: number;
  /** Weigh characters by the student's probability over that of the mix, so that the mix changes what is seen and not what is wanted. */
  readonly importance: boolean;
  /** Take the divergence at each character exactly, over all characters, and estimate only what follows. */
  readonly single_step: boolean;
  /** Divide what follows by its length: late characters would weigh less otherwise. */
  readonly length_normalization: boolean;
  /** Subtract the mean of the other samples at the same place, which changes the variance of the gradient and not its mean. */
  readonly baseline: boolean;
}

/** log teacher - log student of each character that was drawn, [rows, drawn]. */
function rewardsOf(samples: Samples): Float64Array {
  const drawn = drawnOf(samples);
  return Float64Array.from({ length: samples.rows * drawn }, (_, i) => {
    const at = i * samples.characters + drawnAt(samples, Math.floor(i / drawn), i % drawn);
    return (samples.teacher[at] ?? 0) - (samples.student[at] ?? 0);
  });
}

/** What each character is credited with, [rows, drawn]: the rewards after it, and its own unless that is taken exactly. */
export function returnsOf(samples: Samples, { single_step: exact, length_normalization: normalized, baseline }: MiniLlmSettings): Float64Array {
  const { rows } = samples;
  const drawn = drawnOf(samples);
  const rewards = rewardsOf(samples);
  const returns = new Float64Array(rows * drawn);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let k = drawn - 1; k >= 0; k--) {
      const own = rewards[row * drawn + k] ?? 0;
      const [total, length] = exact ? [sum, drawn - 1 - k] : [sum + own, drawn - k];
      returns[row * drawn + k] = normalized ? total / Math.max(1, length) : total;
      sum += own;
    }
  }
  if (!baseline || rows < 2) return returns;
  for (let k = 0; k < drawn; k++) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += returns[row * drawn + k] ?? 0;
    for (let row = 0; row < rows; row++) {
      const own = returns[row * drawn + k] ?? 0;
      returns[row * drawn + k] = own - (sum - own) / (rows - 1);
    }
  }
  return returns;
}

/** Student's probability of a character that was drawn, over that of the mix that it was drawn from. */
function importanceOf(samples: Samples, index: number, chosen: number, { teacher_share: share, importance }: MiniLlmSettings): number {
  if (!importance) return 1;
  const [q, p] = [samples.student, samples.teacher].map((logs) => Math.exp(logs[index * samples.characters + chosen] ?? 0)) as [number, number];
  return q / (share * p + (1 - share) * q);
}

/** Inputs of the loss. */
export const policyInputs = (size: SampleSize): Record<string, ValueType> => {
  const places = size.rows * drawnOf(size);
  return {
    'lab.teacher': { dtype: 'float32', shape: [places, size.characters] },
    'lab.weight': { dtype: 'float32', shape: [places, 1] },
    'lab.credit': { dtype: 'float32', shape: [places, size.characters] },
  };
};

/** What the loss is fed with: weights and credits are means over all characters that were drawn. */
export function policyFeeds(samples: Samples, settings: MiniLlmSettings): Record<string, Tensor> {
  const { rows, characters } = samples;
  const [drawn, returns] = [drawnOf(samples), returnsOf(samples, settings)];
  const places = rows * drawn;
  const weight = new Float32Array(places);
  const credit = new Float32Array(places * characters);
  for (let i = 0; i < places; i++) {
    const chosen = drawnAt(samples, Math.floor(i / drawn), i % drawn);
    const importance = importanceOf(samples, i, chosen, settings) / places;
    weight[i] = settings.single_step ? importance : 0;
    credit[i * characters + chosen] = importance * (returns[i] ?? 0);
  }
  return {
    'lab.teacher': { type: 'float32', dims: [places, characters], data: samples.teacher },
    'lab.weight': { type: 'float32', dims: [places, 1], data: weight },
    'lab.credit': { type: 'float32', dims: [places, characters], data: credit },
  };
}

/** A scalar whose gradient is that of the reverse divergence of whole samples. @param logits [rows or more, context, characters], samples first */
export function policyLoss(m: Calculus, logits: string, size: SampleSize): string {
  const { rows, context, prompt, characters } = size;
  const own = m.slice(m.slice(logits, 0, 0, rows), 1, prompt - 1, context);
  const student = logSoftmaxOf(m, m.reshape(own, [rows * drawnOf(size), characters]));
  const exact = m.mul(m.mul(m.op('Exp', student), m.sub(student, 'lab.teacher')), 'lab.weight');
  return m.reduce('ReduceSum', m.sub(exact, m.mul(student, 'lab.credit')), [0, 1], false);
}
