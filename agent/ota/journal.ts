/**
 * The journal: the machine's state and the bitmap of the download, in SQLite with synchronous=FULL. One transaction a
 * transition; once `save` returns, a power cut cannot take the decision back.
 */
import { z } from 'zod';
import { otaStateName, type Settings } from '../contracts/index.js';
import { settingsSchema } from '../contracts/desired.js';
import { faultPoint } from '../platform/fault.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { initialOtaState, type OtaState } from './machine.js';

const packageId = { name: z.string(), version: z.string(), digest: z.string(), size_bytes: z.number() };
const slot = z.object({ ...packageId, since_ms: z.number() });

const stateSchema = z.object({
  phase: otaStateName,
  candidate: z.object({ ...packageId, generation: z.number(), block_bytes: z.number() }).nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  generation_seen: z.number().nullable(),
  generation_applied: z.number().nullable(),
  active: slot.nullable(),
  previous: slot.nullable(),
  probation: z.object({ digest: z.string(), until_ms: z.number(), crashes: z.number() }).nullable(),
  tries: z.number(),
  warm_attempts: z.number(),
});

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

  /** Creates the tables where they are missing. @throws AgentError E_STATE, E_DISK_FULL */
  constructor(db: Sqlite) {
    this.#db = db;
    translateSqlite('create the journal', () => db.exec(`
      CREATE TABLE IF NOT EXISTS value (key TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS transition (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, phase TEXT NOT NULL, event TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS download (digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, block_bytes INTEGER NOT NULL, bitmap BLOB NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, response TEXT NOT NULL) STRICT;
    `));
  }

  /** The state as it was last saved; the initial one when there is none, or when a future version wrote it. */
  load(): OtaState {
    const parsed = stateSchema.safeParse(this.#get('ota'));
    return parsed.success ? parsed.data : initialOtaState;
  }

  /** @throws AgentError E_DISK_FULL, E_STATE: then nothing has changed */
  save(state: OtaState, event: string, timeMs: number): void {
    faultPoint(`journal.before.${state.phase}`);
    translateSqlite('write the journal', () => this.#db.transaction(() => {
      this.#put('ota', state);
      this.#db.prepare('INSERT INTO transition (time_ms, phase, event) VALUES (?, ?, ?)').run(Math.round(timeMs), state.phase, event);
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

  /** True when the previous run did not end by `markStopped`: it crashed, or the power failed. */
  markRunning(): boolean {
    const crashed = this.#get('running') === true;
    translateSqlite('write the journal', () => this.#put('running', true));
    return crashed;
  }

  markStopped(): void {
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
    const parsed = settingsSchema.safeParse(this.#get('settings'));
    return parsed.success ? parsed.data : {};
  }

  saveSettings(settings: Settings): void {
    translateSqlite('write the settings', () => this.#put('settings', settings));
  }

  /** The answer that was given to a command, if it was. */
  response(id: string): unknown {
    const row = this.#db.prepare<[string], { response: string }>('SELECT response FROM command WHERE id = ?').get(id);
    return row === undefined ? null : JSON.parse(row.response);
  }

  saveResponse(id: string, response: unknown, timeMs: number): void {
    translateSqlite('write an answer', () => this.#db.transaction(() => {
      this.#db.prepare('INSERT OR REPLACE INTO command (id, time_ms, response) VALUES (?, ?, ?)').run(id, Math.round(timeMs), JSON.stringify(response));
      this.#db.prepare('DELETE FROM command WHERE id NOT IN (SELECT id FROM command ORDER BY time_ms DESC LIMIT ?)').run(KEPT_COMMANDS);
    }).immediate());
  }

  #get(key: string): unknown {
    const row = this.#db.prepare<[string], { json: string }>('SELECT json FROM value WHERE key = ?').get(key);
    if (row === undefined) return null;
    try {
      return JSON.parse(row.json);
    } catch {
      return null;
    }
  }

  #put(key: string, value: unknown): void {
    this.#db.prepare('INSERT OR REPLACE INTO value (key, json) VALUES (?, ?)').run(key, JSON.stringify(value));
  }
}
