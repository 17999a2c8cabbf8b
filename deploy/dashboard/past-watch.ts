import type { FleetPast } from '../collector/fleet-past.js';
import type { FleetTable } from '../collector/fleet-table.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';

/** How the store of the past does, for the page. */
export interface PastState {
  source: string;
  /** Why it cannot be read; null: it can. */
  error: { code: string; message: string } | null;
  /** How much older its newest message is than the newest window that was heard; null: not noticeably. Nobody writes into it, or it takes nothing. */
  behind_ms: number | null;
}

/** A look at the store serves all pages for so long. */
const FRESH_MS = 4000;
/** A collector waits for a batch, and tries again after a failure: less than this is nothing to speak of. */
const BEHIND_MS = 120_000;

/** Looks whether the store answers, and whether collectors still write into it: a store that is full can be read as ever. */
export class PastWatch {
  readonly #past: FleetPast;
  readonly #table: FleetTable;
  #state: Promise<PastState> | null = null;
  #atMs = 0;

  constructor(past: FleetPast, table: FleetTable) {
    this.#past = past;
    this.#table = table;
  }

  /** @throws never */
  state(): Promise<PastState> {
    if (this.#state !== null && Date.now() - this.#atMs < FRESH_MS) return this.#state;
    this.#atMs = Date.now();
    return this.#state = this.#look();
  }

  async #look(): Promise<PastState> {
    const { source } = this.#past;
    try {
      const storedMs = await this.#past.newestMs();
      let heardMs = 0;
      for (const { seenMs } of this.#table.latencies()) heardMs = Math.max(heardMs, seenMs);
      const behindMs = storedMs === null ? 0 : heardMs - storedMs;
      return { source, error: null, behind_ms: behindMs > BEHIND_MS ? behindMs : null };
    } catch (error) {
      return { source, error: { code: error instanceof DeployError ? error.code : 'E_STORE', message: messageOf(error) }, behind_ms: null };
    }
  }
}
