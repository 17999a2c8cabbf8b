/**
 * Holds the state of the deployments, and is the only place that changes it. One event at a time goes through the machine; the new state is
 * journalled, and only then are its effects handed on. While the journal cannot be written, events wait in order.
 */
import { stepOta, type OtaEffect, type OtaEvent, type OtaLimits } from './machine.js';
import type { PackageId } from '../ground/package.js';
import type { OtaOptions, OtaParts } from './parts.js';
import { initialOtaState, isBusy, type OtaState } from './state.js';
import { encodePointer, pointerOf, type Pointer } from './stored-state.js';
import type { Unwritten } from './unwritten.js';

export type DecisionParts = Pick<OtaParts, 'journal' | 'clock' | 'log' | 'onChange'> & {
  unwritten: Unwritten;
  /** Called after the state was journalled. @param moved whether the slots have changed */
  onDecided: (effects: readonly OtaEffect[], moved: boolean) => void;
};

interface Waiting {
  event: OtaEvent;
  done: () => void;
}

export class Decisions {
  readonly #parts: DecisionParts;
  readonly #options: Pick<OtaOptions, 'limits' | 'journalRetryMs'>;
  #state: OtaState = initialOtaState;
  /** How often the slots have changed, over all runs. */
  #sequence = 0;
  /** Events that wait, oldest first. The first one is being decided on. */
  readonly #queue: Waiting[] = [];
  #running = false;
  #factory: PackageId | null = null;
  #retry: NodeJS.Timeout | undefined;
  /** Functions to call after every event, which resolve the promises of `untilRest`. */
  readonly #atRest: (() => void)[] = [];

  constructor(parts: DecisionParts, options: Pick<OtaOptions, 'limits' | 'journalRetryMs'>) {
    this.#parts = parts;
    this.#options = options;
  }

  get state(): OtaState {
    return this.#state;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Whether no event waits. */
  get idle(): boolean {
    return this.#queue.length === 0;
  }

  get pointer(): Pointer {
    return pointerOf(this.#sequence, this.#state);
  }

  get limits(): OtaLimits {
    return { ...this.#options.limits, factory: this.#factory };
  }

  /** Begins with the state that was found on the disk. */
  start(state: OtaState, sequence: number, factory: PackageId | null): void {
    this.#factory = factory;
    this.#state = state;
    this.#sequence = sequence;
    this.#running = true;
  }

  /** Stops deciding. Events that wait are dropped; the journal then holds no more of them than after a power cut. */
  stop(): void {
    this.#running = false;
    clearTimeout(this.#retry);
    for (const { done } of this.#queue.splice(0)) done();
    for (const look of this.#atRest.splice(0)) look();
  }

  /** Resolves when the event has been journalled and its effects have been started. */
  dispatch(event: OtaEvent): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise((done) => {
      this.#queue.push({ event, done });
      if (this.#queue.length === 1) this.#drain();
    });
  }

  /** Replaces a waiting event of the same type, because only the newest of them counts. */
  dispatchNewest(event: OtaEvent): void {
    const waiting = this.#queue.findIndex((entry, i) => i > 0 && entry.event.type === event.type);
    if (waiting < 0) return void this.dispatch(event);
    this.#queue[waiting]?.done();
    this.#queue[waiting] = { event, done: () => undefined };
  }

  /** Resolves when no deployment is under way, or when this is stopped. */
  untilRest(): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isBusy(this.#state) || !this.#running) return resolve();
        this.#atRest.push(look);
      };
      look();
    });
  }

  #drain(): void {
    for (let next = this.#queue[0]; next !== undefined && this.#running; next = this.#queue[0]) {
      const { state, effects } = stepOta(this.#state, next.event, this.limits);
      // What is decided at a start is decided again at the next start. So a disk that takes nothing more does not keep the last model from running.
      if (!this.#save(state, next.event) && next.event.type !== 'booted') return;
      const moved = !samePointer(state, this.#state);
      this.#state = state;
      this.#parts.onDecided(effects, moved);
      this.#queue.shift();
      next.done();
      for (const look of this.#atRest.splice(0)) look();
    }
  }

  /** Saves the state. If that is not possible (a full disk), the event waits and is tried again; the running package goes on. */
  #save(state: OtaState, event: OtaEvent): boolean {
    if (state === this.#state) return true;
    const sequence = this.#sequence + (samePointer(state, this.#state) ? 0 : 1);
    try {
      this.#parts.journal.save(state, { event: event.type, timeMs: this.#parts.clock.nowMs(), sequence });
      this.#sequence = sequence;
      this.#parts.unwritten.written('journal');
      this.#parts.log.info('deployment', { phase: state.phase, event: event.type, version: state.candidate?.version, code: state.error?.code });
      queueMicrotask(() => this.#parts.onChange());
      return true;
    } catch (error) {
      this.#parts.unwritten.failed('journal', error);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#drain(), this.#options.journalRetryMs);
      return false;
    }
  }
}

function samePointer(a: OtaState, b: OtaState): boolean {
  return encodePointer(pointerOf(0, a)) === encodePointer(pointerOf(0, b));
}
