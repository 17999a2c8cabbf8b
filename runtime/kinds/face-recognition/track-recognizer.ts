import { stated } from '../../options.js';
import type { Identity, Liveness } from '../../stages/finding.js';
import type { Gallery } from '../../stages/types.js';
import { isLive, stepLiveness } from './liveness.js';
import type { LivenessSettings } from './liveness.js';
import { decide, isWorthIt, meanOf, remember } from './recognition.js';
import type { Memory, RecognitionSettings, Sample } from './recognition.js';

/** Whom faces are compared with, and what it takes. */
export interface Comparison {
  gallery: Gallery;
  space: string;
  threshold: number;
  settings: RecognitionSettings;
  /** Null: nobody asks whether a face is live. */
  liveness: LivenessSettings | null;
}

/** What is known of a track; `askedMs`: when the gallery was last asked. */
interface Known {
  recognized?: { memory: Memory; askedMs: number };
  /** `looks`: sights so far; `atMs`: of the last one. */
  liveness?: Liveness & { looks: number; atMs: number };
}

/** What a finding says of whom it shows. */
export interface Person {
  identity?: Identity | null;
  liveness?: Liveness;
}

/** Who each track of a pipeline is. */
export class TrackRecognizer {
  readonly #comparison: Comparison;
  /** By number of the track. */
  readonly #known = new Map<number, Known>();

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
  }

  /** Forgets all other tracks. */
  keep(tracks: ReadonlySet<number>): void {
    for (const track of this.#known.keys()) if (!tracks.has(track)) this.#known.delete(track);
  }

  /** Empty for a track that nobody looked at. The gallery is asked again when it is due: somebody may have been removed from it. */
  personOf(track: number, nowMs: number): Person {
    const { recognized, liveness } = this.#known.get(track) ?? {};
    if (liveness?.live === false) return person(null, liveness);
    if (recognized !== undefined && nowMs - recognized.askedMs >= this.#comparison.settings.due_ms) this.#ask(track, recognized.memory, nowMs);
    return person(this.#known.get(track)?.recognized?.memory.identity, liveness);
  }

  isWorthIt(track: number, sight: { quality: number; nowMs: number; found: boolean }): boolean {
    const { recognized, liveness } = this.#known.get(track) ?? {};
    const { settings } = this.#comparison;
    // No sight of a picture is better than another: it is looked at a few times, then when it is due.
    if (liveness?.live === false && !sight.found) return liveness.looks < settings.new_samples || sight.nowMs - liveness.atMs >= settings.due_ms;
    return isWorthIt(recognized?.memory, sight, settings);
  }

  /**
   * Adds how live a sight of the track looks.
   * @returns whether this sight may tell who it is. Only live ones do: with a mean alone, a picture that is shown beside a live face would for some
   * time be taken for somebody.
   */
  saw(track: number, score: number, nowMs: number): boolean {
    const { liveness: settings } = this.#comparison;
    if (settings === null) return true;
    const { recognized, liveness: before } = this.#known.get(track) ?? {};
    const liveness = { ...stepLiveness(before, score, settings), looks: (before?.looks ?? 0) + 1, atMs: nowMs };
    const counts = isLive(score, settings);
    this.#known.set(track, { liveness, ...(recognized === undefined || (!counts && !liveness.live) ? {} : { recognized }) });
    return counts;
  }

  add(track: number, sample: Sample): void {
    const before = this.#known.get(track)?.recognized?.memory;
    this.#ask(track, remember(before, sample, this.#comparison.settings), sample.nowMs);
  }

  /** One picture by itself. */
  identify(embedding: Float32Array): Identity | null {
    const { gallery, space, threshold, settings } = this.#comparison;
    return decide(null, gallery.nearest(embedding, space, 2), threshold, settings);
  }

  #ask(track: number, memory: Memory, nowMs: number): void {
    const { gallery, space, threshold, settings } = this.#comparison;
    const mean = meanOf(memory);
    const ranked = mean === null ? [] : gallery.nearest(mean, space, 2);
    const recognized = { memory: { ...memory, identity: decide(memory.identity, ranked, threshold, settings) }, askedMs: nowMs };
    this.#known.set(track, { ...this.#known.get(track), recognized });
  }
}

function person(identity: Identity | null | undefined, liveness: Liveness | undefined): Person {
  return stated({ identity, liveness: liveness && { score: liveness.score, live: liveness.live } });
}
