/** When samples of a live stream were captured, by how many of them have come: their arrival is late by whatever buffers and the network take. */
import type { ClockEstimate } from '../frame.js';

/** Windows over which the least delay is taken, and how many are kept for the drift. */
const windowMs = 2000;
const keptWindows = 60;
/** Before so much time has passed, a drift cannot be told from the jitter. */
const leastSpanMs = 10_000;

interface Least {
  atMs: number;
  offsetMs: number;
}

/**
 * The clock of a capture device beside that of the system. A sample cannot arrive before it was captured, so the least delays of every two seconds
 * lie on the line of the true offset: its slope is the drift, and what is above it is jitter.
 */
export class CaptureClock {
  readonly #rate: number;
  readonly #least: Least[] = [];
  #samples = 0;
  #jitterMs = 0;

  constructor(rate: number) {
    this.#rate = rate;
  }

  /**
   * Counts samples that have just arrived.
   * @returns when the first of them was captured, as far as is known
   */
  arrived(samples: number, nowMs: number): number {
    const fromMs = (this.#samples * 1000) / this.#rate;
    this.#samples += samples;
    const offsetMs = nowMs - (this.#samples * 1000) / this.#rate;
    const open = this.#least.at(-1);
    if (open === undefined || nowMs - open.atMs >= windowMs) this.#least.push({ atMs: nowMs, offsetMs });
    else open.offsetMs = Math.min(open.offsetMs, offsetMs);
    if (this.#least.length > keptWindows) this.#least.shift();
    // Of this window and the one before: a window that has just begun knows little.
    const [before, newest] = this.#least.slice(-2);
    const line = Math.min(before?.offsetMs ?? offsetMs, newest?.offsetMs ?? offsetMs);
    this.#jitterMs += (Math.abs(offsetMs - line) - this.#jitterMs) / 16;
    return fromMs + line;
  }

  /** How much faster the samples come than their rate says, in millionths, and the mean delay above the least; null while that cannot be told. */
  get estimate(): ClockEstimate | null {
    const [first] = this.#least;
    // The open window is not settled yet.
    const points = this.#least.slice(0, -1);
    const last = points.at(-1);
    if (first === undefined || last === undefined || last.atMs - first.atMs < leastSpanMs) return null;
    return { driftPpm: Math.round(-slope(points) * 1e6), jitterMs: this.#jitterMs };
  }
}

/** Of the straight line through the points, by least squares. */
function slope(points: readonly Least[]): number {
  const mean = (value: (point: Least) => number): number => points.reduce((sum, point) => sum + value(point), 0) / points.length;
  const [x, y] = [mean((point) => point.atMs), mean((point) => point.offsetMs)];
  const squares = points.reduce((sum, point) => sum + (point.atMs - x) ** 2, 0);
  return squares === 0 ? 0 : points.reduce((sum, point) => sum + (point.atMs - x) * (point.offsetMs - y), 0) / squares;
}
