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
  /** Batch after batch holds the same number of messages: whoever sends them waits for acknowledgements, which bound the throughput. Called once. */
  narrow?: (messages: number) => void;
}

/** So often in a row have as many messages been on their way, and no more, that this is taken for the window of the sender. */
const ALIKE = 3;
/** So many batches of the whole window within `NARROW_MS`, with none that was larger, are no coincidence. */
const NARROW_BATCHES = 20;
const NARROW_MS = 5000;

/**
 * Collects messages into batches, and writes one batch after another. A batch that fails is tried again until it succeeds: nothing is given up.
 * A sender may have a window: so many messages are on their way, and no more until one is acknowledged, which happens when it is written. A batch that has the whole window
 * would wait in vain for others, so it is written at once. The window is found by looking: MQTT does not tell a client how far the broker goes below its receive maximum.
 */
export class Batcher<Token> {
  readonly #store: Pick<FleetStore, 'commit'>;
  readonly #options: BatcherOptions;
  readonly #events: BatcherEvents<Token>;
  readonly #waiting: BatchItem<Token>[] = [];
  readonly #stop = new AbortController();
  #writing = 0;
  /** Of the sender, as far as it is known. */
  #window = Infinity;
  /** Most messages that were not durable yet since a delay was over, and how often that number came in a row. */
  #peak = { size: 0, before: 0, alike: 0 };
  /** Batches of the whole window, and when the first of them was full. */
  #full = { times: 0, sinceMs: 0 };
  #told = false;
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
    if (this.size > this.#peak.size) this.#peak.size = this.size;
    if (this.size > this.#window) {
      this.#window = Infinity;
      this.#full.times = 0;
    } else if (this.size === this.#window) this.#isFull();
    if (this.#waiting.length >= this.#options.maxMessages || this.size >= this.#window) this.#flush();
    else this.#timer ??= setTimeout(() => this.#isLate(), this.#options.maxDelayMs);
  }

  /** The delay is over, and no more has come. */
  #isLate(): void {
    const { size, before, alike } = this.#peak;
    this.#peak = { size: this.size, before: size, alike: size === before ? alike + 1 : 1 };
    if (this.#peak.alike >= ALIKE) this.#window = size;
    this.#flush();
  }

  #isFull(): void {
    const nowMs = performance.now();
    if (nowMs - this.#full.sinceMs > NARROW_MS) this.#full = { times: 0, sinceMs: nowMs };
    this.#full.times += 1;
    if (this.#full.times === NARROW_BATCHES && this.#window > 1 && !this.#told) {
      this.#told = true;
      this.#events.narrow?.(this.#window);
    }
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
