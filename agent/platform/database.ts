/** Opens SQLite databases for the daemon. The pragmas are set in this one place, and SQLite's codes are converted to ours. */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { AgentError, SternaError, toCodedError } from '../errors.js';

export type Sqlite = Database.Database;

export interface DatabaseOptions {
  /** `full`: a committed transaction survives a power cut. `normal`: the last transactions may be lost, but the file stays sound. */
  durability: 'full' | 'normal';
  /** Upper bound of the file, bytes; beyond it writes fail with E_DISK_FULL. */
  maxBytes?: number;
}

/** @throws AgentError E_STATE, E_STATE_CORRUPT, E_DISK_FULL, E_STATE_LOCKED */
export function openDatabase(path: string, options: DatabaseOptions): Sqlite {
  return translateSqlite(`open ${path}`, () => {
    const db = new Database(path, { timeout: 2000 });
    try {
      db.pragma('auto_vacuum = INCREMENTAL'); // This takes effect only before the first table is made.
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
 * Like `openDatabase`, but a damaged file is moved aside (`.corrupt`; only the newest one is kept) and a new one is begun. The content is lost, so
 * use this only for data that comes back: the outbox, and the journal, which the retained `desired` and the content-addressed store restore.
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

/**
 * Moves a database aside, together with its log, because SQLite would replay a log that stayed behind into the new file.
 * @throws errors of the file system
 */
export function moveAside(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${path}${suffix}.corrupt`);
  }
}

/** Whether a coded error says that nothing can be written to the disk now, while the data on it may be sound. */
export function cannotBeWritten(error: unknown): error is AgentError {
  return error instanceof AgentError && (error.code === 'E_DISK_FULL' || error.code === 'E_STATE_READ_ONLY' || error.code === 'E_STATE');
}

/**
 * Copies a database whose folder cannot be written to memory; the copy is empty if it cannot be read. If there is a folder for temporary files that
 * can be written, the copy includes what is in the database's log.
 */
export function copyToMemory(path: string): Sqlite {
  for (const read of [readWithLog, readWithoutLog]) {
    try {
      const db = new Database(read(path));
      if (db.pragma('quick_check(1)', { simple: true }) === 'ok') return db;
      db.close();
    } catch {
      // If this way fails, the next one is tried. In the end the copy is empty: the caller has a second copy of the data, or can do without it.
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
      db.pragma('journal_mode = DELETE'); // This makes SQLite replay the log into the file.
      return db.serialize();
    } finally {
      db.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Reads a database file without its log. Bytes 18 and 19 of the header say "with a write-ahead log", which a database in memory cannot have
 * (sqlite.org/fileformat.html, 1.3.3), so they are changed.
 */
function readWithoutLog(path: string): Buffer {
  const bytes = readFileSync(path);
  bytes.fill(1, 18, 20);
  return bytes;
}

/** Runs `work`, and converts SQLite's errors to coded ones. */
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

/** Codes of a full disk. SQLITE_IOERR_SHMSIZE is one of them: the shared memory of the write-ahead log cannot grow. */
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

/** Codes of the system for a disk that takes nothing. */
const DISK = new Set([...FULL, 'EROFS', 'EIO', 'SQLITE_IOERR_FSYNC', 'SQLITE_IOERR_TRUNCATE']);

/** The disk's part in an error of a file or of an open gallery; null when the disk is not the cause. */
export function diskTrouble(error: unknown): AgentError | null {
  if (cannotBeWritten(error)) return error;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = 'code' in cause ? String(cause.code) : '';
    if (DISK.has(code) || code.startsWith('SQLITE_READONLY')) return new AgentError(codeOf(cause) ?? 'E_STATE', error instanceof Error ? error.message : code, { cause: error });
    if (cause instanceof SternaError && cause.code !== 'E_GALLERY') return null;
  }
  return null;
}

/** The fault that is raised when a file cannot be written and the daemon goes on with a copy in memory. */
export function volatileFault(what: string, path: string, cause: unknown): AgentError {
  return new AgentError('E_STATE_VOLATILE', `${what} ${path} cannot be written: ${toCodedError(cause).message}. What was in it is used, and changes are kept in memory until the next start; `
    + 'free some space or mount the disk for writing, and start again', { cause });
}
