/** The recordings of the device. This opens the store when the daemon starts, trims it, and raises faults for its troubles. */
import { join } from 'node:path';
import { AgentError, toCodedError } from '../errors.js';
import { attempt, type FaultPort } from '../ground/faults.js';
import type { Clock } from '../platform/clock.js';
import { openOrRenew, type Sqlite } from '../platform/database.js';
import { RecordingStore, type StoreLimits } from './store.js';

/** Upper bound of the index. A row has a few hundred bytes. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;

export interface RecordingsOptions extends StoreLimits {
  stateDir: string;
  clock: Clock;
  faults: FaultPort;
}

export class Recordings {
  readonly #options: RecordingsOptions;
  #db: Sqlite | null = null;
  #store: RecordingStore | null = null;

  constructor(options: RecordingsOptions) {
    this.#options = options;
  }

  /** The store; null before `open`, and when `open` failed. Nothing is recorded then. */
  get store(): RecordingStore | null {
    return this.#store;
  }

  /** The store. @throws AgentError E_RECORDINGS when it is not open */
  require(): RecordingStore {
    if (this.#store === null) throw new AgentError('E_RECORDINGS', 'The recordings cannot be opened; the faults of this device say why');
    return this.#store;
  }

  /** Opens the store. Never rejects, because a device must also run without recordings. */
  async open(): Promise<void> {
    const { stateDir, clock, faults, ...limits } = this.#options;
    try {
      this.#db = openOrRenew(join(stateDir, 'recordings.db'), { durability: 'normal', maxBytes: MAX_INDEX_BYTES }, (error) => faults.raise('agent', toCodedError(error)));
      this.#store = await RecordingStore.open(this.#db, join(stateDir, 'recordings'), { limits, now: () => clock.nowMs() });
    } catch (error) {
      this.failed(toCodedError(error));
    }
  }

  async trim(): Promise<void> {
    await this.#store?.trim().catch((error: unknown) => this.failed(toCodedError(error)));
  }

  failed({ code, message }: { code: string; message: string }): void {
    this.#options.faults.raise('agent', { code: 'E_RECORDINGS', message: `${code}: ${message}` }, 'warning');
  }

  kept(): void {
    this.#options.faults.clear('agent', 'E_RECORDINGS');
  }

  close(): void {
    this.#store = null;
    const db = this.#db;
    this.#db = null;
    if (db !== null) attempt(this.#options.faults, 'agent', () => db.close());
  }
}
