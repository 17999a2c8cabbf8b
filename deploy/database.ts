/** SQLite of the fleet side: one way to open a database, to bring it to the newest schema, and to run statements. */
import type Database from 'better-sqlite3';
import { requireOptional } from '../runtime/optional-package.js';
import { DeployError, type DeployErrorCode } from './errors.js';

export interface DatabaseOptions {
  /** From each version of the schema to the next. */
  migrations: readonly string[];
  /** `full`: a committed transaction survives a power cut. `normal`: the last ones may be lost. */
  durability: 'full' | 'normal';
  /** Of what cannot be opened. */
  code: DeployErrorCode;
  /** Who needs SQLite, for the message when it is not installed. */
  user: string;
}

/** An open database. Each statement is prepared once, since a message of a device takes about ten of them. */
export class FleetDatabase {
  readonly #db: Database.Database;
  readonly #statements = new Map<string, Database.Statement>();

  constructor(db: Database.Database) {
    this.#db = db;
  }

  /** @param sql one of a few texts: each stays in memory */
  prepare<P extends unknown[] = unknown[], R = unknown>(sql: string): Database.Statement<P, R> {
    const statement = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement as Database.Statement<P, R>;
  }

  /**
   * All or nothing. It begins with a write lock, so that what `work` has read stays true until it has written. Within another one it is a part of that: what it throws
   * must not be caught there, because only all of it can be taken back.
   */
  transaction<T>(work: () => T): T {
    if (this.#db.inTransaction) return work();
    return this.#db.transaction(work).immediate();
  }

  /** Another number than before when another connection has written to the file since. Call it within a transaction. */
  version(): number {
    return this.prepare<[], { data_version: number }>('PRAGMA data_version').get()?.data_version ?? 0;
  }

  close(): void {
    this.#db.close();
  }
}

/** @param path a file, or ':memory:'. @throws DeployError with `code` */
export function openDatabase(path: string, { migrations, durability, code, user }: DatabaseOptions): FleetDatabase {
  let db: Database.Database | undefined;
  try {
    // Loaded when a database opens: the command line also serves people who have no SQLite.
    const Sqlite = requireOptional('better-sqlite3', user) as typeof Database;
    db = new Sqlite(path, { timeout: 5000 });
    db.pragma('journal_mode = WAL');
    db.pragma(`synchronous = ${durability.toUpperCase()}`);
    migrate(db, path, { migrations, code });
    db.pragma('foreign_keys = ON');
    return new FleetDatabase(db);
  } catch (cause) {
    db?.close();
    if (cause instanceof DeployError) throw cause;
    throw new DeployError(code, `The database ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** In one transaction that begins with a write lock: of several processes that open a new file, one makes its tables. */
function migrate(db: Database.Database, path: string, { migrations, code }: Pick<DatabaseOptions, 'migrations' | 'code'>): void {
  db.transaction(() => {
    const version = Number(db.pragma('user_version', { simple: true }));
    if (version > migrations.length) throw new DeployError(code, `The database ${path} has schema version ${version}; this version reads ${migrations.length}. Update Sterna.`);
    for (const migration of migrations.slice(version)) db.exec(migration);
    if (version < migrations.length) db.pragma(`user_version = ${migrations.length}`);
  }).immediate();
}
