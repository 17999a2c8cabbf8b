/** When the frames of a recording that is played are due, and which of them come too late to be shown. */

/** A frame may be late by so many of its periods, and by at least so many milliseconds: timers and a busy moment are no reason to lose frames. */
const patiencePeriods = 2;
const patienceMs = 100;
/** If leaving out frames has not led back to the present within this time, the recording is played more slowly instead. */
const catchUpMs = 1000;

/**
 * The time-table of a recording that is played as a camera would deliver it. Frames that are too late are left out, since work on them would only delay
 * those that follow. A decoder that is slower than the recording never catches up, so that nothing would ever be shown: then the time-table is
 * moved to the present, and moved again with each frame that is too late, until a frame is early for once.
 */
export class TimeTable {
  #startMs: number | undefined;
  /** When the first of the frames came that were left out in a row. */
  #behindSinceMs: number | undefined;
  #slow = false;

  /**
   * When the frame that lies at `mediaMs` of the recording is due, on the clock of `nowMs`; null: it is too late, and is left out.
   * @param periodMs time from one frame to the next
   */
  due(mediaMs: number, periodMs: number, nowMs: number): number | null {
    this.#startMs ??= nowMs - mediaMs;
    const dueMs = this.#startMs + mediaMs;
    const lateMs = nowMs - dueMs;
    if (lateMs < 0) this.#slow = false;
    if (lateMs <= Math.max(patienceMs, patiencePeriods * periodMs)) {
      this.#behindSinceMs = undefined;
      return dueMs;
    }
    this.#behindSinceMs ??= nowMs;
    if (!this.#slow && nowMs - this.#behindSinceMs < catchUpMs) return null;
    this.#slow = true;
    this.#behindSinceMs = undefined;
    this.#startMs = nowMs - mediaMs;
    return nowMs;
  }
}
