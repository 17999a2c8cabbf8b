/** Lets a candidate that listens hear a stretch of sound, chunk by chunk, and tells what it hears at the end. */
import type { AudioChunk } from '../../runtime/frame.js';
import type { Finding, Pipeline } from '../../runtime/stages/types.js';

/** A recording that is read as fast as it is processed is captured in the future: it cannot be late. */
const NEVER_LATE_MS = Number.MAX_SAFE_INTEGER;

export class StretchListener {
  readonly #pipeline: Pipeline;
  #sequence = 0;

  constructor(pipeline: Pipeline) {
    this.#pipeline = pipeline;
  }

  /** @returns what is heard in the last chunk, and the number of chunks. @throws RuntimeError E_INPUT for sound of another rate */
  async hear(stretch: AudioChunk): Promise<{ findings: readonly Finding[]; chunks: number }> {
    const step = this.#pipeline.sound?.step ?? stretch.samples.length;
    const chunks = Math.max(1, Math.floor(stretch.samples.length / step));
    const start = Math.max(0, stretch.samples.length - chunks * step);
    let findings: readonly Finding[] = [];
    this.#sequence += 1; // A gap before each stretch: what was heard before has nothing to do with it.
    for (let i = 0; i < chunks; i++) {
      const samples = stretch.samples.slice(start + i * step, start + (i + 1) * step);
      const mediaMs = (1000 * (start + i * step)) / stretch.rate;
      ({ findings } = await this.#pipeline.process({ sequence: this.#sequence, capturedMs: NEVER_LATE_MS, mediaMs, rate: stretch.rate, samples }));
      this.#sequence += 1;
    }
    return { findings, chunks };
  }
}
