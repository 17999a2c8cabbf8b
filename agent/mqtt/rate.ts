/** Bounds on what the broker may ask of this device in a second. Pure: takes the time, keeps two numbers. */

export interface RateLimit {
  perSecond: number;
  burst: number;
}

/** A token bucket (RFC 2697's committed rate and burst). Refused calls cost nothing. */
export class Rate {
  readonly #limit: RateLimit;
  #tokens: number;
  #atMs = -Infinity;

  constructor(limit: RateLimit) {
    this.#limit = limit;
    this.#tokens = limit.burst;
  }

  /** @param nowMs monotonic */
  take(nowMs: number): boolean {
    const { perSecond, burst } = this.#limit;
    if (this.#atMs !== -Infinity) this.#tokens = Math.min(burst, this.#tokens + Math.max(0, nowMs - this.#atMs) * perSecond / 1000);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
