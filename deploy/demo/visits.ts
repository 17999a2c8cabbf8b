import type { Event } from '../../agent/contracts/index.js';

/** One person's appearance before the camera, as the device told it. */
export interface Recognition {
  /** Null for a face that is nobody's. */
  name: string | null;
  similarity: number | null;
  latencyMs: number;
  timeMs: number;
}

/** Collects recognitions; resolves when everyone who is awaited has been seen. */
export class Visits {
  readonly #awaited: Set<string>;
  readonly seen: Recognition[] = [];
  #resolve: () => void = () => undefined;
  readonly #done: Promise<void>;

  /** `awaited` names; none means: the first appearance of anybody is enough. */
  constructor(awaited: readonly string[]) {
    this.#awaited = new Set(awaited);
    this.#done = new Promise((resolve) => { this.#resolve = resolve; });
  }

  /** Names that have not been seen yet. */
  get missing(): string[] {
    return [...this.#awaited];
  }

  note(event: Event): void {
    if (event.type !== 'finding' || event.action !== 'appeared') return;
    const { identity } = event.finding;
    this.seen.push({ name: identity?.name ?? null, similarity: identity?.similarity ?? null, latencyMs: event.latency_ms, timeMs: event.time_ms });
    if (identity != null) this.#awaited.delete(identity.name);
    if (this.#awaited.size === 0) this.#resolve();
  }

  /** True when all came, false when the time was over. @throws the signal's reason */
  async complete(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    let timer: NodeJS.Timeout | undefined;
    let onAbort = (): void => undefined;
    try {
      return await Promise.race([
        this.#done.then(() => true),
        new Promise<boolean>((resolve) => { timer = setTimeout(() => resolve(false), timeoutMs); }),
        new Promise<never>((_resolve, reject) => {
          onAbort = () => reject(signal.reason);
          signal.addEventListener('abort', onAbort, { once: true });
        }),
      ]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }
}
