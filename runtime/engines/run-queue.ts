import { RuntimeError } from '../errors.js';

/** The runs of a session, one after the other in the order of their calls: one may have to compile first. */
export class RunQueue {
  private last: Promise<unknown> = Promise.resolve();
  private closed = false;

  /** @throws RuntimeError E_INPUT after `close` */
  add<T>(run: () => Promise<T>): Promise<T> {
    if (this.closed) return Promise.reject(new RuntimeError('E_INPUT', 'Expected an open session but it was closed'));
    const result = this.last.then(run);
    this.last = result.catch(() => undefined);
    return result;
  }

  /** Takes no further runs, and resolves when those before have ended. */
  async close(): Promise<void> {
    this.closed = true;
    await this.last;
  }
}
