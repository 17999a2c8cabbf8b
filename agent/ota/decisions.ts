/**
 * Holds the state of the deployments, and is the only place that changes it. One event at a time goes through the machine; the new state is
 * journalled, and only then are its effects handed on. While the journal cannot be written, events wait in order, except those whose decision is made
 * again after a kill.
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

/**
 * What follows from these is decided again by the next start, from the state on the disk: at a start, and when the running package fails. So a disk that
 * takes nothing keeps no device on a package that fails, or without one. Until the state is saved, no file that the disk's state names is deleted.
 */
const WITHOUT_JOURNAL: ReadonlySet<OtaEvent['type']> = new Set(['booted', 'active_failed']);

interface Waiting {
  event: OtaEvent;
  done: () => void;
}

export class Decisions {
  readonly #parts: DecisionParts;
  readonly #options: Pick<OtaOptions, 'limits' | 'journalRetryMs'>;
  #state: OtaState = initialOtaState;
  /** The state on the disk: that which a restart would find. */
  #saved: OtaState = initialOtaState;
  /** The event that led to a state which could not be saved, and deletions that wait until it is; null when the state is on the disk. */
  #unsaved: { event: OtaEvent['type']; collect: OtaEffect[] } | null = null;
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

  /** The slots of the state on the disk. */
  get pointer(): Pointer {
    return pointerOf(this.#sequence, this.#saved);
  }

  get limits(): OtaLimits {
    return { ...this.#options.limits, factory: this.#factory };
  }

  /** Begins with the state that was found on the disk. */
  start(state: OtaState, sequence: number, factory: PackageId | null): void {
    this.#factory = factory;
    this.#state = state;
    this.#saved = state;
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
      const { type } = next.event;
      const { state, effects } = stepOta(this.#state, next.event, this.limits);
      const before = this.#saved;
      if (state === this.#state) this.#parts.onDecided(effects, false);
      else if (this.#save(state, type)) this.#decided(state, effects, before);
      else if (WITHOUT_JOURNAL.has(type)) this.#decideUnsaved(state, effects, type);
      else return;
      this.#queue.shift();
      next.done();
      for (const look of this.#atRest.splice(0)) look();
    }
  }

  /** @param before the state that was on the disk until now */
  #decided(state: OtaState, effects: readonly OtaEffect[], before: OtaState): void {
    const waiting = this.#unsaved?.collect ?? [];
    this.#unsaved = null;
    this.#state = state;
    this.#parts.onDecided([...effects, ...waiting], !samePointer(state, before));
  }

  #decideUnsaved(state: OtaState, effects: readonly OtaEffect[], event: OtaEvent['type']): void {
    this.#unsaved = { event, collect: effects.filter(({ type }) => type === 'collect') };
    this.#state = state;
    this.#parts.onDecided(effects.filter(({ type }) => type !== 'collect'), false);
    queueMicrotask(() => this.#parts.onChange());
  }

  /** Tries again to save what is not on the disk: with the event that waits, or as it is. */
  #again(): void {
    const before = this.#saved;
    if (this.#queue.length === 0 && this.#unsaved !== null && this.#save(this.#state, this.#unsaved.event)) this.#decided(this.#state, [], before);
    else this.#drain();
  }

  /** Saves the state. If that is not possible (a full disk), it is tried again; the running package goes on. */
  #save(state: OtaState, event: OtaEvent['type']): boolean {
    const sequence = this.#sequence + (samePointer(state, this.#saved) ? 0 : 1);
    try {
      this.#parts.journal.save(state, { event, timeMs: this.#parts.clock.nowMs(), sequence });
      this.#sequence = sequence;
      this.#saved = state;
      this.#parts.unwritten.written('journal');
      this.#parts.log.info('deployment', { phase: state.phase, event, version: state.candidate?.version, code: state.error?.code });
      queueMicrotask(() => this.#parts.onChange());
      return true;
    } catch (error) {
      this.#parts.unwritten.failed('journal', error);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#again(), this.#options.journalRetryMs);
      return false;
    }
  }
}

function samePointer(a: OtaState, b: OtaState): boolean {
  return encodePointer(pointerOf(0, a)) === encodePointer(pointerOf(0, b));
}
