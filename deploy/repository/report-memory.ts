/** The newest report of each device that was believed, over all programs of this user and over restarts, so that nobody can show an older one to a program that has just started. */
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DeviceAddress, ReportOrder } from '../../agent/contracts/index.js';
import { messageOf } from '../../runtime/errors.js';
import { openDatabase, type FleetDatabase } from '../database.js';
import { DeployError } from '../errors.js';
import { handoverFolder } from '../publish/handover.js';

const SCHEMA = `
  CREATE TABLE newest (
    fleet TEXT NOT NULL, device TEXT NOT NULL, key TEXT NOT NULL, birth_seq INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (fleet, device, key)
  ) STRICT, WITHOUT ROWID;
`;

/** `newest-reports.db` in the folder of this user's fleets. */
export const reportMemoryFile = (): string => join(handoverFolder(), 'newest-reports.db');

/**
 * By the key that signed them: a device with a new key begins anew. Only verified reports may be noted, since whoever invents one could otherwise shut the
 * device up with the largest number of all.
 */
export class ReportMemory {
  readonly path: string;
  readonly #db: FleetDatabase;
  readonly #onFailed: (message: string) => void;
  #failed = false;

  /**
   * @param onFailed called once when it cannot be written; reports are believed all the same
   * @throws DeployError E_COLLECTOR
   */
  constructor(path: string, onFailed: (message: string) => void = () => undefined) {
    this.path = path;
    this.#onFailed = onFailed;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      // Normal: a power cut may cost the last reports, and with them no more than one that is held back just then.
      this.#db = openDatabase(path, { migrations: [SCHEMA], durability: 'normal', code: 'E_COLLECTOR', user: 'The memory of reports' });
      chmodSync(path, 0o600);
    } catch (cause) {
      if (cause instanceof DeployError) throw cause;
      throw new DeployError('E_COLLECTOR', `The memory of reports ${path} cannot be opened: ${messageOf(cause)}`, { cause });
    }
  }

  newest({ fleet, device }: DeviceAddress, key: string): ReportOrder | null {
    try {
      return this.#db.prepare<[string, string, string], ReportOrder>('SELECT birth_seq, seq FROM newest WHERE fleet = ? AND device = ? AND key = ?').get(fleet, device, key) ?? null;
    } catch (error) {
      this.#fail(error);
      return null;
    }
  }

  /** Never throws, and never goes back. */
  note({ fleet, device }: DeviceAddress, key: string, { birth_seq: birth, seq }: ReportOrder): void {
    try {
      this.#db.prepare<[string, string, string, number, number]>(
        `INSERT INTO newest (fleet, device, key, birth_seq, seq) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET birth_seq = excluded.birth_seq, seq = excluded.seq
         WHERE (excluded.birth_seq, excluded.seq) > (newest.birth_seq, newest.seq)`).run(fleet, device, key, birth, seq);
    } catch (error) {
      this.#fail(error);
    }
  }

  close(): void {
    this.#db.close();
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#onFailed(`${this.path}: ${messageOf(error)}`);
  }
}
