/**
 * Notes what could not be written to the disk, and tries it again. So the fault lasts for as long as anything of it is missing, and no longer.
 */
import type { CodedError } from '../errors.js';
import { failure } from './failure.js';

/** What is written for a pipeline. */
export type WrittenPart = 'journal' | 'pointer' | 'files' | 'desired' | 'opening';

export interface UnwrittenParts {
  /** Milliseconds between two attempts. */
  retryMs: number;
  onFault: (error: CodedError) => void;
  /** Called when nothing is missing any more. */
  onWritten: () => void;
}

export class Unwritten {
  readonly #parts: UnwrittenParts;
  readonly #missing = new Map<WrittenPart, () => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: UnwrittenParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#missing.size;
  }

  /** @param again tries it again; absent for what its owner tries again */
  failed(part: WrittenPart, error: unknown, again: () => void = () => undefined): void {
    this.#missing.set(part, again);
    this.#parts.onFault(failure(error));
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const attempt of [...this.#missing.values()]) attempt();
    }, this.#parts.retryMs);
  }

  written(part: WrittenPart): void {
    if (this.#missing.delete(part) && this.#missing.size === 0) this.#parts.onWritten();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
