/** Work that happens in order, one piece after the other. A piece that fails is reported, and the next one begins all the same. */
export class Chain {
  readonly #onError: (error: unknown) => void;
  #last: Promise<void> = Promise.resolve();

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  add(work: () => Promise<void>): void {
    this.#last = this.#last.then(work).catch(this.#onError);
  }

  /** Resolves when nothing is left to do, not even what the pieces themselves added. */
  async settled(): Promise<void> {
    for (let seen: Promise<void> | null = null; seen !== this.#last;) {
      seen = this.#last;
      await seen;
    }
  }
}
