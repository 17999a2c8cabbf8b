/** Keeps which pieces are here and which are on the way. This is the pure part of a download. */
import { MAX_BITMAP_BLOCKS, MAX_BLOCK_BYTES } from '../contracts/index.js';

/** A set of piece numbers 0..count-1 as bits, least significant first. */
export class BlockSet {
  readonly count: number;
  readonly bits: Buffer;
  #size = 0;
  /** All pieces with a smaller number are here. */
  #complete = 0;

  constructor(count: number, bits?: Uint8Array) {
    const bytes = Math.ceil(count / 8);
    this.count = count;
    // A bitmap of another length belongs to another way of cutting the package, so the set begins empty.
    this.bits = bits !== undefined && bits.length === bytes ? Buffer.from(bits) : Buffer.alloc(bytes);
    for (let i = 0; i < count; i++) if (this.has(i)) this.#size += 1;
  }

  get size(): number {
    return this.#size;
  }

  get complete(): boolean {
    return this.#size === this.count;
  }

  /** The lowest number that is missing; `count` when none is. */
  get firstMissing(): number {
    while (this.#complete < this.count && this.has(this.#complete)) this.#complete += 1;
    return this.#complete;
  }

  has(index: number): boolean {
    return ((this.bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  /** @returns false when the piece was there already */
  add(index: number): boolean {
    if (index < 0 || index >= this.count || this.has(index)) return false;
    this.bits[index >> 3] = (this.bits[index >> 3] ?? 0) | (1 << (index & 7));
    this.#size += 1;
    return true;
  }
}

/** How much may be on the way at one time. */
export interface Window {
  pieces: number;
  bytes: number;
}

interface Asked {
  /** Position of the request among all that were ever made. */
  order: number;
  atMs: number;
  bytes: number;
}

/**
 * The sender answers in order, so a piece is lost when a piece that was asked for at least this many places later is here. TCP waits for the same
 * number of segments (RFC 5681, section 3.2).
 */
const OVERTAKEN_BY = 3;
const LONGEST_PROBE_MS = 60_000;
/**
 * After a loss only this share of the window is used, because what is on the way when a bad link breaks has to be sent again. The share grows again with
 * each piece that arrives.
 */
const SHARE_AFTER_LOSS = 0.5;
const SHARE_GROWTH = 1 / 128;
/** Before the first loss it grows faster, from less: a cut just after the start would otherwise cost a whole window. As TCP's slow start (RFC 5681, section 3.1). */
const SHARE_AT_START = 0.25;
const GROWTH_AT_START = 1 / 32;
/** After a loss at most this share of all that the download fetches is on the way: of a small package, a cut would otherwise take a large part. */
const MOST_AT_STAKE = 1 / 48;
/**
 * More is asked for when this share of the window is on the way. On a good link requests are few and large; after a loss less comes at once, so that as
 * little is at stake with the same rate.
 */
const ASK_BELOW = 0.5;
const ASK_BELOW_AFTER_LOSS = 0.75;

/** The pieces that were asked for and have not been written yet. */
export class Flight {
  readonly #window: Window;
  readonly #mostAtStake: number;
  readonly #asked = new Map<number, Asked>();
  /** Pieces that have arrived and are not on the disk yet, so they occupy memory. */
  readonly #writing = new Map<number, number>();
  #bytes = 0;
  #order = 0;
  /** The largest position in the order of asking among the pieces that arrived. */
  #newest = -1;
  #roundTripMs: number | null = null;
  /** The share of the window that may be used. */
  #share = SHARE_AT_START;
  /** Whether something was lost. */
  #lossy = false;

  /** @param missingBytes of all pieces that are not here yet */
  constructor(window: Window, missingBytes = Infinity) {
    this.#window = window;
    this.#mostAtStake = Math.max(MAX_BLOCK_BYTES, missingBytes * MOST_AT_STAKE);
  }

  get size(): number {
    return this.#asked.size + this.#writing.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Number of pieces that may still come. */
  get waiting(): number {
    return this.#asked.size;
  }

  has(index: number): boolean {
    return this.#asked.has(index);
  }

  /** How long to wait for the last pieces before one of them is asked for again, milliseconds: some round trips, and more after each attempt. */
  probeMs(attempts: number): number {
    return Math.min(LONGEST_PROBE_MS, Math.max(500, (this.#roundTripMs ?? 1000) * 4) * 2 ** attempts);
  }

  /**
   * The next pieces to ask for: the lowest that are neither here nor on the way, within the window, and few enough for one bitmap. It asks only when
   * a part of the window is free, so that requests are fewer and larger.
   */
  next(have: BlockSet, length: (index: number) => number): number[] {
    const first = have.firstMissing;
    const wanted: number[] = [];
    let [pieces, bytes] = [this.size, this.#bytes];
    const most = { pieces: Math.max(1, this.#window.pieces * this.#share), bytes: Math.min(this.#window.bytes * this.#share, this.#lossy ? this.#mostAtStake : Infinity) };
    const enough = this.#lossy ? ASK_BELOW_AFTER_LOSS : ASK_BELOW;
    if (pieces > most.pieces * enough || bytes > most.bytes * enough) return [];
    let from = -1;
    for (let index = first; index < have.count && pieces + 1 <= most.pieces; index++) {
      if (have.has(index) || this.#asked.has(index) || this.#writing.has(index)) continue;
      if (from < 0) from = index;
      if (index - from >= MAX_BITMAP_BLOCKS || (pieces > 0 && bytes + length(index) > most.bytes)) break;
      wanted.push(index);
      pieces += 1;
      bytes += length(index);
    }
    return wanted;
  }

  ask(index: number, bytes: number, nowMs: number): void {
    if (!this.#asked.has(index)) this.#bytes += bytes;
    this.#asked.set(index, { order: this.#order++, atMs: nowMs, bytes });
  }

  /** Takes a piece that is about to be written. @returns false for a piece that nobody waits for */
  arrived(index: number, nowMs: number): boolean {
    const asked = this.#asked.get(index);
    if (asked === undefined) return false;
    this.#asked.delete(index);
    this.#writing.set(index, asked.bytes);
    this.#newest = Math.max(this.#newest, asked.order);
    this.#share = Math.min(1, this.#share + (this.#lossy ? SHARE_GROWTH : GROWTH_AT_START));
    const sample = Math.max(0, nowMs - asked.atMs);
    this.#roundTripMs = this.#roundTripMs === null ? sample : 0.875 * this.#roundTripMs + 0.125 * sample; // Smoothed as in RFC 6298, section 2.
    return true;
  }

  /** The piece is on the disk, or it was wrong, so it no longer occupies memory. */
  settled(index: number): void {
    this.#bytes -= this.#writing.get(index) ?? 0;
    this.#writing.delete(index);
  }

  /** Removes and returns the pieces that must have been lost, because later ones are here. Lowest first. */
  takeOvertaken(): number[] {
    const lost = [...this.#asked].filter(([, { order }]) => order + OVERTAKEN_BY <= this.#newest);
    if (lost.length > 0) this.#shrink();
    for (const [index] of lost) this.#forget(index);
    return lost.map(([index]) => index).sort((a, b) => a - b);
  }

  /** Removes and returns the piece that was asked for longest ago. */
  takeOldest(): number | null {
    const [oldest] = [...this.#asked].sort(([, a], [, b]) => a.order - b.order);
    if (oldest === undefined) return null;
    this.#forget(oldest[0]);
    return oldest[0];
  }

  /** Everything that was on the way is lost. */
  lose(): void {
    if (this.#asked.size > 0) this.#shrink();
    this.clear();
  }

  /** Forgets everything that was on the way, because it will not come. */
  clear(): void {
    for (const index of [...this.#asked.keys()]) this.#forget(index);
  }

  #shrink(): void {
    this.#share = Math.min(this.#share, SHARE_AFTER_LOSS);
    this.#lossy = true;
  }

  #forget(index: number): void {
    this.#bytes -= this.#asked.get(index)?.bytes ?? 0;
    this.#asked.delete(index);
  }
}
