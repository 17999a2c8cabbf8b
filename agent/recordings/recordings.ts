/** The recordings of the device: opens the store when the daemon runs, trims it, and turns its troubles into faults. */
import { join } from 'node:path';
import { AgentError, toCodedError } from '../errors.js';
import { attempt, type FaultPort } from '../ground/faults.js';
import type { Clock } from '../platform/clock.js';
import { openOrRenew, type Sqlite } from '../platform/database.js';
import { RecordingStore, type StoreLimits } from './store.js';

/** The index may be so large; a row has some hundred bytes. */
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

  /** Null before `open`, and when it failed: then nothing is recorded. */
  get store(): RecordingStore | null {
    return this.#store;
  }

  /** @throws AgentError E_RECORDINGS */
  require(): RecordingStore {
    if (this.#store === null) throw new AgentError('E_RECORDINGS', 'The recordings cannot be opened; the faults of this device say why');
    return this.#store;
  }

  /** Never rejects: a device without recordings is still a device. */
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
