import type { LabConfig } from '../config.js';
import { arcFaceMethod } from '../methods/arcface.js';
import type { EmbeddingMethod, EmbeddingSize, LabelledPicture } from '../methods/embedding-method.js';
import { regressionMethod } from '../methods/embedding-regression.js';
import { centresOf, marginDistillationMethod } from '../methods/margin-distillation.js';
import { softmaxMethod } from '../methods/softmax.js';

/** Two methods at once: the first has `share` of the loss. */
function mixed(first: EmbeddingMethod, second: EmbeddingMethod, share: number): EmbeddingMethod {
  return {
    weights: new Map([...first.weights, ...second.weights]),
    inputs: { ...first.inputs, ...second.inputs },
    loss: (m, embeddings) => m.add(m.scale(first.loss(m, embeddings), share), m.scale(second.loss(m, embeddings), 1 - share)),
    feeds: (pictures) => ({ ...first.feeds(pictures), ...second.feeds(pictures) }),
  };
}

/**
 * What the configuration asks an embedder to be trained by.
 * @param pictures all that are learned from, for the centres of their people
 * @throws DeployError E_LAB
 */
export function methodOf({ loss, teacher, seed }: LabConfig, size: EmbeddingSize, pictures: readonly LabelledPicture[], names: readonly string[]): EmbeddingMethod {
  const labels = (): EmbeddingMethod => (loss.kind === 'arcface' ? arcFaceMethod(size, loss, seed) : softmaxMethod(size, loss, seed));
  if (teacher === undefined) return labels();
  const taught = teacher.method === 'margin-distillation'
    ? marginDistillationMethod(size, { scale: teacher.scale, least: teacher.margin_min, most: teacher.margin_max }, centresOf(pictures, names))
    : regressionMethod(size);
  const share = 'weight' in teacher ? teacher.weight : 1;
  return share === 1 ? taught : mixed(taught, labels(), share);
}

/** What a run is called in its curve. */
export const methodName = ({ loss, teacher }: LabConfig): string => teacher?.method ?? (loss.kind === 'cross-entropy' ? 'softmax' : loss.kind);
