import { setTimeout as sleep } from 'node:timers/promises';
import type { FleetStore, Outcome, Received } from './fleet-store.js';

export interface BatcherOptions {
  /** Most messages of a batch. */
  maxMessages: number;
  /** How long the first message of a batch waits for others. */
  maxDelayMs: number;
  /** After a failure, before the batch is tried again; doubled up to `retryMaxMs`. */
  retryMs: number;
  retryMaxMs: number;
}

export const defaultBatching: BatcherOptions = { maxMessages: 500, maxDelayMs: 250, retryMs: 500, retryMaxMs: 10_000 };

/** A message on its way into the store. `received` is null for one that holds its place only so that acknowledgements keep their order. */
export interface BatchItem<Token> {
  received: Received | null;
  token: Token;
}

export interface BatcherEvents<Token> {
  /** A batch is durable. */
  committed: (items: readonly BatchItem<Token>[], outcomes: readonly (Outcome | null)[]) => void;
  /** A batch was not written, and is tried again. */
  failed: (error: unknown) => void;
}

/** Collects messages into batches, and writes one batch after another. A batch that fails is tried again until it succeeds: nothing is given up. */
export class Batcher<Token> {
  readonly #store: Pick<FleetStore, 'commit'>;
  readonly #options: BatcherOptions;
  readonly #events: BatcherEvents<Token>;
  readonly #waiting: BatchItem<Token>[] = [];
  readonly #stop = new AbortController();
  #writing = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | null = null;

  constructor(store: Pick<FleetStore, 'commit'>, options: BatcherOptions, events: BatcherEvents<Token>) {
    this.#store = store;
    this.#options = options;
    this.#events = events;
  }

  /** Messages that are not durable yet. */
  get size(): number {
    return this.#waiting.length + this.#writing;
  }

  add(item: BatchItem<Token>): void {
    this.#waiting.push(item);
    if (this.#waiting.length >= this.#options.maxMessages) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), this.#options.maxDelayMs);
  }

  /** Writes what waits, and then nothing more. Resolves after `timeoutMs` at the latest, and a little more when the store is busy; what is not written by then stays unacknowledged. */
  async stop(timeoutMs: number): Promise<void> {
    this.#flush();
    const timer = setTimeout(() => this.#stop.abort(), timeoutMs);
    await this.#running;
    clearTimeout(timer);
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#run().finally(() => { this.#running = null; });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#stop.signal.aborted) {
      const items = this.#waiting.splice(0, this.#options.maxMessages);
      this.#writing = items.length;
      const outcomes = await this.#write(items);
      this.#writing = 0;
      if (outcomes === null) this.#waiting.unshift(...items);
      else this.#events.committed(items, outcomes);
      await new Promise((resolve) => { setImmediate(resolve); });
    }
  }

  /** Null when this batcher was stopped before the batch was written. */
  async #write(items: readonly BatchItem<Token>[]): Promise<(Outcome | null)[] | null> {
    const batch = items.flatMap(({ received }) => (received === null ? [] : [received]));
    for (let waitMs = this.#options.retryMs; !this.#stop.signal.aborted; waitMs = Math.min(2 * waitMs, this.#options.retryMaxMs)) {
      try {
        const outcomes = batch.length === 0 ? [] : await this.#store.commit(batch);
        let next = 0;
        return items.map(({ received }) => (received === null ? null : outcomes[next++] ?? null));
      } catch (error) {
        this.#events.failed(error);
        await sleep(waitMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      }
    }
    return null;
  }
}
