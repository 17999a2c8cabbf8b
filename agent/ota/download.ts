/**
 * Downloads one package: from what is on this device already, and from what others send, it makes a complete partial file. With a list of chunks,
 * only the missing chunks travel, and their hashes tell what the partial file holds. Without a list, the package travels in blocks, and the journal's
 * bitmap tells which are here.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { ChunkList, DEFAULT_BLOCK_BYTES, MAX_BLOCK_BYTES, type ChunkListRef } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { faultPoint } from '../platform/fault.js';
import { alwaysAllowed, type Allowance } from './allowance.js';
import { Assembly, MemorySink, type Sink } from './assembly.js';
import { BlockFetch, type BlockLink } from './block-fetch.js';
import { BlockSet } from './blocks.js';
import { blamesDevice, isDiskFull } from './failure.js';
import { Pace, type PaceLimits, type PaceReport } from './pace.js';
import { Blocks, Chunks } from './pieces.js';
import type { PipelineJournal } from './pipeline-journal.js';
import { resumeFrom, seedFrom } from './seed.js';
import type { Candidate } from './state.js';
import type { PackageStore } from './store.js';
import { WebLink, type WebOptions } from './web-link.js';

export interface DownloadOptions {
  /** Most pieces on the way at one time. */
  window: number;
  /** Most bytes on the way at one time. The default follows from the number of pieces. */
  windowBytes?: number;
  stallMs: number;
  maxStalls: number;
  /** Limits on speed; by default there are none. */
  pace?: PaceLimits;
  /** When it may ask for pieces; by default always. */
  allowance?: Allowance;
  /** A web server that has the same files. It is asked first, and the publisher when it fails. */
  web?: WebOptions | undefined;
}

const noLimits: PaceLimits = { maxBytesPerS: null, minBytesPerS: 0, slowWindowMs: 3_600_000 };

/** How far a download is. */
export interface DownloadProgress {
  pieces: { done: number; total: number };
  bytes: { done: number; total: number };
  pace: PaceReport;
  /** Who is asked. */
  source: 'mqtt' | 'web';
  /** Why the web server was given up; null when it was not. */
  webError: CodedError | null;
  /** Milliseconds until a waiting download may go on, and until everything should be here; null when this is unknown, or when it does not wait. */
  waitMs: number | null;
  etaMs: number | null;
}

/** Milliseconds between two reports of progress. */
const PROGRESS_MS = 500;

export interface DownloadParts {
  store: PackageStore;
  journal: PipelineJournal;
  link: BlockLink;
  /** Monotonic milliseconds. */
  now: () => number;
  onProgress: (progress: DownloadProgress) => void;
}

/** After a restart, at most this many blocks and 1 MiB are fetched again. */
const COMMIT_EVERY_BLOCKS = 16;
/** A list that arrives damaged is fetched once more. */
const LIST_TRIES = 2;

export class Download {
  readonly candidate: Candidate;
  readonly #parts: DownloadParts;
  readonly #options: DownloadOptions;
  readonly #pace: Pace;
  #fetch: { digest: string; fetch: BlockFetch } | null = null;
  #toldMs = -Infinity;
  #source: DownloadProgress['source'] = 'mqtt';
  #webError: CodedError | null = null;
  /** Whether the web server is not asked again: its list of chunks was not the signed one. */
  #webBanned = false;

  constructor(candidate: Candidate, parts: DownloadParts, options: DownloadOptions) {
    this.candidate = candidate;
    this.#parts = parts;
    this.#options = options;
    this.#pace = new Pace(options.pace ?? noLimits, parts.now);
  }

