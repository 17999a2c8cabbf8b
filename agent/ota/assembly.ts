/** Keeps which pieces of a package or list are on this device, and writes the others as they arrive. */
import { BlockSet } from './blocks.js';
import type { Pieces } from './pieces.js';

/** Bytes between two commits. At most this much is fetched again after a power cut. */
const COMMIT_EVERY_BYTES = 1024 * 1024;

export interface Sink {
  /**
   * Pieces between two commits. Pieces that cannot be checked alone need this bound, because after a restart nothing is known about those since the
   * last commit. Absent means that only bytes count.
   */
  readonly commitPieces?: number;
  /** Writes pieces that follow each other. */
  write(pieces: readonly Uint8Array[], offset: number): Promise<void>;
  /** Makes durable what `have` names: from now on it survives a power cut. */
  commit(have: BlockSet): Promise<void>;
}

/** A piece whose bytes are right. */
export interface Piece {
  index: number;
  bytes: Uint8Array;
}

export class Assembly {
  readonly pieces: Pieces;
  readonly have: BlockSet;
  readonly #sink: Sink;
  readonly #onProgress: () => void;
  #bytesDone = 0;
  #uncommitted = { bytes: 0, pieces: 0 };

  /**
   * @param onProgress called when that which a restart would find has changed: after each commit, or, for pieces with hashes of their own, after each
   * piece
   */
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

  /** Notes a piece that is in its place already. */
  note(index: number): void {
    if (this.have.add(index)) this.#bytesDone += this.pieces.length(index);
  }

  /**
   * Writes pieces that were checked, in any order. Those that follow each other are written at once, because each write is a way to another thread and
   * back.
   */
  async put(...pieces: readonly Piece[]): Promise<void> {
    const wanted = [...new Map(pieces.map((piece) => [piece.index, piece])).values()].filter(({ index }) => !this.have.has(index)).sort((a, b) => a.index - b.index);
    while (wanted.length > 0) {
      const most = Math.min(wanted.length, (this.#sink.commitPieces ?? Infinity) - this.#uncommitted.pieces);
      let run = 1;
      while (run < most && wanted[run]?.index === (wanted[run - 1]?.index ?? 0) + 1) run += 1;
      await this.#write(wanted.splice(0, run));
    }
  }

  async #write(run: readonly Piece[]): Promise<void> {
    await this.#sink.write(run.map(({ bytes }) => bytes), this.pieces.offset(run[0]?.index ?? 0));
    for (const { index, bytes } of run) {
      this.note(index);
      this.#uncommitted.bytes += bytes.byteLength;
      this.#uncommitted.pieces += 1;
    }
    const { bytes: waiting, pieces } = this.#uncommitted;
    if (this.#sink.commitPieces === undefined) this.#onProgress();
    if (waiting >= COMMIT_EVERY_BYTES || pieces >= (this.#sink.commitPieces ?? Infinity) || this.have.complete) await this.commit();
  }

  /** Writes the data first, and only then the note that says the data is there. */
  async commit(): Promise<void> {
    if (this.#uncommitted.pieces === 0) return;
    await this.#sink.commit(this.have);
    this.#uncommitted = { bytes: 0, pieces: 0 };
    this.#onProgress();
  }
}

/** Collects a list of chunks in memory until it is complete, because a list is small. */
export class MemorySink implements Sink {
  readonly bytes: Buffer;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes);
  }

  write(pieces: readonly Uint8Array[], offset: number): Promise<void> {
    for (let i = 0, at = offset; i < pieces.length; at += pieces[i]?.byteLength ?? 0, i++) this.bytes.set(pieces[i] ?? [], at);
    return Promise.resolve();
  }

  commit(): Promise<void> {
    return Promise.resolve();
  }
}
