/** The journal's part for trust: one record of everything that was verified, and the ids of signed commands. */
import { AgentError } from '../errors.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { faultPoint } from '../platform/fault.js';
import { parseJson } from './journal-schema.js';

/** A device whose clock is far behind cannot forget ids. When this many are kept, no further command is taken. */
const MAX_NONCES = 10_000;

export class TrustJournal {
  readonly #db: Sqlite;

  constructor(db: Sqlite) {
    this.#db = db;
  }

  /** The record as it was last saved; null before the first time, undefined when it cannot be read. */
  load(): unknown {
    const row = this.#db.prepare<[], { json: string }>('SELECT json FROM trust').get();
    return row === undefined ? null : parseJson(row.json);
  }

  /**
   * Saves the record as one row in one transaction, so that a power cut leaves the old record or the new one.
   * @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE
   */
  save(record: unknown): void {
    translateSqlite('write what was verified', () => {
      faultPoint('trust.before');
      this.#db.prepare('INSERT OR REPLACE INTO trust (id, json) VALUES (1, ?)').run(JSON.stringify(record));
      faultPoint('trust.after');
    });
  }

  /**
   * Notes the id of a signed command before it is carried out. Ids are kept until the command has expired.
   * @returns `new`, `same` for the same command once more, `other` when the id was used for something else
   * @throws AgentError E_COMMAND, E_DISK_FULL, E_STATE_READ_ONLY, E_STATE
   */
  spend(id: string, digest: string, { expiresMs, nowMs }: { expiresMs: number; nowMs: number }): 'new' | 'same' | 'other' {
    return translateSqlite('write the id of a command', () => this.#db.transaction(() => {
      const known = this.#db.prepare<[string], { digest: string }>('SELECT digest FROM nonce WHERE id = ?').get(id);
      if (known !== undefined) return known.digest === digest ? 'same' : 'other';
      this.#db.prepare('DELETE FROM nonce WHERE expires_ms < ?').run(Math.floor(nowMs));
      const kept = this.#db.prepare<[], { n: number }>('SELECT count(*) AS n FROM nonce').get()?.n ?? 0;
      if (kept >= MAX_NONCES) throw new AgentError('E_COMMAND', `${MAX_NONCES} signed commands have not expired by the clock of this device; set the clock`);
      this.#db.prepare('INSERT INTO nonce (id, digest, expires_ms) VALUES (?, ?, ?)').run(id, digest, Math.ceil(expiresMs));
      return 'new';
    }).immediate());
  }
}
