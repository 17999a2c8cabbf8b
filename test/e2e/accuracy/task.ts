import type { Tensor } from '../../../runtime/tensor.js';
import type { Session } from '../../../runtime/session-types.js';

export type Feeds = Record<string, Tensor>;

/** A model, unlabelled data to quantize it with, and how good it is. */
export interface AccuracyTask {
  name: string;
  /** What `score` gives. */
  metric: string;
  model: Uint8Array;
  /** At most 200. */
  calibration: readonly Feeds[];
  /** The model's score; for a metric that compares with the float model, also that one. */
  score(session: Session, float: Session): Promise<number>;
}

export const cosine = (a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): number => {
  let [dot, squaresA, squaresB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [Number(a[i]), Number(b[i])];
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return dot / Math.sqrt(squaresA * squaresB);
};

export const everyNth = <T>(items: readonly T[], n: number, first = 0): T[] => items.filter((_, i) => i % n === first);