  /**
   * Resolves when the partial file is complete.
   * @throws AgentError E_OTA_*, E_DISK_FULL; the signal's reason when it is aborted
   */
  async run(signal: AbortSignal): Promise<void> {
    const { chunks } = this.candidate;
    try {
      await (chunks === undefined ? this.#runBlocks(signal) : this.#runChunks(chunks, signal));
    } catch (error) {
      throw isDiskFull(error) ? new AgentError('E_DISK_FULL', `No space for the package: ${error.message}`, { cause: error }) : error;
    }
  }

  receive(digest8: string, index: number, message: Uint8Array): void {
    if (this.#fetch?.digest.startsWith(digest8) === true) this.#fetch.fetch.receive(message, index);
  }

  /** Tells that the link is back, and that requests which were on the way are lost. */
  resume(): void {
    this.#fetch?.fetch.resume();
  }

  /** Fetches blocks, beginning with those that the journal does not list as present. */
  async #runBlocks(signal: AbortSignal): Promise<void> {
    const { digest, size_bytes, block_bytes } = this.candidate;
    const { store, journal } = this.#parts;
    const saved = journal.progress(digest);
    const usable = saved !== null && saved.size_bytes === size_bytes && saved.block_bytes === block_bytes && (await store.hasPartial(digest));
    const pieces = new Blocks({ digest, size_bytes, block_bytes });
    const have = new BlockSet(pieces.count, usable ? saved.bitmap : undefined);
    const save = ({ bits }: BlockSet): void => journal.saveProgress({ digest, size_bytes, block_bytes, bitmap: bits });
    if (!usable) {
      if (saved !== null) save(have); // A record of a file that is gone must not vouch for the next one.
      await store.deletePartial(digest);
    }
    await this.#withFile({ commitPieces: COMMIT_EVERY_BLOCKS, save }, async (sink) => {
      const assembly: Assembly = new Assembly(pieces, sink, { have, onProgress: () => this.#report(assembly) });
      await this.#complete(assembly, signal);
    });
  }

  async #runChunks(ref: ChunkListRef, signal: AbortSignal): Promise<void> {
    const { digest, size_bytes, block_bytes } = this.candidate;
    const { store } = this.#parts;
    const list = await this.#list(ref, signal);
    const partial = await store.hasPartial(digest);
    const pieces = new Chunks(list, ref.digest, { digest, size_bytes, block_bytes });
    await this.#withFile({ save: () => undefined }, async (sink) => {
      const assembly: Assembly = new Assembly(pieces, sink, { onProgress: () => this.#report(assembly) });
      if (partial) await resumeFrom(store.partialPath(digest), assembly, list, signal);
      if (!assembly.have.complete) await seedFrom(await store.paths(), assembly, list, signal);
      await this.#complete(assembly, signal);
    });
  }

  /** The list of chunks, from the disk or from the publisher. */
  async #list(ref: ChunkListRef, signal: AbortSignal): Promise<ChunkList> {
    const { store } = this.#parts;
    const { digest, size_bytes: sizeBytes, name, version } = this.candidate;
    const right = (bytes: Uint8Array): boolean => bytes.byteLength === ref.size_bytes && createHash('sha256').update(bytes).digest('hex') === ref.digest;
    const stored = await store.readList(digest, ref.size_bytes);
    if (stored !== null && right(stored)) return new ChunkList(stored, sizeBytes);
    for (let tries = 0; tries < LIST_TRIES;) {
      const sink = new MemorySink(ref.size_bytes);
      const pieces = new Blocks({ digest: ref.digest, size_bytes: ref.size_bytes, block_bytes: DEFAULT_BLOCK_BYTES, list_of: digest });
      await this.#obtain(new Assembly(pieces, sink), `the list of chunks of ${name} ${version}`, signal);
      if (!right(sink.bytes)) {
        if (this.#source === 'web') this.#banWeb(ref);
        else tries += 1;
        continue;
      }
      const list = new ChunkList(sink.bytes, sizeBytes);
      await store.writeList(digest, sink.bytes);
      faultPoint('download.listed');
      return list;
    }
    throw new AgentError('E_OTA_LIST', `The list of chunks of ${name} ${version} came ${LIST_TRIES} times with other bytes than those that were signed (${ref.digest.slice(0, 8)})`);
  }

