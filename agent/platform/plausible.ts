/**
 * Decides whether a reading of a sensor can be believed. Sensors give wrong values: a counter begins anew, a bus answers with all ones, a driver
 * keeps its last value for ever. A value that cannot be true is neither used nor replaced by zero; it is counted with one of these reasons.
 */
export const invalidReasons = {
  unreadable: 'it was readable before, and cannot be read or is no number',
  out_of_range: 'the value is outside of what the thing can be',
  reset: 'a counter began anew, so what it counted in between is unknown',
  stuck: 'the raw value has not changed for a long time, although the load did',
} as const;
export type InvalidReason = keyof typeof invalidReasons;

/** For processors and boards, degrees Celsius. -55 is the lower end of the military temperature range, and no part of ours works above 150. */
export function plausibleCelsius(celsius: number): boolean {
  return celsius >= -55 && celsius <= 150;
}

/** For clocks of processors. The highest clock ever reached is 9.1 GHz; drivers say 0 when they do not know the clock. */
export function plausibleHertz(hertz: number): boolean {
  return hertz > 0 && hertz <= 10e9;
}

/** Upper bounds of power for each source, watts: what the largest machine of the kind can draw, and some more. */
export const MAX_WATTS: Record<string, number> = { rapl: 1500, ina: 500, battery: 300, rpi5_pmic: 50 };

const STUCK_MS = 600_000;
/**
 * Change in the load of one core, between its least and its most busy moment. Under a load that changes less, a constant value says nothing about the
 * sensor.
 */
const LOAD_CHANGE = 0.5;

/**
 * Finds values that no longer change. Sensors with coarse steps repeat their values under a steady load. So a value counts as stuck only when the raw
 * value was the same for ten minutes, while the CPU time of this process changed by half a core in between.
 */
export class StuckDetector {
  readonly #cpuSeconds: () => number;
  #raw: string | null = null;
  #sinceMs = 0;
  #last: { atMs: number; cpuSeconds: number } | null = null;
  #load = { least: Infinity, most: -Infinity };

  constructor(cpuSeconds: () => number = ownCpuSeconds) {
    this.#cpuSeconds = cpuSeconds;
  }

  /** Adds a reading. @param nowMs monotonic @returns whether the sensor is stuck */
  isStuck(raw: string, nowMs: number): boolean {
    const cpuSeconds = this.#cpuSeconds();
    const gapMs = this.#last === null ? 0 : nowMs - this.#last.atMs;
    const load = this.#last === null || gapMs <= 0 ? null : ((cpuSeconds - this.#last.cpuSeconds) / gapMs) * 1000;
    this.#last = { atMs: nowMs, cpuSeconds };
    if (raw !== this.#raw) {
      this.#raw = raw;
      this.#sinceMs = nowMs;
      this.#load = { least: Infinity, most: -Infinity };
      return false;
    }
    if (load !== null) this.#load = { least: Math.min(this.#load.least, load), most: Math.max(this.#load.most, load) };
    return nowMs - this.#sinceMs >= STUCK_MS && this.#load.most - this.#load.least >= LOAD_CHANGE;
  }
}

function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
