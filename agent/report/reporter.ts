/** Sends the retained messages `caps` and `reported`: on every connection, and again when they change, at most five times a second. */
import { toCodedError, type CodedError } from '../errors.js';

export interface ReporterParts {
  connected: () => boolean;
  publish: (kind: 'caps' | 'reported', payload: Buffer) => Promise<void>;
  caps: () => Promise<Buffer>;
  reported: () => Buffer;
  /** Called when a report cannot be sent. A failure changes no state of a deployment; the report is sent again at the next change or connection. */
  onFault: (error: CodedError) => void;
}

const COALESCE_MS = 200;

export class Reporter {
  readonly #parts: ReporterParts;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ReporterParts) {
    this.#parts = parts;
  }

  /** Sends both again, for a new connection or the command `rebirth`. */
  async rebirth(): Promise<void> {
    try {
      await this.#parts.publish('caps', await this.#parts.caps());
      await this.#parts.publish('reported', this.#parts.reported());
    } catch (error) {
      this.#failed(error);
    }
  }

  changed(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, COALESCE_MS);
    this.#timer.unref();
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#parts.connected()) return;
    try {
      await this.#parts.publish('reported', this.#parts.reported());
    } catch (error) {
      this.#failed(error);
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #failed(error: unknown): void {
    const coded = toCodedError(error);
    if (coded.code !== 'E_BROKER_AWAY') this.#parts.onFault(coded);
  }
}