  async #complete(assembly: Assembly, signal: AbortSignal): Promise<void> {
    const { name, version } = this.candidate;
    this.#report(assembly, true);
    if (assembly.pieces.request.chunks === undefined) await this.#overMqtt(assembly, `${name} ${version}`, signal);
    else await this.#obtain(assembly, `${name} ${version}`, signal);
  }

  #banWeb({ digest }: ChunkListRef): void {
    this.#webBanned = true;
    this.#webError = { code: 'E_OTA_LIST', message: `The web server has another list of chunks than the one that was signed (${digest.slice(0, 8)})` };
  }

  /** Fetches pieces that have hashes from the web server if there is one, else or when that fails from the publisher, and so on while either of them helps. */
  async #obtain(assembly: Assembly, label: string, signal: AbortSignal): Promise<void> {
    const { web } = this.#options;
    if (web === undefined) return this.#overMqtt(assembly, label, signal);
    for (;;) {
      const before = assembly.have.size;
      if (!this.#webBanned && (await this.#overWeb(assembly, { label, web, signal }))) return;
      try {
        // Stalls count although the broker may be away, because the web server can be asked again.
        return await this.#overMqtt(assembly, label, signal, { isConnected: () => !this.#webBanned || this.#parts.link.isConnected(), request: (wanted) => this.#parts.link.request(wanted) });
      } catch (error) {
        signal.throwIfAborted();
        const stuck = assembly.have.size === before && this.#parts.link.isConnected();
        if (blamesDevice(error) || this.#webBanned || stuck) throw this.#withWebError(error);
      }
    }
  }

  #withWebError(error: unknown): unknown {
    const web = this.#webError;
    return error instanceof AgentError && web !== null ? new AgentError(error.code, `${error.message}. The web server had failed before: ${web.code}: ${web.message}`, { cause: error }) : error;
  }

  /** @returns whether all pieces are here; what went wrong is kept for the report. Errors of this device are thrown. */
  async #overWeb(assembly: Assembly, { label, web, signal }: { label: string; web: WebOptions; signal: AbortSignal }): Promise<boolean> {
    const { stallMs } = this.#options;
    let link: WebLink | null = null;
    this.#source = 'web';
    try {
      const fetch: BlockFetch = this.#newFetch(assembly, label, { isConnected: () => true, request: (wanted) => link?.request(wanted) });
      link = new WebLink({ pieces: assembly.pieces, web, stallMs, deliver: (index, bytes) => fetch.deliver(index, bytes), fail: (error) => fetch.fail(error) });
      await fetch.run(signal);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (blamesDevice(error)) throw error;
      this.#webError = toCodedError(error);
      return false;
    } finally {
      link?.close();
    }
  }

  #newFetch(assembly: Assembly, label: string, link: BlockLink): BlockFetch {
    const { window: pieces, windowBytes: bytes = pieces * MAX_BLOCK_BYTES, stallMs, maxStalls } = this.#options;
    const parts = { assembly, link, pace: this.#pace, allowance: this.#options.allowance ?? alwaysAllowed, onWait: () => this.#report(assembly, true), label };
    return new BlockFetch(parts, { window: { pieces, bytes }, stallMs, maxStalls });
  }

  async #overMqtt(assembly: Assembly, label: string, signal: AbortSignal, link = this.#parts.link): Promise<void> {
    this.#source = 'mqtt';
    const fetch = this.#newFetch(assembly, label, link);
    this.#fetch = { digest: assembly.pieces.request.digest, fetch };
    try {
      await fetch.run(signal);
    } finally {
      this.#fetch = null;
    }
  }

  async #withFile(journal: Vouching, work: (sink: Sink) => Promise<void>): Promise<void> {
    const file = await this.#parts.store.openPartial(this.candidate.digest);
    try {
      await work(fileSink(file, journal));
    } finally {
      await file.close();
    }
  }

  /** Reports progress of the package. While its list of chunks is still being fetched, nothing of the package is here. */
  #report({ have, bytesDone, pieces }: Assembly, now = have.complete): void {
    const nowMs = this.#parts.now();
    if (!now && nowMs - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = nowMs;
    const pace = this.#pace.report(nowMs);
    const listed = pieces.request.list_of === undefined;
    this.#parts.onProgress({
      pieces: listed ? { done: have.size, total: have.count } : { done: 0, total: 0 }, bytes: { done: listed ? bytesDone : 0, total: this.candidate.size_bytes }, pace,
      source: this.#source, webError: this.#webError,
      waitMs: pace.untilMs === null ? null : Math.max(0, pace.untilMs - nowMs),
      etaMs: pace.bytesPerS === 0 ? null : (pieces.sizeBytes - bytesDone) * 1000 / pace.bytesPerS,
    });
  }
}

/** How the record is saved which says that pieces are on the disk. */
interface Vouching {
  commitPieces?: number;
  save: (have: BlockSet) => void;
}

function fileSink(file: FileHandle, { save, ...commits }: Vouching): Sink {
  // Pieces that follow each other are put together in the same memory each time: a new buffer for each write would be garbage faster than V8 collects it.
  let together = Buffer.alloc(0);
  return {
    ...commits,
    write: async (pieces, offset) => {
      faultPoint('download.write');
      const size = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (together.length < size) together = Buffer.allocUnsafeSlow(size);
      for (let i = 0, at = 0; i < pieces.length; at += pieces[i]?.byteLength ?? 0, i++) together.set(pieces[i] ?? [], at);
      await writeWhole(file, together.subarray(0, size), offset);
      for (let i = 0; i < pieces.length; i++) faultPoint('download.written');
    },
    commit: async (have) => {
      faultPoint('download.sync');
      await file.datasync();
      save(have);
    },
  };
}

/** A write may take less than it was given, for example when the disk becomes full; the next one then says why. */
async function writeWhole(file: FileHandle, bytes: Buffer, offset: number): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
}
