import type { SoundEvent } from '../stages/finding.js';

/** A class of sound: which outputs of the model mean it, and when it counts as heard. */
export interface SoundClass {
  label: string;
  /** Indices of the scores; the highest of them counts. */
  members: readonly number[];
  /** It begins when its smoothed score reaches `on`, and ends when it falls below `off`. */
  on: number;
  off: number;
  /** It is told when it has lasted so long. */
  min_ms: number;
}

export interface DecisionSettings {
  classes: readonly SoundClass[];
  /** Scores are averaged over so many windows. */
  smoothing_windows: number;
  /** A gap of up to so long does not end an event. */
  release_ms: number;
}

interface Track {
  onsetMs: number;
  lastMs: number;
  best: number;
}

/** Scores of windows become events with an onset, a duration and a confidence. */
export class SoundDecisions {
  readonly #settings: DecisionSettings;
  /** Scores of the newest windows by class, a ring; silence is 0. */
  readonly #history: Float32Array[];
  readonly #smoothed: Float32Array;
  readonly #tracks = new Map<number, Track>();
  #windows = 0;
  #newestEvents: SoundEvent[] = [];

  constructor(settings: DecisionSettings) {
    this.#settings = settings;
    this.#history = Array.from({ length: settings.smoothing_windows }, () => new Float32Array(settings.classes.length));
    this.#smoothed = new Float32Array(settings.classes.length);
  }

  /** Whether an event is under way, told or not yet. */
  get busy(): boolean {
    return this.#tracks.size > 0;
  }

  /** The classes with the highest smoothed scores. */
  best(count: number): { label: string; score: number }[] {
    return this.#settings.classes.map(({ label }, i) => ({ label, score: clamp(this.#smoothed[i] ?? 0) }))
      .sort((a, b) => b.score - a.score).slice(0, count);
  }

  /**
   * One window.
   * @param scores of the model; null for silence, in which nothing is heard
   * @param newest the chunk that it ends with, in the time of the samples
   */
  step(scores: ArrayLike<number> | null, newest: { fromMs: number; untilMs: number }): SoundEvent[] {
    const { classes, smoothing_windows: windows } = this.#settings;
    const row = this.#history[this.#windows++ % windows];
    classes.forEach(({ members }, i) => {
      if (row !== undefined) row[i] = scores === null ? 0 : members.reduce((most, member) => Math.max(most, clamp(scores[member] ?? 0)), 0);
      // In single precision, so that the average of equal scores is that score.
      this.#smoothed[i] = this.#history.reduce((sum, past) => sum + (past[i] ?? 0), 0) / windows;
      this.#follow(i, newest);
    });
    this.#newestEvents = this.#eventsUntil(newest.untilMs);
    return this.#newestEvents;
  }

  /** As the newest window left them. */
  get events(): SoundEvent[] {
    return this.#newestEvents;
  }

  #follow(index: number, { fromMs, untilMs }: { fromMs: number; untilMs: number }): void {
    const { classes, release_ms: release } = this.#settings;
    const { on, off } = classes[index] ?? { on: 1, off: 1 };
    const score = this.#smoothed[index] ?? 0;
    const track = this.#tracks.get(index);
    if (track === undefined) {
      if (score >= on) this.#tracks.set(index, { onsetMs: fromMs, lastMs: untilMs, best: score });
    } else if (score >= off) {
      track.lastMs = untilMs;
      track.best = Math.max(track.best, score);
    } else if (untilMs - track.lastMs > release) {
      this.#tracks.delete(index);
    }
  }

  #eventsUntil(untilMs: number): SoundEvent[] {
    return [...this.#tracks].flatMap(([index, { onsetMs, lastMs, best }]) => {
      const { label, min_ms: least } = this.#settings.classes[index] ?? { label: '', min_ms: 0 };
      return untilMs - onsetMs < least ? [] : [{ type: 'sound' as const, label, score: clamp(best), onsetMs, durationMs: lastMs - onsetMs }];
    });
  }

  /** After samples were lost: what was under way has ended. */
  reset(): void {
    this.#tracks.clear();
    this.#newestEvents = [];
    for (const row of this.#history) row.fill(0);
    this.#smoothed.fill(0);
  }
}

/** NaN is nothing heard. */
function clamp(score: number): number {
  return score > 0 ? Math.min(1, score) : 0;
}
