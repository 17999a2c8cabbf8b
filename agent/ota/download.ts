/**
 * One package from blocks to a partial file. The device asks (`ota/get`) and so owns the flow; blocks may come twice, in any
 * order, damaged or never. What is on the disk is in the journal's bitmap, and only that: a restart goes on from there.
 */
import type { FileHandle } from 'node:fs/promises';
import { AgentError } from '../errors.js';
import { blockCount, ContractError, decodeBlock, encodeBitmap, SCHEMA_VERSION, type Block, type OtaGet } from '../contracts/index.js';
import { faultPoint } from '../platform/fault.js';
import { BlockSet, nextRequest } from './blocks.js';
import type { PipelineJournal } from './pipeline-journal.js';
import type { Candidate } from './state.js';
import type { PackageStore } from './store.js';

/** Blocks between two commits of the bitmap (1 MiB): at most so much is fetched again after a power cut. */
const COMMIT_EVERY_BLOCKS = 16;
const MAX_BAD_BLOCKS = 64;

/** The side of the link that a download needs. */
export interface BlockLink {
  isConnected(): boolean;
  /** Sends a request; a failure is the same as a lost request, the stall timer covers both. */
  request(request: OtaGet): void;
}

export interface DownloadOptions {
  window: number;
  stallMs: number;
  maxStalls: number;
}

export interface DownloadParts {
  store: PackageStore;
  journal: PipelineJournal;
  link: BlockLink;
  onProgress: (blocksDone: number, blocksTotal: number) => void;
}

export class Download {
  readonly candidate: Candidate;
  readonly #parts: DownloadParts;
  readonly #options: DownloadOptions;
  readonly #have: BlockSet;
  readonly #outstanding = new Set<number>();
  readonly #file: FileHandle;
  #uncommitted = 0;
  #bad = 0;
  #stalls = 0;
  #work: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | null = null;

  private constructor(candidate: Candidate, parts: DownloadParts, options: DownloadOptions, state: { have: BlockSet; file: FileHandle }) {
    this.candidate = candidate;
    this.#parts = parts;
    this.#options = options;
    this.#have = state.have;
    this.#file = state.file;
  }

  /** Goes on where the journal says. */
  static async open(candidate: Candidate, parts: DownloadParts, options: DownloadOptions): Promise<Download> {
    const { digest, size_bytes: sizeBytes, block_bytes: blockBytes } = candidate;
    const saved = parts.journal.progress(digest);
    const usable = saved !== null && saved.size_bytes === sizeBytes && saved.block_bytes === blockBytes && (await parts.store.hasPartial(digest));
    if (!usable) await parts.store.deletePartial(digest);
    const have = new BlockSet(blockCount(sizeBytes, blockBytes), usable ? saved.bitmap : undefined);
    return new Download(candidate, parts, options, { have, file: await parts.store.openPartial(digest) });
  }

  get blocksDone(): number {
    return this.#have.size;
  }

  get blocksTotal(): number {
    return this.#have.count;
  }

