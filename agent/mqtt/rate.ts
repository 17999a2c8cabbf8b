/** Bounds on what the broker may ask of this device in a second. Pure: the caller gives the time. */

export interface RateLimit {
  perSecond: number;
  burst: number;
}

/** A token bucket (the committed rate and burst of RFC 2697). Refused calls take no tokens. */
export class Rate {
  readonly #limit: RateLimit;
  #tokens: number;
  #atMs = -Infinity;

  constructor(limit: RateLimit) {
    this.#limit = limit;
    this.#tokens = limit.burst;
  }

  /** Takes a token if there is one. @param nowMs monotonic @returns whether there was one */
  take(nowMs: number): boolean {
    const { perSecond, burst } = this.#limit;
    if (this.#atMs !== -Infinity) this.#tokens = Math.min(burst, this.#tokens + Math.max(0, nowMs - this.#atMs) * perSecond / 1000);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
