/** Who did what on the page, when, from where, to what, and with which result. */
import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openDatabase, type FleetDatabase } from '../database.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { handoverFolder } from '../publish/handover.js';

export interface AuditEntry {
  time_ms: number;
  /** Null: the page needs no login. Of a failed login: the name that was tried. */
  user: string | null;
  address: string;
  /** `login`, `logout`, `rollout.pause`, `person.delete` and the like. */
  action: string;
  /** A roll-out, or a device as `fleet/device` and what of it; empty for logins. */
  target: string;
  /** `ok`, or the code of the error. */
  result: string;
}

const DAY_MS = 86_400_000;
/** The table itself refuses to forget anything younger. */
export const LEAST_DAYS = 30;
export const DEFAULT_DAYS = 400;
/** Of text that a stranger may choose. */
const TEXT_LENGTH = 200;

/** Control characters would reach terminals. */
const plain = (text: string): string => text.slice(0, TEXT_LENGTH).replaceAll(/\p{Cc}/gu, '?');

const SCHEMA = `
  CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, user TEXT, address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, result TEXT NOT NULL
  ) STRICT;
  CREATE INDEX audit_time ON audit (time_ms);
  CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
  CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN OLD.time_ms > (unixepoch() - ${LEAST_DAYS} * 86400) * 1000
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
`;

/** `audit.db` in the folder of this user's fleets. */
export const auditFile = (): string => join(handoverFolder(), 'audit.db');

/** An append-only table in SQLite: triggers refuse to change entries, or to delete young ones. A written entry survives a power cut. */
export class AuditLog {
  readonly #db: FleetDatabase;
  readonly #keptMs: number;

  /** @param path a file or ':memory:'. @param days entries older than these are deleted, at least 30. @throws DeployError E_AUDIT */
  constructor(path: string, days = DEFAULT_DAYS) {
    this.#keptMs = Math.max(days, LEAST_DAYS) * DAY_MS;
    try {
      if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      this.#db = openDatabase(path, { migrations: [SCHEMA], durability: 'full', code: 'E_AUDIT', user: 'The audit log' });
      if (path !== ':memory:') chmodSync(path, 0o600);
    } catch (cause) {
      if (cause instanceof DeployError) throw cause;
      throw new DeployError('E_AUDIT', `The audit log ${path} cannot be opened: ${messageOf(cause)}`, { cause });
    }
  }

  /** @throws DeployError E_AUDIT */
  add({ time_ms: time, user, address, action, target, result }: AuditEntry): void {
    try {
      this.#db.transaction(() => {
        this.#db.prepare('DELETE FROM audit WHERE time_ms < ?').run(Math.round(time - this.#keptMs));
        this.#db.prepare('INSERT INTO audit (time_ms, user, address, action, target, result) VALUES (?, ?, ?, ?, ?, ?)')
          .run(Math.round(time), user === null ? null : plain(user), address, action, plain(target), result);
      });
    } catch (cause) {
      throw new DeployError('E_AUDIT', `The audit log cannot be written: ${messageOf(cause)}`, { cause });
    }
  }

  /** The newest entries, newest first. */
  list({ limit, sinceMs = 0, user }: { limit: number; sinceMs?: number; user?: string }): AuditEntry[] {
    return this.#db.prepare<[number, string | null, string | null, number], AuditEntry>('SELECT time_ms, user, address, action, target, result FROM audit WHERE time_ms >= ? AND (? IS NULL OR user = ?) ORDER BY id DESC LIMIT ?')
      .all(sinceMs, user ?? null, user ?? null, limit);
  }

  close(): void {
    this.#db.close();
  }
}

/** Opens a log that exists. @throws DeployError E_AUDIT */
export function openAudit(path: string): AuditLog {
  if (!existsSync(path)) throw new DeployError('E_AUDIT', `There is no audit log ${path}: a page (\`sterna fleet\`) begins it; --audit names another file`);
  return new AuditLog(path);
}
