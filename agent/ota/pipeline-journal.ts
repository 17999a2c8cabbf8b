/** The journal's part for one pipeline: the state of its deployments, the progress of its downloads, its settings. */
import type { Settings } from '../contracts/index.js';
import { settingsSchema } from '../contracts/desired.js';
import type { CodedError } from '../errors.js';
import { faultPoint } from '../platform/fault.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { parseJson } from './journal-schema.js';
import type { OtaState } from './state.js';
import { decodeState, encodeState, type Stored, type StoredState } from './stored-state.js';

const KEPT_TRANSITIONS = 200;

export interface DownloadProgress {
  digest: string;
  size_bytes: number;
  block_bytes: number;
  /** When bit i (least significant first) is set, block i is in the partial file and on the disk. */
  bitmap: Buffer;
}

export class PipelineJournal {
  readonly #db: Sqlite;
  readonly #pipeline: string;
  readonly #onDamaged: (error: CodedError) => void;

  constructor(db: Sqlite, pipeline: string, onDamaged: (error: CodedError) => void) {
    this.#db = db;
    this.#pipeline = pipeline;
    this.#onDamaged = onDamaged;
  }

  /** The state as it was last saved. A state that cannot be read is kept aside before anything is written over it. */
  load(): Stored<StoredState> {
    const row = this.#row('deployment');
    if (row === null) return { kind: 'none' };
    const value = parseJson(row);
    const stored: Stored<StoredState> = value === undefined ? { kind: 'unsound', problem: 'it is not JSON' } : decodeState(value);
    if (stored.kind === 'unsound') this.#setAside('deployment', row);
    return stored;
  }

  /**
   * Saves a transition in one transaction.
   * @param entry.sequence how often the slots have changed
   * @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE; nothing has changed then
   */
  save(state: OtaState, entry: { event: string; timeMs: number; sequence: number }): void {
    translateSqlite('write the journal', () => {
      faultPoint(`journal.before.${state.phase}`);
      this.#db.transaction(() => {
        this.#put('deployment', encodeState({ sequence: entry.sequence, state }));
        this.#db.prepare('INSERT INTO transition (pipeline, time_ms, phase, event) VALUES (?, ?, ?, ?)').run(this.#pipeline, Math.round(entry.timeMs), state.phase, entry.event);
        this.#db.prepare('DELETE FROM transition WHERE pipeline = @name AND id <= (SELECT id FROM transition WHERE pipeline = @name ORDER BY id DESC LIMIT 1 OFFSET @kept)')
          .run({ name: this.#pipeline, kept: KEPT_TRANSITIONS });
      }).immediate();
      faultPoint(`journal.after.${state.phase}`);
    });
  }

  /** The transitions that the journal keeps, newest last. */
  transitions(): { time_ms: number; phase: string; event: string }[] {
    return this.#db.prepare<[string], { time_ms: number; phase: string; event: string }>(
      'SELECT time_ms, phase, event FROM transition WHERE pipeline = ? ORDER BY id').all(this.#pipeline);
  }

  progress(digest: string): DownloadProgress | null {
    return this.#db.prepare<[string, string], DownloadProgress>(
      'SELECT digest, size_bytes, block_bytes, bitmap FROM download WHERE pipeline = ? AND digest = ?').get(this.#pipeline, digest) ?? null;
  }

  /** Call it only after the blocks are on the disk. @throws AgentError E_DISK_FULL, E_STATE */
  saveProgress(progress: DownloadProgress): void {
    translateSqlite('write the progress of the download', () => {
      faultPoint('download.progress.before');
      this.#db.prepare('INSERT OR REPLACE INTO download (pipeline, digest, size_bytes, block_bytes, bitmap) VALUES (@pipeline, @digest, @size_bytes, @block_bytes, @bitmap)')
        .run({ pipeline: this.#pipeline, ...progress });
      faultPoint('download.progress');
    });
  }

  forgetProgressExcept(digest: string | null): void {
    translateSqlite('forget downloads', () => {
      faultPoint('journal.forget');
      this.#db.prepare('DELETE FROM download WHERE pipeline = ? AND digest IS NOT ?').run(this.#pipeline, digest);
    });
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
    translateSqlite('write the settings', () => {
      faultPoint('journal.settings');
      this.#put('settings', settings);
    });
  }

  #row(table: 'deployment' | 'settings'): string | null {
    return this.#db.prepare<[string], { json: string }>(`SELECT json FROM ${table} WHERE pipeline = ?`).get(this.#pipeline)?.json ?? null;
  }

  #put(table: 'deployment' | 'settings', value: unknown): void {
    this.#db.prepare(`INSERT OR REPLACE INTO ${table} (pipeline, json) VALUES (?, ?)`).run(this.#pipeline, JSON.stringify(value));
  }

  /** Keeps an unreadable row for whoever wants to know what happened. If the disk takes nothing more, the daemon goes on without the copy. */
  #setAside(table: string, row: string): void {
    try {
      this.#db.prepare('INSERT OR REPLACE INTO unread (key, json) VALUES (?, ?)').run(`${table}/${this.#pipeline}`, row);
    } catch {
      // The fault that is raised has to suffice.
    }
  }
}
