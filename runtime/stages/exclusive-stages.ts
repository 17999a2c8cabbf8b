import { RuntimeError } from '../errors.js';
import type { KeptMaps } from '../session-types.js';
import { closeStages, memoryOf } from './open-stages.js';
import type { Stages } from './open-stages.js';

const keptOf = (stages: Stages): KeptMaps[] => Object.values(stages).flatMap(({ session }) => session.kept ?? []);

/** Memory of the feature maps that these stages keep for the next frame, bytes. */
export const keptBytesOf = (stages: Stages): number => keptOf(stages).reduce((sum, { valid, bytes }) => sum + (valid ? bytes : 0), 0);

/** Gives it back to the system. It needs no turn: a run under way goes on, and its maps do not count afterwards. */
export function dropKeptOf(stages: Stages): void {
  for (const kept of keptOf(stages)) kept.drop();
}

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
    return keptBytesOf(this.#stages);
  }

  dropKept(): void {
    if (!this.#closed) dropKeptOf(this.#stages);
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
