/**
 * Holds the running pipeline. Frames are processed one at a time. An exchange replaces the reference between two of them, and the old pipeline is
 * closed when the frame that it still works on is done. No frame is refused, queued or skipped for an exchange; the telemetry counter of frames
 * dropped by a swap shows it.
 */
import type { Running } from '../ground/frames.js';
import type { Slot } from '../ground/package.js';
import type { Model } from '../ground/runtime.js';

export class PipelineSlot {
  #running: Running | null = null;
  #users = new Map<Running, number>();
  #idle = new Map<Running, () => void>();
  #swaps = 0;

  get running(): Running | null {
    return this.#running;
  }

  /** Number of exchanges so far, without the first package. */
  get swaps(): number {
    return this.#swaps;
  }

  /** Calls `work` with the running pipeline, which stays open until `work` is done. Null when no pipeline runs. */
  async use<T>(work: (running: Running) => Promise<T>): Promise<T | null> {
    const running = this.#running;
    if (running === null) return null;
    this.#users.set(running, (this.#users.get(running) ?? 0) + 1);
    try {
      return await work(running);
    } finally {
      const left = (this.#users.get(running) ?? 1) - 1;
      if (left > 0) this.#users.set(running, left);
      else {
        this.#users.delete(running);
        this.#idle.get(running)?.();
      }
    }
  }

  /** Puts a model, or none, in place. Resolves when the old one is closed. */
  async exchange(model: Model | null, slot: Slot | null): Promise<void> {
    const old = this.#running;
    this.#running = model === null || slot === null ? null : { model, slot, frames: 0 };
    if (old === null) return;
    if (this.#running !== null) this.#swaps += 1;
    if (this.#users.has(old)) await new Promise<void>((resolve) => this.#idle.set(old, resolve));
    this.#idle.delete(old);
    await old.model.pipeline.close();
  }
}
