import type { Calculus } from '../../../runtime/gradients/rule.js';
import type { TensorValue, ValueType } from '../../../runtime/graph/tensor-value.js';
import type { Tensor } from '../../../runtime/tensor.js';

/** A picture of a batch, as the methods need to know it. */
export interface LabelledPicture {
  /** Index into the people that are trained on. */
  readonly label: number;
  /** The teacher's embedding of the picture as it is, of unit length; undefined without a teacher. */
  readonly taught: Float32Array | undefined;
}

/** What an embedder is trained by. Embeddings are [batch, dimensions]; nothing of a method stays in the model. */
export interface EmbeddingMethod {
  /** Weights that are trained beside the model's, and left out of the result. */
  readonly weights: ReadonlyMap<string, TensorValue>;
  readonly inputs: Readonly<Record<string, ValueType>>;
  /** Writes the loss, a scalar. */
  loss(m: Calculus, embeddings: string): string;
  /** Values of `inputs` for the pictures of a step. */
  feeds(pictures: readonly LabelledPicture[]): Readonly<Record<string, Tensor>>;
}

/** Sizes that all methods share. */
export interface EmbeddingSize {
  readonly batch: number;
  readonly dimensions: number;
  readonly people: number;
}

/** Rows of unit length. Those near zero, which have no direction, stay finite. */
export function unitRows(m: Calculus, rows: string): string {
  const length = m.op('Sqrt', m.op('Max', m.reduce('ReduceSum', m.square(rows), [1]), m.number(1e-12)));
  return m.div(rows, length);
}

/** One where the person of the picture is, [batch, people]. */
export function targetsOf(pictures: readonly LabelledPicture[], people: number): Tensor {
  const data = new Float32Array(pictures.length * people);
  pictures.forEach(({ label }, row) => { data[row * people + label] = 1; });
  return { type: 'float32', dims: [pictures.length, people], data };
}
