/** SQLite as the daemon uses it: pragmas in one place, and SQLite's codes turned into ours. */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { AgentError, toCodedError } from '../errors.js';

export type Sqlite = Database.Database;

export interface DatabaseOptions {
  /** `full`: a committed transaction survives a power cut. `normal`: the last ones may be lost, the file stays sound. */
  durability: 'full' | 'normal';
  /** Upper bound of the file, bytes; beyond it writes fail with E_DISK_FULL. */
  maxBytes?: number;
}

/** @throws AgentError E_STATE, E_STATE_CORRUPT, E_DISK_FULL, E_STATE_LOCKED */
export function openDatabase(path: string, options: DatabaseOptions): Sqlite {
  return translateSqlite(`open ${path}`, () => {
    const db = new Database(path, { timeout: 2000 });
    try {
      db.pragma('auto_vacuum = INCREMENTAL'); // only takes effect before the first table
      db.pragma('journal_mode = WAL');
      db.pragma(`synchronous = ${options.durability.toUpperCase()}`);
      db.pragma('journal_size_limit = 1048576');
      if (options.maxBytes !== undefined) {
        const pageBytes = Number(db.pragma('page_size', { simple: true }));
        db.pragma(`max_page_count = ${Math.max(16, Math.ceil(options.maxBytes / pageBytes))}`);
      }
      const verdict = db.pragma('quick_check(1)', { simple: true });
      if (verdict !== 'ok') throw new AgentError('E_STATE_CORRUPT', `Database ${path} is damaged: ${String(verdict)}`);
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  });
}

/**
 * As `openDatabase`, and a damaged file is moved aside (`.corrupt`, one generation) and begun anew. What was in it is lost,
 * so this is for data that comes back: outbox, journal (the retained `desired` and the content-addressed store restore it).
 */
export function openOrRenew(path: string, options: DatabaseOptions, onRenewed: (error: AgentError) => void): Sqlite {
  try {
    return openDatabase(path, options);
  } catch (error) {
    if (!(error instanceof AgentError) || error.code !== 'E_STATE_CORRUPT') throw error;
    moveAside(path);
    onRenewed(error);
    return openDatabase(path, options);
  }
}

/** With its log: a log that stayed behind would be played into the new file. @throws errors of the file system */
export function moveAside(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${path}${suffix}.corrupt`);
  }
}

/** Whether a coded error says that the disk takes nothing now, while what is on it may be sound. */
export function cannotBeWritten(error: unknown): error is AgentError {
  return error instanceof AgentError && (error.code === 'E_DISK_FULL' || error.code === 'E_STATE_READ_ONLY' || error.code === 'E_STATE');
}

/**
 * What is in a database whose folder cannot be written, as a database in memory; an empty one when it cannot be read. With a folder for temporary files
 * that can be written, what is in its log counts as well.
 */
export function copyToMemory(path: string): Sqlite {
  for (const read of [readWithLog, readWithoutLog]) {
    try {
      const db = new Database(read(path));
      if (db.pragma('quick_check(1)', { simple: true }) === 'ok') return db;
      db.close();
    } catch {
      // The next way, and in the end nothing: whoever opens it has a second copy, or can do without.
    }
  }
  return new Database(':memory:');
}

function readWithLog(path: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-state-'));
  try {
    const copy = join(folder, 'copy.db');
    copyFileSync(path, copy);
    if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`);
    const db = new Database(copy);
    try {
      db.pragma('journal_mode = DELETE'); // plays the log into the file
      return db.serialize();
    } finally {
      db.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Bytes 18 and 19 of the header say "with a write-ahead log", which a database in memory cannot have (sqlite.org/fileformat.html, 1.3.3). */
function readWithoutLog(path: string): Buffer {
  const bytes = readFileSync(path);
  bytes.fill(1, 18, 20);
  return bytes;
}

/** Runs `work` and turns SQLite's errors into coded ones. */
export function translateSqlite<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    const code = codeOf(cause);
    if (code === null) throw cause;
    throw new AgentError(code, `Cannot ${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** SQLITE_IOERR_SHMSIZE: the shared memory of the write-ahead log cannot grow, which is a full disk as well. */
const FULL = new Set(['SQLITE_FULL', 'ENOSPC', 'EDQUOT', 'SQLITE_IOERR_WRITE', 'SQLITE_IOERR_SHMSIZE']);
const READ_ONLY = new Set(['EROFS', 'EACCES', 'EPERM', 'SQLITE_PERM']);

function codeOf(error: unknown): 'E_DISK_FULL' | 'E_STATE_READ_ONLY' | 'E_STATE_CORRUPT' | 'E_STATE_LOCKED' | 'E_STATE' | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  const code = String(error.code);
  if (FULL.has(code)) return 'E_DISK_FULL';
  if (READ_ONLY.has(code) || code.startsWith('SQLITE_READONLY')) return 'E_STATE_READ_ONLY';
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') return 'E_STATE_CORRUPT';
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'E_STATE_LOCKED';
  return code.startsWith('SQLITE_') || code.startsWith('E') ? 'E_STATE' : null;
}

/** What is raised when a file cannot be written and the daemon goes on with a copy in memory. */
export function volatileFault(what: string, path: string, cause: unknown): AgentError {
  return new AgentError('E_STATE_VOLATILE', `${what} ${path} cannot be written: ${toCodedError(cause).message}. What was in it is used, and changes are kept in memory until the next start; `
    + 'free some space or mount the disk for writing, and start again', { cause });
}
