/** The last seconds of the sound that the serving package hears, for a candidate that is asked now and then and has to hear enough to decide. */
import type { AudioChunk } from '../../runtime/frame.js';

/** What a candidate hears each time: the windows of usual models with their smoothing take one to two seconds. Milliseconds. */
const STRETCH_MS = 3000;
/** A stretch in so many of these is given to the candidate. Milliseconds. */
const HOP_MS = 1000;

export class SoundStretch {
  #chunks: AudioChunk[] = [];
  #heldMs = 0;
  /** Sound since the last stretch that was due. */
  #sinceMs = 0;

  /** @returns whether a stretch is due, so that one in `every` hops is taken. A gap in the sound begins a new stretch. */
  add(chunk: AudioChunk, every: number): boolean {
    const last = this.#chunks.at(-1);
    if (last !== undefined && (chunk.sequence !== last.sequence + 1 || chunk.rate !== last.rate)) this.#clear();
    this.#chunks.push(chunk);
    this.#heldMs += durationMs(chunk);
    this.#sinceMs += durationMs(chunk);
    for (let first = this.#chunks[0]; first !== undefined && this.#heldMs - durationMs(first) >= STRETCH_MS; first = this.#chunks[0]) {
      this.#chunks.shift();
      this.#heldMs -= durationMs(first);
    }
    if (this.#heldMs < STRETCH_MS || this.#sinceMs < HOP_MS * every) return false;
    this.#sinceMs = 0;
    return true;
  }

  /** The stretch as one piece of sound, which ends with the chunk that was added last. */
  take(): AudioChunk {
    const [first] = this.#chunks;
    if (first === undefined) throw new RangeError('expected a chunk before a stretch');
    const samples = new Float32Array(this.#chunks.reduce((sum, chunk) => sum + chunk.samples.length, 0));
    let at = 0;
    for (const chunk of this.#chunks) {
      samples.set(chunk.samples, at);
      at += chunk.samples.length;
    }
    return { ...first, samples };
  }

  #clear(): void {
    this.#chunks = [];
    this.#heldMs = 0;
  }
}

function durationMs({ samples, rate }: AudioChunk): number {
  return (1000 * samples.length) / rate;
}
