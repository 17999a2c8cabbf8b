import type { SignalProblem } from '../stages/types.js';

/** What one chunk of sound is like. */
export interface Levels {
  /** Root mean square without the offset, decibels below full scale; -120 for silence. */
  levelDb: number;
  offset: number;
  /** Share of the samples at full scale. */
  clipped: number;
  /** Every sample is exactly 0. */
  zero: boolean;
  /** Samples that are NaN or infinite; they count as 0. */
  notFinite: number;
}

const fullScale = 0.999;
const leastPower = 1e-12;

export function levelsOf(samples: Float32Array): Levels {
  let [sum, squares, clipped, zeros, notFinite] = [0, 0, 0, 0, 0];
  for (let i = 0; i < samples.length; i++) {
    const value = samples[i] ?? 0;
    if (!Number.isFinite(value)) {
      notFinite++;
      continue;
    }
    sum += value;
    squares += value * value;
    if (value >= fullScale || value <= -fullScale) clipped++;
    if (value === 0) zeros++;
  }
  const count = Math.max(1, samples.length);
  const offset = sum / count;
  const power = Math.max(0, squares / count - offset * offset);
  return { levelDb: 10 * Math.log10(power + leastPower), offset, clipped: clipped / count, zero: zeros === samples.length, notFinite };
}

/** How long a defect of the signal must last before it is told, and how long it must be gone, milliseconds. */
const raiseMs: Readonly<Record<SignalProblem, number>> = { E_SOUND_CLIPPED: 500, E_SOUND_OFFSET: 2000, E_SOUND_SILENT: 5000, E_SOUND_INVALID: 0 };
const clearMs = 3000;

interface Watched {
  /** Since when it has been there, or gone, without a break. */
  sinceMs: number;
  there: boolean;
  raised: boolean;
}

/** Which defects a signal has, with hysteresis in time: one clap at full scale is no defect. */
export class SignalWatch {
  readonly #watched = new Map<SignalProblem, Watched>();

  /** @param untilMs when the chunk ends, in the time of the samples */
  step(levels: Levels, untilMs: number, durationMs: number): SignalProblem[] {
    const found: Readonly<Record<SignalProblem, boolean>> = {
      E_SOUND_CLIPPED: levels.clipped > 0.01, E_SOUND_OFFSET: Math.abs(levels.offset) > 0.1, E_SOUND_SILENT: levels.zero, E_SOUND_INVALID: levels.notFinite > 0,
    };
    return (Object.keys(found) as SignalProblem[]).filter((problem) => {
      const known = this.#watched.get(problem) ?? { sinceMs: untilMs - durationMs, there: false, raised: false };
      const there = found[problem];
      const sinceMs = there === known.there ? known.sinceMs : untilMs - durationMs;
      const lasted = untilMs - sinceMs;
      const raised = there ? known.raised || lasted >= raiseMs[problem] : known.raised && lasted < clearMs;
      this.#watched.set(problem, { sinceMs, there, raised });
      return raised;
    });
  }
}
