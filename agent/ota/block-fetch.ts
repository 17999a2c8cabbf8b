/**
 * Fetches pieces over MQTT. The device asks (`ota/get`) and so controls the flow. Pieces may come twice, in any order, damaged or never. A wrong
 * piece is asked for again. A missing piece that later ones have overtaken is asked for again at once, because the sender answers in order; the last
 * pieces are asked for again after some round trips.
 */
import { AgentError } from '../errors.js';
import { busyMs, ContractError, decodeBlock, encodeBitmap, SCHEMA_VERSION, type Block, type OtaGet } from '../contracts/index.js';
import type { Allowance } from './allowance.js';
import type { Assembly, Piece } from './assembly.js';
import { Flight, type Window } from './blocks.js';
import type { PieceErrorCode } from './pieces.js';
import type { Pace } from './pace.js';

/** After this many wrong copies of one piece the download fails. */
const MAX_WRONG = 3;
/** With more wrong pieces in all than this the download fails. */
const MAX_BAD = 64;
/** A sender that says it is busy is asked again after at most this time, milliseconds. */
const LONGEST_BUSY_MS = 3_600_000;
/** Milliseconds between two looks whether a maintenance window has opened, or the link has changed. */
const LOOK_AGAIN_MS = 15_000;

/** The functions of the link that a download needs. */
export interface BlockLink {
  isConnected(): boolean;
  /** Sends a request. If that fails, the request counts as lost. */
  request(request: OtaGet): void;
}

export interface FetchOptions {
  window: Window;
  stallMs: number;
  maxStalls: number;
}

export interface FetchParts {
  assembly: Assembly;
  link: BlockLink;
  pace: Pace;
  allowance: Allowance;
  /** Called when the download begins to wait, and when it goes on. */
  onWait: () => void;
  /** What is fetched, for messages to people. */
  label: string;
}

interface Arrived {
  block: Pick<Block, 'index' | 'payload' | 'deflated'>;
  wireBytes: number;
}

export class BlockFetch {
  readonly #parts: FetchParts;
  readonly #options: FetchOptions;
  readonly #flight: Flight;
  readonly #wrong = new Map<number, number>();
  #bad = 0;
  #stalls = 0;
  #probes = 0;
  /** When the download last made progress, or asked after a silence. Monotonic, milliseconds. */
  #movedAtMs = 0;
  #busyUntilMs = 0;
  /** When the timer is due. Monotonic, milliseconds. */
  #dueMs = 0;
  /** Blocks that have arrived and are not written yet. */
  #arrived: Arrived[] = [];
  #work: Promise<void> = Promise.resolve();
  #working = false;
  #timer: NodeJS.Timeout | undefined;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | null = null;

  constructor(parts: FetchParts, options: FetchOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#flight = new Flight(options.window, parts.assembly.pieces.sizeBytes - parts.assembly.bytesDone);
  }

