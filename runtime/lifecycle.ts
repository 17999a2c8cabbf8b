/** What was started is stopped: in the reverse order, each part within its deadline, whatever the others do. */

export interface Part {
  /** For the log. */
  name: string;
  stop: () => Promise<unknown> | void;
  /** How long `stop` may take, milliseconds. Default `DEFAULT_STOP_MS`. */
  stopMs?: number;
}

/** One part that did not stop: it threw `error`, or (`timedOut`) its promise had not settled at its deadline. */
export interface StopFailure {
  part: string;
  error: unknown;
  timedOut: boolean;
}

export interface LifecycleOptions {
  /** All parts together, milliseconds. Once it is spent, each remaining part gets `LAST_CHANCE_MS`. Default: no bound. */
  budgetMs?: number;
  /** Called for each failure, as it happens. Must not throw. */
  onFailure: (failure: StopFailure) => void;
}

export const DEFAULT_STOP_MS = 2000;
/** For a part whose turn comes after the budget is spent: enough to close a file. */
export const LAST_CHANCE_MS = 50;

/**
 * The one way in which agent, foundation and demonstration end. A part that throws or hangs is reported, and the next one is
 * stopped all the same. Parts whose `stop` returns no promise are stopped synchronously, so a lifecycle of such parts alone
 * has ended when `stop` returns.
 */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  readonly #parts: Part[] = [];
  #stopping: Promise<void> | null = null;
  #ended = false;

  constructor(options: LifecycleOptions) {
    this.#options = options;
  }

  get stopping(): boolean {
    return this.#stopping !== null;
  }

  /** Registers a part, in the order of starting. One that comes while everything stops, or later, is stopped as well. */
  add(part: Part): void {
    if (this.#ended) void this.#stopOne(part, part.stopMs ?? DEFAULT_STOP_MS);
    else this.#parts.push(part);
  }

  /** Idempotent, and never rejects: failures go to `onFailure`. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    const end = performance.now() + (this.#options.budgetMs ?? Infinity);
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      const left = Math.max(LAST_CHANCE_MS, end - performance.now());
      const stopped = this.#stopOne(part, Math.min(part.stopMs ?? DEFAULT_STOP_MS, left));
      if (stopped !== null) await stopped;
    }
    this.#ended = true;
  }

  /** Null when the part stopped at once. */
  #stopOne(part: Part, deadlineMs: number): Promise<void> | null {
    const failed = (error: unknown, timedOut: boolean): void => this.#options.onFailure({ part: part.name, error, timedOut });
    try {
      const result = part.stop();
      return result instanceof Promise ? settle(result, deadlineMs, failed) : null;
    } catch (error) {
      failed(error, false);
      return null;
    }
  }
}

/** Resolves when the promise has settled, at the latest at the deadline; a failure after the deadline is not reported again. */
function settle(result: Promise<unknown>, deadlineMs: number, failed: (error: unknown, timedOut: boolean) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      failed(new Error(`did not stop within ${Math.round(deadlineMs)} ms`), true);
      finish = (): void => undefined;
      resolve();
    }, deadlineMs);
    let finish = (report: () => void): void => {
      clearTimeout(timer);
      report();
      resolve();
    };
    result.then(() => finish(() => undefined), (error: unknown) => finish(() => failed(error, false)));
  });
}
