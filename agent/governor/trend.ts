/** Temperature now, how fast it changes, and when it will reach a limit. Pure. */

export interface Sample {
  readonly atMs: number;
  readonly celsius: number;
}

/** The samples of the last so many milliseconds tell the slope: at 2 s between two, noise of half a degree moves it by 1 degree a minute. */
const WINDOW_MS = 30_000;
/** Fewer say nothing about a slope. */
const FEWEST = 4;

export interface Trend {
  /** Fitted to the newest sample's time, degrees Celsius. */
  readonly celsius: number;
  /** Degrees a second; null before there are enough samples. */
  readonly slope: number | null;
}

/** The samples with a new one. Times must grow; one that does not is left out. */
export function withSample(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const last = samples.at(-1);
  if (last !== undefined && sample.atMs <= last.atMs) return samples;
  return [...samples.filter(({ atMs }) => sample.atMs - atMs < WINDOW_MS), sample];
}

/** Least squares over the samples; null without any. */
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

/** Seconds until the temperature is reached if the trend goes on; 0 when it is reached, null when it does not rise. */
export function secondsTo(limit: number, { celsius, slope }: Trend): number | null {
  if (celsius >= limit) return 0;
  return slope === null || slope <= 0 ? null : (limit - celsius) / slope;
}
