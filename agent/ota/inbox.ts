/**
 * Limits `desired` messages before they become decisions. Whatever a broker sends, at most one message in each interval, the newest, costs a
 * transaction. The first message after a quiet time is taken at once.
 */
import { largestGeneration } from '../contracts/index.js';
import { AgentError } from '../errors.js';

export interface InboxOptions<T> {
  /** Milliseconds between two messages that are taken. */
  intervalMs: number;
  /** The largest generation that was decided on; null when there was none yet. */
  seen: () => number | null;
  /** If it throws, the message was not taken, and it is tried again unless a newer one comes. */
  take: (message: T) => void;
  /** Milliseconds until a message that could not be taken is tried again. */
  retryMs: number;
  onFailed: (error: unknown) => void;
}

export class DesiredInbox<T extends { generation: number }> {
  readonly #options: InboxOptions<T>;
  #waiting: T | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: InboxOptions<T>) {
    this.#options = options;
  }

  /**
   * Takes the message now, or after the interval unless a newer one comes before. A message with an older generation than the last is a replay, and
   * is dropped.
   * @returns whether it was kept
   * @throws AgentError E_OTA_GENERATION
   */
  receive(message: T): boolean {
    const seen = this.#options.seen();
    requireGeneration(message.generation, seen);
    if (message.generation < Math.max(seen ?? 0, this.#waiting?.generation ?? 0)) return false;
    this.#waiting = message;
    if (this.#timer === undefined) this.#next();
    return true;
  }

  /** Drops the message that waits. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = null;
  }

  #next(): void {
    const message = this.#waiting;
    this.#waiting = null;
    this.#timer = undefined;
    if (message === null) return;
    const { intervalMs, retryMs, take, onFailed } = this.#options;
    let waitMs = intervalMs;
    try {
      take(message);
    } catch (error) {
      this.#waiting = message;
      waitMs = retryMs;
      onFailed(error);
    }
    this.#timer = setTimeout(() => this.#next(), waitMs);
  }
}

function requireGeneration(generation: number, seen: number | null): void {
  const largest = largestGeneration(seen);
  if (generation <= largest) return;
  throw new AgentError('E_OTA_GENERATION', `Expected a generation of at most ${largest} after ${seen ?? 'none'} but received ${generation}; the message was ignored. `
    + `Publish \`desired\` again with generation ${(seen ?? 0) + 1} or the time in milliseconds`);
}
