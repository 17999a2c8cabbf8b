/**
 * The journal: the machine's state and the bitmap of the download, in SQLite with synchronous=FULL. One transaction a
 * transition; once `save` returns, a power cut cannot take the decision back.
 */
import { z } from 'zod';
import type { Settings } from '../contracts/index.js';
import { settingsSchema } from '../contracts/desired.js';
import type { CodedError } from '../errors.js';
import { faultPoint } from '../platform/fault.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import type { RunRecord } from '../platform/last-run.js';
import type { OtaState } from './machine.js';
import { decodeState, encodeState, type Stored, type StoredState } from './stored-state.js';

const runSchema = z.object({ pid: z.number(), kernel_boot: z.string().nullable(), opening: z.string().nullable(), hung: z.boolean().default(false) });

const KEPT_TRANSITIONS = 200;
const KEPT_COMMANDS = 200;

export interface DownloadProgress {
  digest: string;
  size_bytes: number;
  block_bytes: number;
  /** Bit i (least significant first) set = block i is in the partial file, and on the disk. */
  bitmap: Buffer;
}

export class Journal {
  readonly #db: Sqlite;
  readonly #onDamaged: (error: CodedError) => void;
  #run: RunRecord | null = null;

  /**
   * Creates the tables where they are missing.
   * @param onDamaged told of values that cannot be read; each is kept aside under its key and `.unread`
   * @throws AgentError E_STATE, E_DISK_FULL, E_STATE_READ_ONLY
   */
  constructor(db: Sqlite, onDamaged: (error: CodedError) => void = () => undefined) {
    this.#db = db;
    this.#onDamaged = onDamaged;
    translateSqlite('create the journal', () => db.exec(`
      CREATE TABLE IF NOT EXISTS value (key TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS transition (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, phase TEXT NOT NULL, event TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS download (digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, block_bytes INTEGER NOT NULL, bitmap BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, response TEXT NOT NULL) STRICT;
    `));
  }

  /** The state as it was last saved. One that cannot be read is kept aside before anything is written over it. */
  load(): Stored<StoredState> {
    const row = this.#row('ota');
    if (row === null) return { kind: 'none' };
    const value = parseJson(row);
    const stored: Stored<StoredState> = value === undefined ? { kind: 'unsound', problem: 'it is not JSON' } : decodeState(value);
    if (stored.kind === 'unsound') this.#setAside('ota', row);
    return stored;
  }

