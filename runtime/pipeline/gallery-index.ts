/** All embeddings of one space in memory, ready to be searched. */
import { NearestRows } from '../../kernels/binding/nearest.js';
import type { Identity } from './types.js';

interface Owner {
  id: number;
  name: string;
}

/** Rows that belong together in memory. */
class Block {
  readonly #rows: NearestRows;

  /** @param vectors row-major, a row for each owner, L2-normalized */
  constructor(readonly vectors: Float32Array, readonly owners: readonly Owner[], private readonly dimensions: number) {
    this.#rows = new NearestRows(vectors, Math.max(1, dimensions), Int32Array.from(owners, ({ id }) => id));
  }

  /** Adds the nearest people of these rows to the best ones so far. */
  search(query: Float32Array, people: number, best: Map<number, Identity>): void {
    for (const row of this.#rows.candidates(query, people)) {
      const owner = this.owners[row];
      if (owner === undefined) continue;
      const similarity = this.#similarity(row, query);
      const known = best.get(owner.id);
      if (known === undefined || similarity > known.similarity) best.set(owner.id, { personId: owner.id, name: owner.name, similarity });
    }
  }

  with({ vectors, owners }: Block): Block {
    const all = new Float32Array(this.vectors.length + vectors.length);
    all.set(this.vectors);
    all.set(vectors, this.vectors.length);
    return new Block(all, [...this.owners, ...owners], this.dimensions);
  }

  /** Vectors are normalized when they come in, so the dot product is the cosine. */
  #similarity(row: number, query: Float32Array): number {
    let dot = 0;
    for (let k = 0, at = row * this.dimensions; k < this.dimensions; k++, at++) dot += (this.vectors[at] ?? 0) * (query[k] ?? 0);
    return Math.max(-1, Math.min(1, dot));
  }
}

/**
 * Rows are searched by 8-bit codes natively, and those that may be the answer are then compared in float, so the answer and its similarities
 * are those of comparing all in float. Rows that are added later form blocks of their own; a block is joined to the one before it as soon as it is
 * as long, so that there are few of them, and each row is moved as many times as the number of rows has bits.
 */
export class GalleryIndex {
  readonly dimensions: number;
  readonly #blocks: Block[];

  /** @param vectors row-major, a row for each owner, L2-normalized */
  constructor(vectors: Float32Array, dimensions: number, owners: readonly Owner[]) {
    this.dimensions = dimensions;
    this.#blocks = [new Block(vectors, owners, dimensions)];
  }

  get isEmpty(): boolean {
    return this.#blocks.every(({ owners }) => owners.length === 0);
  }

  /** More rows of one person, who was enrolled after all others or has more samples now. */
  add(vectors: readonly Float32Array[], owner: Owner): void {
    const flat = new Float32Array(vectors.length * this.dimensions);
    vectors.forEach((vector, i) => flat.set(vector, i * this.dimensions));
    let block = new Block(flat, vectors.map(() => owner), this.dimensions);
    for (let last = this.#blocks.at(-1); last !== undefined && last.owners.length <= block.owners.length; last = this.#blocks.at(-1)) {
      this.#blocks.pop();
      block = last.with(block);
    }
    this.#blocks.push(block);
  }

  /** The `people` nearest people, best first, each by the best of their samples. */
  nearest(query: Float32Array, people: number): Identity[] {
    const best = new Map<number, Identity>();
    for (const block of this.#blocks) block.search(query, people, best);
    // The sort is stable: of equals, the one whose sample was enrolled first.
    return [...best.values()].sort((a, b) => b.similarity - a.similarity).slice(0, people);
  }
}
