import { RuntimeError } from '../../errors.js';
import type { Tensor } from '../../tensor.js';

export interface OutputDifference {
  name: string;
  max_abs: number;
  /** Largest difference in quantization steps of the output; null when the output is not quantized. */
  max_steps: number | null;
  /** Share of elements that are at most one step apart; null when the output is not quantized. */
  share_within_1_step: number | null;
  /** Cosine similarity over all elements of all cases. */
  cosine: number;
  /** Largest minus smallest value of the reference: what `max_abs` is to be seen against. */
  range: number;
  /** Share of the cases in which the largest value stands at the same place, of outputs [1, N] as classifiers have them; null of others. */
  top1_agreement: number | null;
}

/** Place of the largest value; the first of equals. */
export function bestOf(values: ArrayLike<number | bigint>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (Number(values[i]) > Number(values[best])) best = i;
  return best;
}

/** Whether a tensor may be the scores of a classifier: one row of several values. */
export const looksLikeScores = ({ dims, type }: Tensor): boolean => type === 'float32' && dims.length === 2 && dims[0] === 1 && (dims[1] ?? 0) > 1;

/** Cosine of two vectors of which the sums are known; two zero vectors are alike. */
export function cosineOf(dot: number, squaresA: number, squaresB: number): number {
  if (squaresA === 0 && squaresB === 0) return 1;
  if (squaresA === 0 || squaresB === 0) return 0;
  return dot / Math.sqrt(squaresA * squaresB);
}

/**
 * Both engines compute a step times an integer in float32, each with its own rounding: a difference counts as n steps up to
 * this much more.
 */
const stepTolerance = 1e-3;

/** Accumulates the difference between an output and its reference over many cases. */
export class OutputComparison {
  #maxAbs = 0;
  #within = 0;
  #count = 0;
  #dot = 0;
  #squaresActual = 0;
  #squaresExpected = 0;
  #min = Infinity;
  #max = -Infinity;
  #scored = 0;
  #agreed = 0;

  /** @param step quantization step of the output, undefined when it has none */
  constructor(
    readonly name: string,
    private readonly step: number | undefined,
  ) {}

  /** @throws RuntimeError E_MODEL_SHAPE when the two differ in size */
  add(actual: Tensor | undefined, expected: Tensor | undefined): void {
    if (actual === undefined || expected === undefined || actual.data.length !== expected.data.length) {
      const show = (tensor: Tensor | undefined): string => (tensor === undefined ? 'none' : `[${tensor.dims.join(', ')}]`);
      throw new RuntimeError('E_MODEL_SHAPE', `Expected ${show(expected)} for output "${this.name}" but received ${show(actual)}`);
    }
    const limit = (1 + stepTolerance) * (this.step ?? 0);
    for (let i = 0; i < expected.data.length; i++) {
      const a = Number(actual.data[i]);
      const e = Number(expected.data[i]);
      // NaN on one side only is as wrong as can be; on both it is agreement.
      const difference = Object.is(a, e) ? 0 : Math.abs(a - e);
      this.#maxAbs = Number.isNaN(difference) ? Infinity : Math.max(this.#maxAbs, difference);
      if (difference <= limit) this.#within++;
      this.#dot += a * e;
      this.#squaresActual += a * a;
      this.#squaresExpected += e * e;
      this.#min = Math.min(this.#min, e);
      this.#max = Math.max(this.#max, e);
    }
    this.#count += expected.data.length;
    if (!looksLikeScores(expected)) return;
    this.#scored++;
    if (bestOf(actual.data) === bestOf(expected.data)) this.#agreed++;
  }

  result(): OutputDifference {
    const quantized = this.step !== undefined;
    const steps = quantized ? this.#maxAbs / this.step : 0;
    const whole = Math.round(steps);
    return {
      name: this.name,
      max_abs: this.#maxAbs,
      max_steps: quantized ? (Math.abs(steps - whole) <= stepTolerance * Math.max(1, whole) ? whole : steps) : null,
      share_within_1_step: quantized ? this.#within / Math.max(1, this.#count) : null,
      cosine: cosineOf(this.#dot, this.#squaresActual, this.#squaresExpected),
      range: this.#count === 0 ? 0 : this.#max - this.#min,
      top1_agreement: this.#scored === 0 ? null : this.#agreed / this.#scored,
    };
  }
}
