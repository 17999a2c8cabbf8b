import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { cosineSimilarity, meanDirection } from '../../../runtime/vision/embedding.js';
import { DeployError } from '../../errors.js';
import { joined } from '../clips.js';
import { marginLoss } from './arcface.js';
import { targetsOf, type EmbeddingMethod, type EmbeddingSize, type LabelledPicture } from './embedding-method.js';

export interface MarginSettings {
  /** s of the logits. */
  readonly scale: number;
  /** Margin in radians of a picture that says nothing of its person to the teacher. */
  readonly least: number;
  /** That of the picture of the batch that the teacher places nearest to its person's centre. */
  readonly most: number;
}

/**
 * The centre of each person in the teacher's space: the direction of the mean of the teacher's embeddings of that person's pictures. It
 * stands for the row of the teacher's classifier, which published embedders come without.
 * @throws DeployError E_LAB: embeddings of a person that cancel
 */
export function centresOf(pictures: readonly LabelledPicture[], people: readonly string[]): Float32Array[] {
  return people.map((name, label) => {
    const centre = meanDirection(pictures.flatMap(({ label: of, taught }) => (of === label && taught !== undefined ? [taught] : [])));
    if (centre === null) throw new DeployError('E_LAB', `The teacher's embeddings of '${name}' have no common direction; look whether its pictures show that person, and whether the teacher fits them`, { details: { person: name } });
    return centre;
  });
}

/** m_i = least + (most - least) c_i / max c, with c_i the teacher's cosine of picture i to its centre; one below 0 counts as 0. */
export function marginsOf(confidences: readonly number[], { least, most }: MarginSettings): number[] {
  const sure = confidences.map((confidence) => Math.max(0, confidence));
  const surest = Math.max(...sure);
  return sure.map((confidence) => least + (surest > 0 ? ((most - least) * confidence) / surest : 0));
}

/**
 * MarginDistillation (Svitov and Alyamkin, arXiv 2003.02586): the student's classes are the teacher's, frozen, and the angular margin of each
 * picture is larger the surer the teacher is of it. So doubtful pictures pull less, and the student learns the teacher's space.
 */
export function marginDistillationMethod({ batch, dimensions, people }: EmbeddingSize, settings: MarginSettings, centres: readonly Float32Array[]): EmbeddingMethod {
  return {
    weights: new Map(),
    inputs: { 'lab.target': { dtype: 'float32', shape: [batch, people] }, 'lab.margin': { dtype: 'float32', shape: [batch, 1] } },
    loss(m, embeddings) {
      const frozen = m.b.constant(fromNumbers('float32', [people, dimensions], joined(centres)));
      return marginLoss(m, { embeddings, people: frozen, target: 'lab.target', margin: 'lab.margin' }, settings.scale);
    },
    feeds(pictures) {
      const confidences = pictures.map(({ label, taught }) => cosineSimilarity(taught ?? [], centres[label] ?? []));
      return { 'lab.target': targetsOf(pictures, people), 'lab.margin': { type: 'float32', dims: [pictures.length, 1], data: Float32Array.from(marginsOf(confidences, settings)) } };
    },
  };
}
