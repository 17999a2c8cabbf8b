import type { Clock } from '../platform/clock.js';

/**
 * The time by which expiry is judged: the clock, but never earlier than the latest signed time plus what has passed since. Setting the clock back
 * (a battery that is empty, a hostile time server) gains nothing beyond that. Nothing of the clock is ever stored, so one that ran ahead does no lasting harm.
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

  /** A time that was signed by a trusted key: it is at least that late. */
  raise(signedMs: number): void {
    if (signedMs <= this.#lowest()) return;
    this.#floorMs = signedMs;
    this.#floorAtMs = this.#clock.monotonicMs();
  }

  /** Whether the clock is behind what was signed: it is not used then. */
  get clockIsBehind(): boolean {
    return this.#clock.nowMs() < this.#lowest();
  }

  #lowest(): number {
    return this.#floorMs === 0 ? 0 : this.#floorMs + Math.max(0, this.#clock.monotonicMs() - this.#floorAtMs);
  }
}
