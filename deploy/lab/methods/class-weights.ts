import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { uniform } from '../../compress/random.js';
import type { EmbeddingSize } from './embedding-method.js';

/** Name of the vectors that stand for the people. */
export const classWeights = 'lab.people';

/** A vector for each person that is drawn at random, [people, dimensions], of about unit length. */
export function drawnClasses({ people, dimensions }: EmbeddingSize, seed: number): TensorValue {
  const next = uniform(seed * 31 + 17);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return fromNumbers('float32', [people, dimensions], Float64Array.from({ length: people * dimensions }, () => normal() / Math.sqrt(dimensions)));
}
