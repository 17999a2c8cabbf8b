import type { Clock } from '../platform/clock.js';

/**
 * The time by which expiry is judged. It is the clock, but never earlier than the latest signed time plus the time that has passed since then. So
 * nobody gains more by setting the clock back (an empty battery, a hostile time server). No reading of the clock is ever stored, so a clock that ran
 * ahead does no lasting harm.
 */
export class TrustedTime {
  readonly #clock: Clock;
  #floorMs = 0;
  #floorAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#floorAtMs = clock.monotonicMs();
  }

  now(): number {
    return Math.max(this.#clock.nowMs(), this.#lowest());
  }

  /** Takes a time that a trusted key has signed. The present cannot be earlier than that. */
  raise(signedMs: number): void {
    if (signedMs <= this.#lowest()) return;
    this.#floorMs = signedMs;
    this.#floorAtMs = this.#clock.monotonicMs();
  }

  /** Whether the clock is behind what was signed. The clock is not used then. */
  get clockIsBehind(): boolean {
    return this.#clock.nowMs() < this.#lowest();
  }

  #lowest(): number {
    return this.#floorMs === 0 ? 0 : this.#floorMs + Math.max(0, this.#clock.monotonicMs() - this.#floorAtMs);
  }
}
