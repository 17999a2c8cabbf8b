import type { Identity } from '../../stages/finding.js';
import type { Gallery } from '../../stages/types.js';
import { decide, isWorthIt, meanOf, remember } from './recognition.js';
import type { Memory, RecognitionSettings, Sample } from './recognition.js';

/** Whom faces are compared with, and what it takes. */
export interface Comparison {
  gallery: Gallery;
  space: string;
  threshold: number;
  settings: RecognitionSettings;
}

/** Who each track of a pipeline is. */
export class TrackRecognizer {
  readonly #comparison: Comparison;
  /** By number of the track; `askedMs`: when the gallery was last asked. */
  readonly #known = new Map<number, { memory: Memory; askedMs: number }>();

  constructor(comparison: Comparison) {
    this.#comparison = comparison;
  }

  /** Forgets all other tracks. */
  keep(tracks: ReadonlySet<number>): void {
    for (const track of this.#known.keys()) if (!tracks.has(track)) this.#known.delete(track);
  }

  /** Undefined for a track that was never embedded. The gallery is asked again when it is due: somebody may have been removed from it. */
  identityOf(track: number, nowMs: number): Identity | null | undefined {
    const known = this.#known.get(track);
    if (known !== undefined && nowMs - known.askedMs >= this.#comparison.settings.due_ms) this.#ask(track, known.memory, nowMs);
    return this.#known.get(track)?.memory.identity;
  }

  isWorthIt(track: number, sight: { quality: number; nowMs: number; found: boolean }): boolean {
    return isWorthIt(this.#known.get(track)?.memory, sight, this.#comparison.settings);
  }

  add(track: number, sample: Sample): void {
    const before = this.#known.get(track)?.memory;
    const memory = remember(before, sample, this.#comparison.settings);
    this.#ask(track, memory, sample.nowMs);
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
    this.#known.set(track, { memory: { ...memory, identity: decide(memory.identity, ranked, threshold, settings) }, askedMs: nowMs });
  }
}
