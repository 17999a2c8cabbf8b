/** What is here of a package or list, and where the rest of it goes. */
import { BlockSet } from './blocks.js';
import type { Pieces } from './pieces.js';

/** Between two commits: at most so much is fetched again after a power cut. */
const COMMIT_EVERY_BYTES = 1024 * 1024;

export interface Sink {
  /** Pieces between two commits, because of those after the last commit nothing is known after a restart. Absent: only bytes count. */
  readonly commitPieces?: number;
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** What `have` names survives a power cut from now on. */
  commit(have: BlockSet): Promise<void>;
}

export class Assembly {
  readonly pieces: Pieces;
  readonly have: BlockSet;
  readonly #sink: Sink;
  readonly #onProgress: () => void;
  #bytesDone = 0;
  #uncommitted = { bytes: 0, pieces: 0 };

  /** @param onProgress when what a restart would find has changed: after each commit, or (pieces that tell by their hashes) after each piece */
  constructor(pieces: Pieces, sink: Sink, { have, onProgress }: { have?: BlockSet; onProgress?: () => void } = {}) {
    this.pieces = pieces;
    this.have = have ?? new BlockSet(pieces.count);
    this.#sink = sink;
    this.#onProgress = onProgress ?? (() => undefined);
    for (let i = 0; i < pieces.count; i++) if (this.have.has(i)) this.#bytesDone += pieces.length(i);
  }

  get bytesDone(): number {
    return this.#bytesDone;
  }

  /** The piece is in its place already. */
  note(index: number): void {
    if (this.have.add(index)) this.#bytesDone += this.pieces.length(index);
  }

  /** Writes a piece that was checked. */
  async put(index: number, bytes: Uint8Array): Promise<void> {
    if (this.have.has(index)) return;
    await this.#sink.write(bytes, this.pieces.offset(index));
    this.note(index);
    this.#uncommitted.bytes += bytes.byteLength;
    this.#uncommitted.pieces += 1;
    const { bytes: waiting, pieces } = this.#uncommitted;
    if (this.#sink.commitPieces === undefined) this.#onProgress();
    if (waiting >= COMMIT_EVERY_BYTES || pieces >= (this.#sink.commitPieces ?? Infinity) || this.have.complete) await this.commit();
  }

  /** Data first, then the note that vouches for it. */
  async commit(): Promise<void> {
    if (this.#uncommitted.pieces === 0) return;
    await this.#sink.commit(this.have);
    this.#uncommitted = { bytes: 0, pieces: 0 };
    this.#onProgress();
  }
}

/** A list is small and is kept in memory until it is complete. */
export class MemorySink implements Sink {
  readonly bytes: Buffer;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes);
  }

  write(bytes: Uint8Array, offset: number): Promise<void> {
    this.bytes.set(bytes, offset);
    return Promise.resolve();
  }

  commit(): Promise<void> {
    return Promise.resolve();
  }
}
