/** Gives pipelines their turns on the engine: it adds a clock and promises to the pure `fair-share.ts`. All pipelines of a daemon share one. */
import { availableParallelism } from 'node:os';
import type { Clock } from '../platform/clock.js';
import { emptyShare, stepShare, type FairEvent, type FairOptions, type FairState } from './fair-share.js';

/** A turn that was given. `done` ends it, and may be called twice. */
export interface Turn {
  done(): void;
}

/** The interface through which a pipeline asks for its turn before it processes a frame. */
export interface Turns {
  /** Waits until this pipeline may process a frame; null when the signal comes first. */
  take(pipeline: string, signal: AbortSignal): Promise<Turn | null>;
}

/** Ten times what a slow device needs for a frame, milliseconds. A pipeline that takes longer hangs, or cannot be scheduled in a useful way. */
const OVERDUE_MS = 2000;

/**
 * Number of frames that this machine can process at the same time without slowing each other down: as many as there are groups of cores, one group
 * for a pipeline's threads.
 */
export function slotsFor(threads: readonly number[], cores = availableParallelism()): number {
  return Math.max(1, Math.floor(cores / Math.max(1, ...threads)));
}

export class EngineTurns implements Turns {
  readonly #clock: Clock;
  readonly #options: FairOptions;
  readonly #waiting = new Map<string, (turn: Turn | null) => void>();
  #state: FairState = emptyShare;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Immediate | undefined;

  constructor(clock: Clock, { slots, overdueMs = OVERDUE_MS }: { slots: number; overdueMs?: number }) {
    this.#clock = clock;
    this.#options = { slots, overdueMs };
  }

  take(pipeline: string, signal: AbortSignal): Promise<Turn | null> {
    if (signal.aborted) return Promise.resolve(null);
    return new Promise((resolve) => {
      const leave = (): void => {
        this.#waiting.delete(pipeline);
        this.#step({ type: 'done', client: pipeline, atMs: this.#clock.monotonicMs() });
        resolve(null);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.set(pipeline, (turn) => {
        signal.removeEventListener('abort', leave);
        resolve(turn);
      });
      this.#step({ type: 'ask', client: pipeline, atMs: this.#clock.monotonicMs() });
    });
  }

  #step(event: FairEvent): void {
    const { state, granted, wakeMs } = stepShare(this.#state, event, this.#options);
    this.#state = state;
    for (const name of granted) {
      const give = this.#waiting.get(name);
      this.#waiting.delete(name);
      give?.(this.#turn(name));
    }
    this.#wake(wakeMs);
  }

  #wake(atMs: number | null): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#soon);
    if (atMs === null) return;
    const tick = (): void => this.#step({ type: 'tick', atMs: this.#clock.monotonicMs() });
    const waitMs = atMs - this.#clock.monotonicMs();
    if (waitMs <= 0) this.#soon = setImmediate(tick);
    else if (waitMs < Infinity) this.#timer = setTimeout(tick, waitMs).unref();
  }

  #turn(name: string): Turn {
    let over = false;
    return {
      done: () => {
        if (over) return;
        over = true;
        this.#step({ type: 'done', client: name, atMs: this.#clock.monotonicMs() });
      },
    };
  }
}
