/**
 * The journal holds what the daemon decided, in SQLite with synchronous=FULL. It has six parts, each in tables of its own: deployments (state and
 * transitions), downloads, settings, runs (with the numbers of connections), answers to commands, and what was verified. Once a method returns, a
 * power cut cannot undo it.
 */
import type { CodedError } from '../errors.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { faultPoint } from '../platform/fault.js';
import { readRunRecord, type RunRecord } from '../platform/last-run.js';
import { migrateJournal, parseJson } from './journal-schema.js';
import { PipelineJournal } from './pipeline-journal.js';
import { TrustJournal } from './trust-journal.js';

const KEPT_COMMANDS = 200;
/** Seconds since 1970 until the year 36812: a clock at its maximum leaves enough larger numbers. */
const MAX_BIRTH = 2 ** 40;

/** The number of a connection is not smaller. @param nowMs the clock, whatever it says */
export const leastBirth = (nowMs: number): number => Math.max(1, Math.min(Math.floor(nowMs / 1000), MAX_BIRTH));

/** The part of the journal for the whole device; `of` gives the part of one pipeline. */
export class Journal {
  readonly #db: Sqlite;
  readonly #onDamaged: (error: CodedError) => void;
  #run: RunRecord | null = null;

  /**
   * Creates the tables, or converts those of an earlier version to the present form.
   * @param onDamaged called for values that cannot be read; each is kept aside in the table `unread`
   * @throws AgentError E_STATE, E_DISK_FULL, E_STATE_READ_ONLY
   */
  constructor(db: Sqlite, onDamaged: (error: CodedError) => void = () => undefined) {
    this.#db = db;
    this.#onDamaged = onDamaged;
    translateSqlite('create the journal', () => migrateJournal(db));
  }

  /** The deployments, downloads and settings of one pipeline. */
  of(pipeline: string): PipelineJournal {
    return new PipelineJournal(this.#db, pipeline, this.#onDamaged);
  }

  /** What was verified, and which signed commands were taken. */
  get trust(): TrustJournal {
    return new TrustJournal(this.#db);
  }

  /** Notes that a run begins. @returns the note of the run before, if that one did not end by `markStopped` */
  markRunning(run: RunRecord): RunRecord | null {
    const before = this.#db.prepare<[], { json: string }>('SELECT json FROM run').get();
    this.#run = run;
    this.#writeRun();
    return before === undefined ? null : readRunRecord(parseJson(before.json));
  }

  /**
   * Notes which package this process opens now for a pipeline; null notes that it is done.
   * @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE
   */
  noteOpening(pipeline: string, digest: string | null): void {
    if (this.#run === null) return;
    const { [pipeline]: _, ...others } = this.#run.opening;
    this.#note({ opening: digest === null ? others : { ...others, [pipeline]: digest } });
  }

  /** Notes the pipelines whose active package hangs on a frame. @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE */
  noteHung(pipelines: readonly string[]): void {
    this.#note({ hung: [...pipelines] });
  }

  markStopped(): void {
    this.#run = null;
    translateSqlite('write the journal', () => this.#db.prepare('DELETE FROM run').run());
  }

  /**
   * The number of the next connection. It grows with each call, over all runs. It is at least the clock in seconds, so that it grows after this database was lost
   * too: whoever remembers a larger number would take no status and no report of this device again.
   */
  nextBirth(nowMs: number): number {
    const least = leastBirth(nowMs);
    return translateSqlite('write the journal', () => this.#db.prepare<[number, number], { seq: number }>(
      'INSERT INTO birth (id, seq) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET seq = max(seq + 1, ?) RETURNING seq').get(least, least)?.seq ?? least);
  }

  /** The answer that was given to a command; null when there was none, or when it cannot be read. */
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

  #note(change: Partial<RunRecord>): void {
    if (this.#run === null) return;
    this.#run = { ...this.#run, ...change };
    this.#writeRun();
  }

  #writeRun(): void {
    translateSqlite('write the journal', () => {
      faultPoint('journal.run');
      this.#db.prepare('INSERT OR REPLACE INTO run (id, json) VALUES (1, ?)').run(JSON.stringify(this.#run));
    });
  }
}
