import type { Calculus } from '../../../runtime/gradients/rule.js';
import { labelLoss } from '../losses.js';
import { classWeights, drawnClasses } from './class-weights.js';
import { targetsOf, unitRows, type EmbeddingMethod, type EmbeddingSize } from './embedding-method.js';

/** Where sines and cosines leave no room for rounding: the slope of an angle is infinite where its cosine is 1. */
const leastSineSquared = 1e-6;

/** What `marginLoss` reads. */
export interface MarginValues {
  /** [batch, dimensions], of any length. */
  readonly embeddings: string;
  /** A vector for each person, [people, dimensions], of any length. */
  readonly people: string;
  /** 1 at the person of the picture, else 0: [batch, people]. */
  readonly target: string;
  /** Radians, [batch, 1]. */
  readonly margin: string;
}

/**
 * Additive angular margin (ArcFace, Deng et al., arXiv 1801.07698): softmax cross-entropy of s cos(theta), where the angle of the right person
 * counts as larger by the margin. An angle that would pass pi with its margin counts as cos(theta) - m sin(m), so that the loss goes on
 * rising, as in the authors' code.
 */
export function marginLoss(m: Calculus, { embeddings, people, target, margin }: MarginValues, scale: number): string {
  const cosine = m.op('MatMul', unitRows(m, embeddings), m.transpose(unitRows(m, people), [1, 0]));
  const sine = m.op('Sqrt', m.op('Max', m.affine(m.square(cosine), -1, 1), m.number(leastSineSquared)));
  const [cosM, sinM] = [m.op('Cos', margin), m.op('Sin', margin)];
  const turned = m.sub(m.mul(cosine, cosM), m.mul(sine, sinM));
  const beyond = m.sub(cosine, m.mul(margin, sinM));
  const within = m.positive(m.add(cosine, cosM));
  const moved = m.add(beyond, m.mul(within, m.sub(turned, beyond)));
  const logits = m.add(cosine, m.mul(target, m.sub(moved, cosine)));
  return labelLoss(m, { kind: 'cross-entropy' }, m.scale(logits, scale), target);
}

/** ArcFace: a vector for each person is learned with the embedder, and the margin is the same for all pictures. */
export function arcFaceMethod(size: EmbeddingSize, { scale, margin }: { scale: number; margin: number }, seed: number): EmbeddingMethod {
  const { batch, people } = size;
  return {
    weights: new Map([[classWeights, drawnClasses(size, seed)]]),
    inputs: { 'lab.target': { dtype: 'float32', shape: [batch, people] } },
    loss: (m, embeddings) => marginLoss(m, { embeddings, people: classWeights, target: 'lab.target', margin: m.tensor('float32', [batch, 1], new Float32Array(batch).fill(margin)) }, scale),
    feeds: (pictures) => ({ 'lab.target': targetsOf(pictures, people) }),
  };
}