  /**
   * Resolves when every piece is in its place and committed.
   * @throws AgentError E_OTA_*; errors of the file system; the signal's reason when it is aborted
   */
  async run(signal: AbortSignal): Promise<void> {
    const abort = (): void => this.#finish(signal.reason ?? new Error('aborted'));
    try {
      const done = new Promise<void>((resolve, reject) => { this.#settle = { resolve, reject }; });
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      if (this.#parts.assembly.have.complete) this.#finish();
      else this.resume();
      await done;
    } finally {
      signal.removeEventListener('abort', abort);
      clearTimeout(this.#timer);
      await this.#work;
    }
  }

  /** Asks for what is missing: at the start, and after every reconnection, because requests and pieces on the way are then lost. */
  resume(): void {
    if (this.#settle === null) return;
    this.#flight.lose();
    this.#parts.pace.restart(this.#now());
    this.#movedAtMs = this.#now();
    this.#ask();
  }

  /**
   * Takes a block message and returns at once; pieces are written afterwards, in order. A block that nobody waits for is dropped before it is
   * decoded.
   */
  receive(message: Uint8Array, topicIndex: number): void {
    if (this.#settle === null || !this.#flight.has(topicIndex)) return;
    let block: Block;
    try {
      block = decodeBlock(message);
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
      return this.#refuse(topicIndex, 'E_OTA_BLOCK', error.message);
    }
    if (block.unavailable) return this.#finish(new AgentError('E_OTA_UNAVAILABLE', `The publisher does not have ${this.#parts.label}`));
    if (block.busy) return this.#wait(busyMs(block));
    if (block.index !== topicIndex) return this.#refuse(topicIndex, 'E_OTA_BLOCK', `piece ${block.index} on the topic of piece ${topicIndex}`);
    if (!this.#flight.arrived(topicIndex, this.#now())) return;
    this.#arrive({ block, wireBytes: message.byteLength });
  }

  /** Writes what has arrived, all of it at once, until nothing more has arrived meanwhile. */
  async #drain(): Promise<void> {
    this.#working = true;
    try {
      for (let batch = this.#takeArrived(); batch.length > 0; batch = this.#takeArrived()) await this.#take(batch);
    } finally {
      this.#working = false;
    }
  }

  #takeArrived(): Arrived[] {
    const batch = this.#settle === null ? [] : this.#arrived;
    this.#arrived = [];
    return batch;
  }

  /** Takes a piece that came without a block around it. */
  deliver(index: number, bytes: Uint8Array): void {
    if (this.#settle === null || !this.#flight.arrived(index, this.#now())) return;
    this.#arrive({ block: { index, payload: bytes, deflated: false }, wireBytes: bytes.byteLength });
  }

  /** Ends the download, because whoever sends cannot be used. */
  fail(error: unknown): void {
    this.#finish(error);
  }

  #arrive(arrived: Arrived): void {
    this.#arrived.push(arrived);
    if (!this.#working) this.#work = this.#drain().catch((error: unknown) => this.#finish(error));
  }

  async #take(batch: readonly Arrived[]): Promise<void> {
    const { assembly, pace } = this.#parts;
    const good: (Piece & { wireBytes: number })[] = [];
    for (const { block, wireBytes } of batch) {
      const bytes = assembly.pieces.open(block);
      if (typeof bytes !== 'string') good.push({ index: block.index, bytes, wireBytes });
      else this.#refuse(block.index, bytes, `${block.payload.byteLength} bytes came for ${assembly.pieces.length(block.index)}`);
    }
    if (good.length === 0) return;
    await assembly.put(...good);
    for (const { index, bytes, wireBytes } of good) {
      this.#flight.settled(index);
      pace.received(bytes.byteLength, wireBytes, this.#now());
      this.#wrong.delete(index);
    }
    this.#stalls = 0;
    this.#probes = 0;
    this.#movedAtMs = this.#now();
    if (assembly.have.complete) this.#finish();
    else this.#ask();
  }

  /** Handles a piece that came but is wrong. It is asked for again, up to the bounds above. */
  #refuse(index: number, code: PieceErrorCode, problem: string): void {
    this.#bad += 1;
    const wrong = (this.#wrong.get(index) ?? 0) + 1;
    this.#wrong.set(index, wrong);
    this.#flight.arrived(index, this.#now());
    this.#flight.settled(index);
    const { label, assembly } = this.#parts;
    if (wrong >= MAX_WRONG) return this.#finish(new AgentError(code, `Piece ${index} of ${assembly.pieces.count} of ${label} was wrong ${wrong} times: ${problem}`));
    if (this.#bad > MAX_BAD) return this.#finish(new AgentError('E_OTA_BLOCK', `More than ${MAX_BAD} pieces of ${label} were wrong; the last: ${problem}`));
    this.#request([index]);
    this.#arm();
  }

  /** Asks for lost pieces, and for those that fit into the window, as far as the pace allows. */
  #ask(): void {
    if (this.#settle === null || this.#now() < this.#busyUntilMs || this.#mustHold()) return this.#arm();
    const { assembly, pace } = this.#parts;
    const overtaken = this.#flight.takeOvertaken();
    if (overtaken.length > 0) this.#request(overtaken);
    const wanted = this.#flight.next(assembly.have, (index) => assembly.pieces.length(index));
    if (wanted.length > 0 && pace.take(wanted.reduce((sum, index) => sum + assembly.pieces.length(index), 0), this.#now())) this.#request(wanted);
    this.#arm();
  }

  /** @param wanted numbers of pieces, ascending */
  #request(wanted: readonly number[]): void {
    const first = wanted[0];
    if (first === undefined) return;
    const { pieces } = this.#parts.assembly;
    for (const index of wanted) this.#flight.ask(index, pieces.length(index), this.#now());
    this.#parts.link.request({ schema_version: SCHEMA_VERSION, ...pieces.request, first_block: first, bitmap: encodeBitmap(first, wanted), window: wanted.length });
  }

  #wait(ms: number): void {
    const waitMs = Math.min(LONGEST_BUSY_MS, Math.max(100, ms));
    this.#busyUntilMs = this.#now() + waitMs;
    this.#flight.clear();
    this.#parts.pace.wait('publisher', this.#busyUntilMs, this.#now());
    this.#parts.onWait();
    this.#arm();
  }

  /** Whether nothing may be asked for, because no maintenance window is open, or because the link is metered. Pieces on the way may still come. */
  #mustHold(): boolean {
    const { assembly, allowance, pace, onWait } = this.#parts;
    const why = allowance.refusal(assembly.pieces.sizeBytes - assembly.bytesDone);
    if (why === null) return false;
    const now = this.#now();
    pace.wait(why, now + LOOK_AGAIN_MS, now);
    this.#movedAtMs = now;
    onWait();
    return true;
  }

  /** Sets the one timer that serves everything which depends on time. */
  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#settle === null) return;
    const now = this.#now();
    const probe = this.#flight.waiting > 0 ? this.#movedAtMs + this.#flight.probeMs(this.#probes) : Infinity;
    const next = now < this.#busyUntilMs ? this.#busyUntilMs : Math.min(this.#movedAtMs + this.#options.stallMs, probe, this.#parts.pace.nextLookMs(now));
    this.#dueMs = Math.max(next, now + 1);
    this.#timer = setTimeout(() => this.#look(), this.#dueMs - now);
  }

  #look(): void {
    if (this.#settle === null) return;
    const now = this.#now();
    const { link, pace, assembly, label } = this.#parts;
    if (now < this.#busyUntilMs || this.#mustHold()) return this.#arm();
    if (now - this.#dueMs > this.#options.stallMs / 2) this.#movedAtMs = now; // This process was late: messages that have arrived are read first.
    if (this.#busyUntilMs > 0) {
      this.#busyUntilMs = 0;
      return this.resume();
    }
    if (!link.isConnected()) pace.restart(now); // While the broker is away, the sender is not to blame.
    const slow = pace.slowness(now);
    if (slow !== null) return this.#finish(new AgentError('E_OTA_SLOW', `${label} arrives with ${slow.bytesPerS} bytes a second, below ota.min_bytes_per_s (${slow.least}); ${assembly.bytesDone} of ${assembly.pieces.sizeBytes} bytes are here`));
    if (now >= this.#movedAtMs + this.#options.stallMs && !pace.holding(now)) return this.#onStall();
    if (this.#flight.waiting > 0 && now >= this.#movedAtMs + this.#flight.probeMs(this.#probes)) this.#probe();
    this.#ask();
  }

  /** Asks again for the last pieces. They may be lost without any later piece that would show it. */
  #probe(): void {
    this.#probes += 1;
    const oldest = this.#flight.takeOldest();
    if (oldest !== null) this.#request([oldest]);
  }

  #onStall(): void {
    const { link, assembly } = this.#parts;
    if (link.isConnected()) this.#stalls += 1;
    if (this.#stalls < this.#options.maxStalls) return this.resume();
    this.#finish(new AgentError('E_OTA_STALL', `No block for ${this.#options.stallMs} ms, ${this.#stalls} times: ${assembly.have.size} of ${assembly.have.count} blocks are here`));
  }

  /** Ends the download; later calls do nothing. What was received is committed first, so that a later try goes on from there. */
  #finish(error?: unknown): void {
    const settle = this.#settle;
    if (settle === null) return;
    this.#settle = null;
    clearTimeout(this.#timer);
    if (error === undefined) settle.resolve();
    else void this.#work.then(() => this.#parts.assembly.commit()).catch(() => undefined).then(() => settle.reject(error));
  }

  #now(): number {
    return this.#parts.pace.now();
  }
}
