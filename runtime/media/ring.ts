/** The newest few items between a producer that cannot wait and a consumer that may be slow: the oldest is dropped. */
export class DropOldestRing<T> {
  readonly #capacity: number;
  readonly #items: T[] = [];
  #wake: (() => void) | undefined;
  #closed = false;
  #error: unknown;
  dropped = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** @returns the item that was dropped for it, if one was */
  push(item: T): T | undefined {
    const dropped = this.#items.length === this.#capacity ? this.#items.shift() : undefined;
    if (dropped !== undefined) this.dropped++;
    this.#items.push(item);
    this.#wake?.();
    return dropped;
  }

  /** No more items; `next` gives what is left, then throws `error` or ends. */
  close(error?: unknown): void {
    this.#closed = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Waits for an item; undefined at the end. One consumer only. */
  async next(): Promise<T | undefined> {
    while (this.#items.length === 0 && !this.#closed) {
      await new Promise<void>((resolve) => { this.#wake = resolve; });
    }
    this.#wake = undefined;
    const item = this.#items.shift();
    if (item === undefined && this.#error !== undefined) throw this.#error;
    return item;
  }
}

interface Production<T> {
  /** Pushes items until it ends, or the signal says so. */
  produce(ring: DropOldestRing<T>, signal: AbortSignal): Promise<void>;
  signal: AbortSignal | undefined;
  /** Told how many items of this iteration were dropped so far. */
  onDropped(count: number): void;
}

/** What a producer pushes on its own time, for a consumer that may be slow: of what waits, the newest `capacity`. The producer ends with the iteration. */
export async function* newestOf<T>(capacity: number, { produce, signal, onDropped }: Production<T>): AsyncGenerator<T, void, undefined> {
  const ring = new DropOldestRing<T>(capacity);
  const stop = new AbortController();
  const ended = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const pump = produce(ring, ended).then(() => ring.close(), (error: unknown) => ring.close(error));
  try {
    for (;;) {
      const item = await ring.next();
      onDropped(ring.dropped);
      if (item === undefined || ended.aborted) return;
      yield item;
    }
  } finally {
    stop.abort();
    await pump;
  }
}
