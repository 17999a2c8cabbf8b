/** All embeddings of one space in memory, ready to be searched. */
import { NearestRows } from '../../kernels/binding/nearest.js';
import type { Identity } from './types.js';

interface Owner {
  id: number;
  name: string;
}

/**
 * Rows are searched by 8-bit codes natively, and those that may be the answer are then compared in float, so the answer and its similarities
 * are those of comparing all in float.
 */
export class GalleryIndex {
  readonly dimensions: number;
  readonly #vectors: Float32Array;
  /** Of each row. */
  readonly #owners: readonly Owner[];
  readonly #rows: NearestRows;

  /** @param vectors row-major, a row for each owner, L2-normalized */
  constructor(vectors: Float32Array, dimensions: number, owners: readonly Owner[]) {
    this.dimensions = dimensions;
    this.#vectors = vectors;
    this.#owners = owners;
    this.#rows = new NearestRows(vectors, Math.max(1, dimensions), Int32Array.from(owners, ({ id }) => id));
  }

  get isEmpty(): boolean {
    return this.#owners.length === 0;
  }

  /** The `people` nearest people, best first, each by the best of their samples. */
  nearest(query: Float32Array, people: number): Identity[] {
    const best = new Map<number, Identity>();
    for (const row of this.#rows.candidates(query, people)) {
      const owner = this.#owners[row];
      if (owner === undefined) continue;
      const similarity = this.#similarity(row, query);
      const known = best.get(owner.id);
      if (known === undefined || similarity > known.similarity) best.set(owner.id, { personId: owner.id, name: owner.name, similarity });
    }
    // The sort is stable: of equals, the one whose sample was enrolled first.
    return [...best.values()].sort((a, b) => b.similarity - a.similarity).slice(0, people);
  }

  /** Vectors are normalized when they come in, so the dot product is the cosine. */
  #similarity(row: number, query: Float32Array): number {
    let dot = 0;
    for (let k = 0, at = row * this.dimensions; k < this.dimensions; k++, at++) dot += (this.#vectors[at] ?? 0) * (query[k] ?? 0);
    return Math.max(-1, Math.min(1, dot));
  }
}
