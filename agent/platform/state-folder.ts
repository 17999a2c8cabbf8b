import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { AgentError } from '../errors.js';
import { cannotBeWritten, translateSqlite } from './database.js';

export interface StateFolder {
  readonly path: string;
  release(): void;
}

/**
 * Takes a state folder for this process. The lock is an open exclusive transaction on an empty database. The kernel drops that lock (a POSIX record
 * lock) however the process ends, so no stale lock can keep a device from starting. A folder that cannot be written is taken without a lock, because
 * nobody can change anything in it.
 * @throws AgentError E_STATE_LOCKED, E_STATE
 */
export function takeStateFolder(path: string, onUnlocked: (error: AgentError) => void = () => undefined): StateFolder {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new AgentError('E_STATE', `Cannot create the state folder ${path}; check state_dir and its owner`, { cause });
  }
  try {
    const db = lock(join(path, 'lock.db'), path);
    return { path, release: () => db.close() };
  } catch (error) {
    if (!cannotBeWritten(error) || canWrite(path)) throw error;
    onUnlocked(error);
    return { path, release: () => undefined };
  }
}

/** Tries to write a file of a few bytes, like that of the lock. */
function canWrite(folder: string): boolean {
  const probe = join(folder, `probe.${process.pid}`);
  try {
    writeFileSync(probe, 'x');
    return true;
  } catch {
    return false;
  } finally {
    rmSync(probe, { force: true });
  }
}

/**
 * Removes the rights of everybody but the owner from a state folder and its content, because it holds faces, names and tokens. This includes files
 * that an earlier version left readable. SQLite gives the files that it puts beside a database the same rights as the database.
 */
export function keepPrivate(folder: string, onFailure: (error: unknown) => void): void {
  const change = (path: string, mode: number): void => {
    try {
      chmodSync(path, mode);
    } catch (error) {
      onFailure(error);
    }
  };
  change(folder, 0o700);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) change(join(folder, entry.name), 0o700);
    else if (entry.isFile()) change(join(folder, entry.name), 0o600);
  }
}

function lock(file: string, folder: string, retry = true): Database.Database {
  const db = translateSqlite(`open ${file}`, () => new Database(file, { timeout: 0 }));
  try {
    db.exec('BEGIN EXCLUSIVE');
    return db;
  } catch (cause) {
    db.close();
    const code = cause instanceof Error && 'code' in cause ? cause.code : null;
    if (code === 'SQLITE_BUSY') {
      throw new AgentError('E_STATE_LOCKED', `The state folder ${folder} is used by another sternad; stop that one, or set another state_dir`, { cause });
    }
    if (code === 'SQLITE_NOTADB' && retry) {
      // The daemon never writes to this database, so any content comes from a damaged file system.
      rmSync(file);
      return lock(file, folder, false);
    }
    throw new AgentError('E_STATE', `Cannot lock the state folder ${folder}`, { cause });
  }
}
