import { unitRows, type EmbeddingMethod, type EmbeddingSize } from './embedding-method.js';
import { joined } from '../clips.js';

/** The student gives the teacher's embedding of each picture: squared distance of the unit vectors, 2 - 2 cos, mean over the batch ("regression" in arXiv 2003.02586). No labels. */
export function regressionMethod({ batch, dimensions }: EmbeddingSize): EmbeddingMethod {
  return {
    weights: new Map(),
    inputs: { 'lab.taught': { dtype: 'float32', shape: [batch, dimensions] } },
    loss: (m, embeddings) => m.affine(m.reduce('ReduceSum', m.mul(unitRows(m, embeddings), 'lab.taught'), [0, 1], false), -2 / batch, 2),
    feeds: (pictures) => ({ 'lab.taught': { type: 'float32', dims: [pictures.length, dimensions], data: joined(pictures.map(({ taught }) => taught ?? new Float32Array(dimensions))) } }),
  };
}
