/**
 * Finds troubles of a camera that goes on delivering: pictures of another size, and damaged ones. Each is a warning, which is cleared when the stream
 * has been in order for a while.
 */
import type { Frame } from '../../runtime/frame.js';
import type { FaultPort } from '../ground/faults.js';
import type { Clock } from '../platform/clock.js';
import type { PipelineCounters } from '../ground/counters.js';

/** A trouble is over when the stream has been in order for this long. Milliseconds. */
const CALM_MS = 10_000;

type StreamCode = 'E_CAMERA_SIZE' | 'E_CAMERA_FRAMES';

export class StreamFaults {
  readonly #parts: { faults: FaultPort; counters: PipelineCounters; clock: Clock };
  #size: { width: number; height: number } | null = null;
  /** Number of damaged frames of the present source that were counted already. */
  #broken = 0;
  readonly #raisedMs = new Map<StreamCode, number>();

  constructor(parts: { faults: FaultPort; counters: PipelineCounters; clock: Clock }) {
    this.#parts = parts;
  }

  /** @param broken damaged frames of this source so far; it begins at 0 when the source is opened again */
  note({ width, height }: Pick<Frame, 'width' | 'height'>, broken: number): void {
    const { counters } = this.#parts;
    const before = this.#size;
    if (before === null || before.width !== width || before.height !== height) {
      this.#size = { width, height };
      if (before !== null) this.#raise('E_CAMERA_SIZE', `The camera changed from ${before.width} x ${before.height} to ${width} x ${height} pixels; the pipeline goes on`);
    }
    const more = broken < this.#broken ? broken : broken - this.#broken;
    this.#broken = broken;
    if (more > 0) {
      counters.add('frames_broken_total', more);
      this.#raise('E_CAMERA_FRAMES', 'The camera delivers damaged pictures; they are left out or shown with faults. Check the cable, the network and the bit rate of the camera');
    }
    this.#clearCalm();
  }

  #raise(code: StreamCode, message: string): void {
    this.#raisedMs.set(code, this.#parts.clock.monotonicMs());
    this.#parts.faults.raise('camera', { code, message }, 'warning');
  }

  #clearCalm(): void {
    for (const [code, atMs] of this.#raisedMs) {
      if (this.#parts.clock.monotonicMs() - atMs < CALM_MS) continue;
      this.#raisedMs.delete(code);
      this.#parts.faults.clear('camera', code);
    }
  }
}
