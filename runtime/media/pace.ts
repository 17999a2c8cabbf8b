/**
 * Lets a stream of pictures pass at most at a rate, whatever arrives: the generic cell rate algorithm (ITU-T I.371, annex A). A picture may be early by
 * one interval, so that a camera that delivers at that very rate, with jitter, loses none.
 */
export class Pace {
  readonly #intervalMs: number;
  #dueMs = -Infinity;

  /** @param fps undefined: everything passes */
  constructor(fps: number | undefined) {
    this.#intervalMs = fps === undefined ? 0 : 1000 / fps;
  }

  /** Whether a picture of this time passes; times must not decrease. */
  passes(nowMs: number): boolean {
    if (nowMs < this.#dueMs - this.#intervalMs) return false;
    this.#dueMs = Math.max(nowMs, this.#dueMs) + this.#intervalMs;
    return true;
  }
}
