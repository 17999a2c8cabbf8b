/** The present temperature, how fast it changes, and when it will reach a limit. Pure. */

export interface Sample {
  readonly atMs: number;
  readonly celsius: number;
}

/**
 * The slope is computed from the samples of this time, milliseconds. With samples every 2 s, noise of half a degree changes the slope by 1 degree a
 * minute.
 */
const WINDOW_MS = 30_000;
/** Fewer samples than this give no slope. */
const FEWEST = 4;

export interface Trend {
  /** The fitted line's value at the time of the newest sample, degrees Celsius. */
  readonly celsius: number;
  /** Degrees Celsius a second; null before there are enough samples. */
  readonly slope: number | null;
}

/** Adds a sample. Times must grow: a sample that is not later than the newest one is left out. */
export function withSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const last = samples.at(-1);
  if (last !== undefined && sample.atMs <= last.atMs) return samples;
  return [...samples.filter(({ atMs }) => sample.atMs - atMs < WINDOW_MS), sample];
}

/** Fits a line by least squares; null when there are no samples. */
export function trendOf(samples: readonly Sample[]): Trend | null {
  const last = samples.at(-1);
  if (last === undefined) return null;
  if (samples.length < FEWEST) return { celsius: last.celsius, slope: null };
  const n = samples.length;
  const seconds = samples.map(({ atMs }) => (atMs - last.atMs) / 1000);
  const meanTime = seconds.reduce((sum, t) => sum + t, 0) / n;
  const meanCelsius = samples.reduce((sum, { celsius }) => sum + celsius, 0) / n;
  const spread = seconds.reduce((sum, t) => sum + (t - meanTime) ** 2, 0);
  const slope = samples.reduce((sum, { celsius }, i) => sum + ((seconds[i] ?? 0) - meanTime) * (celsius - meanCelsius), 0) / spread;
  return { celsius: meanCelsius - slope * meanTime, slope };
}

/**
 * Seconds until the temperature reaches the limit if the trend goes on; 0 when it has reached it already, null when the temperature does not rise.
 */
export function secondsTo(limit: number, { celsius, slope }: Trend): number | null {
  if (celsius >= limit) return 0;
  return slope === null || slope <= 0 ? null : (limit - celsius) / slope;
}