  /**
   * @param sequence how often the slots have changed
   * @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE: then nothing has changed
   */
  save(state: OtaState, entry: { event: string; timeMs: number; sequence: number }): void {
    faultPoint(`journal.before.${state.phase}`);
    translateSqlite('write the journal', () => this.#db.transaction(() => {
      this.#put('ota', encodeState({ sequence: entry.sequence, state }));
      this.#db.prepare('INSERT INTO transition (time_ms, phase, event) VALUES (?, ?, ?)').run(Math.round(entry.timeMs), state.phase, entry.event);
      this.#db.prepare('DELETE FROM transition WHERE id <= (SELECT MAX(id) FROM transition) - ?').run(KEPT_TRANSITIONS);
    }).immediate());
    faultPoint(`journal.after.${state.phase}`);
  }

  /** Newest last. */
  transitions(): { time_ms: number; phase: string; event: string }[] {
    return this.#db.prepare<[], { time_ms: number; phase: string; event: string }>('SELECT time_ms, phase, event FROM transition ORDER BY id').all();
  }

  progress(digest: string): DownloadProgress | null {
    return this.#db.prepare<[string], DownloadProgress>('SELECT * FROM download WHERE digest = ?').get(digest) ?? null;
  }

  /** Call it only after the blocks are on the disk. @throws AgentError E_DISK_FULL, E_STATE */
  saveProgress(progress: DownloadProgress): void {
    translateSqlite('write the progress of the download', () => this.#db.prepare(
      'INSERT OR REPLACE INTO download (digest, size_bytes, block_bytes, bitmap) VALUES (@digest, @size_bytes, @block_bytes, @bitmap)',
    ).run(progress));
    faultPoint('download.progress');
  }

  forgetProgressExcept(digest: string | null): void {
    translateSqlite('forget downloads', () => this.#db.prepare('DELETE FROM download WHERE digest IS NOT ?').run(digest));
  }

  /** Notes that a run begins. @returns the note of the run before, if that one did not end by `markStopped` */
  markRunning(run: RunRecord): RunRecord | null {
    const before = this.#get('running');
    this.#run = run;
    translateSqlite('write the journal', () => this.#put('running', run));
    if (before === null || before === false) return null;
    const parsed = runSchema.safeParse(before);
    return parsed.success ? parsed.data : { pid: 0, kernel_boot: null, opening: null, hung: false };
  }

  /** Notes which package this process opens now, or that it is done. @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE */
  noteOpening(digest: string | null): void {
    this.#note({ opening: digest });
  }

  /** Notes that the active package works on one frame without an end, or that the frame came back. @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE */
  noteHung(hung: boolean): void {
    this.#note({ hung });
  }

  #note(change: Partial<RunRecord>): void {
    if (this.#run === null) return;
    this.#run = { ...this.#run, ...change };
    translateSqlite('write the journal', () => this.#put('running', this.#run));
  }

  markStopped(): void {
    this.#run = null;
    translateSqlite('write the journal', () => this.#put('running', false));
  }

  /** The number of the next connection: grows for ever. */
  nextBirth(): number {
    const last = this.#get('birth_seq');
    const next = (typeof last === 'number' ? last : 0) + 1;
    translateSqlite('write the journal', () => this.#put('birth_seq', next));
    return next;
  }

  settings(): Settings {
    const row = this.#row('settings');
    if (row === null) return {};
    const parsed = settingsSchema.safeParse(parseJson(row));
    if (parsed.success) return parsed.data;
    this.#setAside('settings', row);
    this.#onDamaged({ code: 'E_STATE_CORRUPT', message: 'The settings in the journal cannot be read; those of the configuration hold until `desired` arrives again' });
    return {};
  }

  saveSettings(settings: Settings): void {
    translateSqlite('write the settings', () => this.#put('settings', settings));
  }

  /** The answer that was given to a command, if it was. */
  response(id: string): unknown {
    const row = this.#db.prepare<[string], { response: string }>('SELECT response FROM command WHERE id = ?').get(id);
    return row === undefined ? null : (parseJson(row.response) ?? null);
  }

  saveResponse(id: string, response: unknown, timeMs: number): void {
    translateSqlite('write an answer', () => this.#db.transaction(() => {
      this.#db.prepare('INSERT OR REPLACE INTO command (id, time_ms, response) VALUES (?, ?, ?)').run(id, Math.round(timeMs), JSON.stringify(response));
      this.#db.prepare('DELETE FROM command WHERE id NOT IN (SELECT id FROM command ORDER BY time_ms DESC LIMIT ?)').run(KEPT_COMMANDS);
    }).immediate());
  }

  #row(key: string): string | null {
    return this.#db.prepare<[string], { json: string }>('SELECT json FROM value WHERE key = ?').get(key)?.json ?? null;
  }

  #get(key: string): unknown {
    const row = this.#row(key);
    return row === null ? null : (parseJson(row) ?? null);
  }

  /** Kept for whoever wants to know what happened. A disk that takes no more is no reason to stop here. */
  #setAside(key: string, row: string): void {
    try {
      this.#db.prepare('INSERT OR REPLACE INTO value (key, json) VALUES (?, ?)').run(`${key}.unread`, row);
    } catch {
      // The fault that is raised says as much as can be kept.
    }
  }

  #put(key: string, value: unknown): void {
    this.#db.prepare('INSERT OR REPLACE INTO value (key, json) VALUES (?, ?)').run(key, JSON.stringify(value));
  }
}

/** Undefined for text that is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