  /**
   * Resolves when every block is on the disk. The file is closed in any case.
   * @throws AgentError E_OTA_*, E_DISK_FULL; the signal's reason when it is aborted
   */
  async run(signal: AbortSignal): Promise<void> {
    const abort = (): void => this.#finish(signal.reason ?? new Error('aborted'));
    try {
      const done = new Promise<void>((resolve, reject) => { this.#settle = { resolve, reject }; });
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      this.#parts.onProgress(this.#have.size, this.#have.count);
      if (this.#have.complete) this.#finish();
      else this.resume();
      await done;
    } finally {
      signal.removeEventListener('abort', abort);
      clearTimeout(this.#timer);
      await this.#work;
      await this.#file.close();
    }
  }

  /** Ask (again): at the start, and after every reconnect, when what was on the way is lost. */
  resume(): void {
    this.#outstanding.clear();
    this.#ask();
    this.#armStallTimer();
  }

  /** Takes a block message; returns at once, the writing happens in order behind. */
  receive(message: Uint8Array, topicIndex: number): void {
    if (this.#settle === null) return;
    let block: Block;
    try {
      block = decodeBlock(message);
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      this.#countBad(topicIndex, error);
      return;
    }
    this.#work = this.#work.then(() => this.#take(block, topicIndex)).catch((error: unknown) => this.#finish(writeError(error)));
  }

  async #take(block: Block, topicIndex: number): Promise<void> {
    if (this.#settle === null) return;
    if (block.unavailable) throw new AgentError('E_OTA_UNAVAILABLE', `The publisher has no package with the digest ${this.candidate.digest}`);
    if (block.index !== topicIndex) return this.#countBad(topicIndex, new Error(`block ${block.index} on the topic of block ${topicIndex}`));
    const expected = this.#lengthOf(block.index);
    if (block.payload.byteLength !== expected) {
      throw new AgentError('E_OTA_SIZE', `Expected block ${block.index} of ${this.#have.count} to have ${expected} bytes but received ${block.payload.byteLength}`);
    }
    this.#outstanding.delete(block.index);
    if (this.#have.has(block.index)) return;
    await this.#file.write(block.payload, 0, expected, block.index * this.candidate.block_bytes);
    faultPoint('download.written');
    this.#have.add(block.index);
    this.#uncommitted += 1;
    this.#stalls = 0;
    if (this.#uncommitted >= COMMIT_EVERY_BLOCKS || this.#have.complete) await this.#commit();
    if (this.#have.complete) this.#finish();
    else {
      this.#ask();
      this.#armStallTimer();
    }
  }

  /** Data first, then the bitmap that vouches for it. */
  async #commit(): Promise<void> {
    if (this.#uncommitted === 0) return;
    await this.#file.datasync();
    const { digest, size_bytes, block_bytes } = this.candidate;
    this.#parts.journal.saveProgress({ digest, size_bytes, block_bytes, bitmap: this.#have.bits });
    this.#uncommitted = 0;
    this.#parts.onProgress(this.#have.size, this.#have.count);
  }

  #lengthOf(index: number): number {
    const { size_bytes: size, block_bytes: block } = this.candidate;
    return Math.max(0, Math.min(block, size - index * block));
  }

  #countBad(index: number, cause: unknown): void {
    this.#bad += 1;
    this.#outstanding.delete(index);
    if (this.#bad > MAX_BAD_BLOCKS) {
      this.#finish(new AgentError('E_OTA_BLOCK', `More than ${MAX_BAD_BLOCKS} blocks of ${this.candidate.name} ${this.candidate.version} were damaged on arrival`, { cause }));
    }
  }

  #ask(): void {
    if (!this.#parts.link.isConnected()) return;
    const wanted = nextRequest(this.#have, this.#outstanding, this.#options.window);
    const first = wanted[0];
    if (first === undefined) return;
    for (const index of wanted) this.#outstanding.add(index);
    const { digest, size_bytes, block_bytes } = this.candidate;
    this.#parts.link.request({
      schema_version: SCHEMA_VERSION, digest, size_bytes, block_bytes, first_block: first, bitmap: encodeBitmap(first, wanted), window: wanted.length,
    });
  }

  #armStallTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#onStall(), this.#options.stallMs);
  }

  #onStall(): void {
    if (this.#settle === null) return;
    if (this.#parts.link.isConnected()) this.#stalls += 1; // while the broker is away nobody is to blame
    if (this.#stalls >= this.#options.maxStalls) {
      this.#finish(new AgentError('E_OTA_STALL', `No block for ${this.#options.stallMs} ms, ${this.#stalls} times: ${this.#have.size} of ${this.#have.count} blocks are here`));
    } else {
      this.resume();
    }
  }

  /** Once. What was received is committed first, so that a later try goes on from it. */
  #finish(error?: unknown): void {
    const settle = this.#settle;
    if (settle === null) return;
    this.#settle = null;
    clearTimeout(this.#timer);
    if (error === undefined) settle.resolve();
    else void this.#work.then(() => this.#commit()).catch(() => undefined).then(() => settle.reject(error));
  }
}

function writeError(error: unknown): unknown {
  if (error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) {
    return new AgentError('E_DISK_FULL', `No space for the package: ${error.message}`, { cause: error });
  }
  return error;
}
