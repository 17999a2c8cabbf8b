import { setTimeout as sleep } from 'node:timers/promises';
import type { Frame, FrameSource } from '../frame.js';
import { releasePicture } from '../picture-memory.js';
import type { Decoded, Decoder, Tally } from './decoded.js';
import { Pace } from './pace.js';
import { newestOf, type DropOldestRing } from './ring.js';
import { TimeTable } from './timetable.js';

/** Frames waiting for a live consumer: one being processed, one fresh. More would only be older. */
const ringFrames = 2;

/** Every frame, when the consumer asks for it. */
export class PulledSource implements FrameSource {
  readonly #decoder: Decoder;
  readonly #signal: AbortSignal;
  readonly #tally: Tally = { dropped: 0, broken: 0 };

  constructor(decoder: Decoder, signal: AbortSignal = new AbortController().signal) {
    this.#decoder = decoder;
    this.#signal = signal;
  }

  get dropped(): number {
    return this.#tally.dropped;
  }

  get broken(): number {
    return this.#tally.broken;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void, undefined> {
    let sequence = 0;
    for await (const image of this.#decoder(this.#signal, this.#tally)) {
      yield toFrame(image, sequence, { capturedMs: performance.now(), mediaMs: (sequence * 1000) / image.fps });
      sequence++;
      if (this.#signal.aborted) return;
    }
  }
}

export interface LiveOptions {
  /** Delivers on its own time; otherwise a recording is played by its time-table. */
  camera: boolean;
  /** A camera that is faster is held to this rate. */
  fps: number | undefined;
  signal: AbortSignal | undefined;
}

/** Frames at the pace of a camera or of a played file; a slow consumer gets the newest ones. */
export class LiveSource implements FrameSource {
  readonly #decoder: Decoder;
  readonly #options: LiveOptions;
  readonly #tally: Tally = { dropped: 0, broken: 0 };
  /** Dropped by the rings of all iterations, and by the pace. */
  #dropped = 0;

  constructor(decoder: Decoder, options: LiveOptions) {
    this.#decoder = decoder;
    this.#options = options;
  }

  get dropped(): number {
    return this.#dropped + this.#tally.dropped;
  }

  get broken(): number {
    return this.#tally.broken;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void, undefined> {
    const before = this.#dropped;
    yield* newestOf<Frame>(ringFrames, {
      produce: (ring, signal) => this.#pump(ring, signal),
      signal: this.#options.signal,
      onDropped: (count) => { this.#dropped = before + count; },
    });
  }

  async #pump(ring: DropOldestRing<Frame>, signal: AbortSignal): Promise<void> {
    const { camera } = this.#options;
    const pace = new Pace(camera ? this.#options.fps : undefined);
    const table = new TimeTable();
    const lostBefore = this.#tally.dropped;
    let delivered = 0;
    for await (const image of this.#decoder(signal, this.#tally)) {
      const now = performance.now();
      const sequence = delivered++ + this.#tally.dropped - lostBefore;
      const mediaMs = (sequence * 1000) / image.fps;
      // A camera's picture was due when it came; a played file has a time-table, and being late for it is latency.
      const due = camera ? image.arrivedMs ?? now : table.due(mediaMs, 1000 / image.fps, now);
      if (due === null || !pace.passes(due)) {
        ring.dropped++;
        releasePicture(image);
        continue;
      }
      if (due > now) await sleep(due - now, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      const dropped = ring.push(toFrame(image, sequence, { capturedMs: due, ...(camera ? {} : { mediaMs }) }));
      if (dropped !== undefined) releasePicture(dropped);
    }
  }
}

function toFrame({ width, height, data, decodeMs, still }: Decoded, sequence: number, times: Pick<Frame, 'capturedMs' | 'mediaMs'>): Frame {
  return { width, height, data, sequence, ...times, ...(decodeMs === undefined ? {} : { decodeMs }), ...(still === undefined ? {} : { still }) };
}
