import { labelLoss, type LossSettings } from '../losses.js';
import { classWeights, drawnClasses } from './class-weights.js';
import { targetsOf, type EmbeddingMethod, type EmbeddingSize } from './embedding-method.js';

/** The people as classes of a linear layer without biases behind the embedding, which is left out afterwards: the baseline of ArcFace (arXiv 1801.07698, equation 1). */
export function softmaxMethod(size: EmbeddingSize, settings: LossSettings, seed: number): EmbeddingMethod {
  const { batch, people } = size;
  return {
    weights: new Map([[classWeights, drawnClasses(size, seed)]]),
    inputs: { 'lab.target': { dtype: 'float32', shape: [batch, people] } },
    loss: (m, embeddings) => labelLoss(m, settings, m.op('MatMul', embeddings, m.transpose(classWeights, [1, 0])), 'lab.target'),
    feeds: (pictures) => ({ 'lab.target': targetsOf(pictures, people) }),
  };
}
