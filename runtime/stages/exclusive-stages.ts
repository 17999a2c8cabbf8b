import { RuntimeError } from '../errors.js';
import type { KeptMaps } from '../session-types.js';
import { closeStages, memoryOf } from './open-stages.js';
import type { Stages } from './open-stages.js';

const keptOf = (stages: Stages): KeptMaps[] => Object.values(stages).flatMap(({ session }) => session.kept ?? []);

/** The stages of one pipeline, lent to one piece of work at a time: their canvases are shared, so frames and enrolments take turns. */
export class ExclusiveStages {
  readonly #stages: Stages;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(stages: Stages) {
    this.#stages = stages;
  }

  get memoryBytes(): number {
    return memoryOf(this.#stages);
  }

  get keptBytes(): number {
    return keptOf(this.#stages).reduce((sum, { valid, bytes }) => sum + (valid ? bytes : 0), 0);
  }

  /** Needs no turn: a run under way goes on, and its maps do not count afterwards. */
  dropKept(): void {
    if (!this.#closed) for (const kept of keptOf(this.#stages)) kept.drop();
  }

  /** @throws RuntimeError E_INPUT when the pipeline is closed, and whatever the work throws */
  use<T>(work: (stages: Stages) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new RuntimeError('E_INPUT', 'The pipeline is closed'));
    const result = this.#turn.then(() => work(this.#stages));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Waits for the work under way, then closes every model. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#turn;
    await closeStages(this.#stages);
  }
}
