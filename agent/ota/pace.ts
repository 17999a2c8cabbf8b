/** Keeps how fast a download may be, must be, and is. Pure bookkeeping: the caller gives the time. */

export interface PaceLimits {
  /** The limit of bandwidth; null means none. */
  maxBytesPerS: number | null;
  /** A download that is slower than this over `slowWindowMs` fails, because somebody delays it or the link is useless. 0 means no limit. */
  minBytesPerS: number;
  slowWindowMs: number;
}

/** Why nothing is asked for at the moment. */
export type Waiting = 'publisher' | 'bandwidth' | 'maintenance' | 'metered';

export interface PaceReport {
  /** Bytes of the package that were received since the download began in this run. */
  receivedBytes: number;
  /** Bytes on the wire: compressed, and with headers. */
  wireBytes: number;
  bytesPerS: number;
  waiting: Waiting | null;
  /** Until when it waits, monotonic; null when it does not wait. */
  untilMs: number | null;
}

/** Milliseconds over which the reported rate is averaged. */
const RATE_WINDOW_MS = 10_000;
/** How many seconds' worth of the limit may be asked for at once. */
const BURST_S = 1;

export class Pace {
  readonly #limits: PaceLimits;
  readonly #now: () => number;
  #tokens: number;
  #tokensAtMs: number | null = null;
  #received = 0;
  #wire = 0;
  #slow: { atMs: number; bytes: number } | null = null;
  #waiting: { what: Waiting; untilMs: number } | null = null;
  /** Times, and how many bytes in all had been received by then. Newest last. */
  readonly #history: { atMs: number; bytes: number }[] = [];

  /** @param now monotonic milliseconds */
  constructor(limits: PaceLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
    this.#tokens = (limits.maxBytesPerS ?? 0) * BURST_S;
  }

  now(): number {
    return this.#now();
  }

  /** Whether this many bytes may be asked for now. If not, `nextLookMs` says when to try again. */
  take(bytes: number, nowMs: number): boolean {
    const { maxBytesPerS: limit } = this.#limits;
    if (limit === null) return true;
    const burst = limit * BURST_S;
    this.#tokens = Math.min(burst, this.#tokens + (nowMs - (this.#tokensAtMs ?? nowMs)) * limit / 1000);
    this.#tokensAtMs = nowMs;
    // A request may be larger than a burst. It then waits for a full burst, and leaves the balance negative.
    const needed = Math.min(bytes, burst);
    if (this.#tokens >= needed) {
      this.#tokens -= bytes;
      if (this.#waiting?.what === 'bandwidth') this.#waiting = null;
      return true;
    }
    this.wait('bandwidth', nowMs + (needed - this.#tokens) * 1000 / limit, nowMs);
    return false;
  }

  /** Lets nothing be asked for until then. The sender is not blamed for this time. */
  wait(what: Waiting, untilMs: number, nowMs: number): void {
    this.#waiting = { what, untilMs };
    this.#slow = { atMs: Math.max(nowMs, untilMs), bytes: this.#received };
  }

  /** Whether the download waits on purpose. */
  holding(nowMs: number): boolean {
    return this.#waiting !== null && nowMs < this.#waiting.untilMs;
  }

  received(bytes: number, wireBytes: number, nowMs: number): void {
    this.#received += bytes;
    this.#wire += wireBytes;
    if (this.#waiting?.what === 'publisher' || (this.#waiting !== null && this.#waiting.untilMs <= nowMs)) this.#waiting = null;
    this.#history.push({ atMs: nowMs, bytes: this.#received });
    while (this.#history.length > 2 && (this.#history[1]?.atMs ?? nowMs) < nowMs - RATE_WINDOW_MS) this.#history.shift();
    if (this.#history.length > 512) this.#history.splice(1, 256);
  }

  /** Begins the measurement of slowness again, after a reconnection or a pause. */
  restart(nowMs: number): void {
    if (this.#waiting !== null && this.#waiting.untilMs <= nowMs) this.#waiting = null;
    this.#slow = { atMs: nowMs, bytes: this.#received };
  }

  /** The measured rate if the download is too slow; null when it is fast enough, or when it is too early to say. */
  slowness(nowMs: number): { bytesPerS: number; least: number } | null {
    const { minBytesPerS: least, slowWindowMs } = this.#limits;
    this.#slow ??= { atMs: nowMs, bytes: this.#received };
    const { atMs, bytes } = this.#slow;
    if (nowMs - atMs < slowWindowMs) return null;
    const bytesPerS = Math.round((this.#received - bytes) * 1000 / (nowMs - atMs));
    this.#slow = { atMs: nowMs, bytes: this.#received };
    return bytesPerS < least ? { bytesPerS, least } : null;
  }

  /** The next time at which the passing of time alone may change something. */
  nextLookMs(nowMs: number): number {
    this.#slow ??= { atMs: nowMs, bytes: this.#received };
    const slow = this.#slow.atMs + this.#limits.slowWindowMs;
    return this.#waiting === null || this.#waiting.untilMs <= nowMs ? slow : Math.min(slow, this.#waiting.untilMs);
  }

  report(nowMs: number): PaceReport {
    const [oldest] = this.#history;
    const elapsedMs = oldest === undefined ? 0 : Math.max(1, nowMs - oldest.atMs);
    const waiting = this.holding(nowMs) ? this.#waiting : null;
    return {
      receivedBytes: this.#received, wireBytes: this.#wire,
      bytesPerS: oldest === undefined || this.#history.length < 2 ? 0 : Math.round((this.#received - oldest.bytes) * 1000 / elapsedMs),
      waiting: waiting?.what ?? null, untilMs: waiting?.untilMs ?? null,
    };
  }
}
