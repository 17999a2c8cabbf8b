/**
 * Store and forward in SQLite. What goes up is written here first and deleted when the broker has it, so a restart or an
 * outage loses nothing that fits; what does not fit is dropped by class, counted by reason, and telemetry windows are
 * merged instead. Durability is `normal`: a power cut may take the last second, and never the file.
 */
import { decodePayload, mergeable, mergeWindows, telemetrySchema, type TelemetryWindow } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { MAX_AGE_MS, outboxClasses, rankOf, SHARE, type DropReason, type OutboxClass } from './policy.js';

export interface OutboxMessage {
  id: number;
  class: OutboxClass;
  /** Below `sterna/v1/{fleet}/{device}/`. */
  topic: string;
  payload: Buffer;
  created_ms: number;
}

interface Row {
  id: number;
  class: number;
  topic: string;
  payload: Buffer;
  created_ms: number;
}

/** Of SQLite's own, a row and its index entry. */
const ROW_BYTES = 64;
/** Kept in memory while the disk is full, so that a connected device still speaks. */
const MEMORY_MESSAGES = 64;
const FREE_PAGES_TO_RETURN = 64;
/** 2024-01-01. A message that is older was stamped by a clock that had not been set: its age is unknown. */
const CLOCK_WAS_SET_MS = 1_704_067_200_000;

export class Outbox {
  readonly #db: Sqlite;
  readonly #maxBytes: number;
  readonly #onFault: (error: CodedError) => void;
  readonly #dropped = new Map<string, number>();
  readonly #bytes = new Map<OutboxClass, number>();
  /** Ids below zero: never in the database. */
  #memory: OutboxMessage[] = [];
  #memoryId = 0;
  #merged = 0;

  /** @throws AgentError E_STATE, E_DISK_FULL */
  constructor(db: Sqlite, maxBytes: number, onFault: (error: CodedError) => void) {
    this.#db = db;
    this.#maxBytes = maxBytes;
    this.#onFault = onFault;
    translateSqlite('create the outbox', () => db.exec(`
      CREATE TABLE IF NOT EXISTS message (
        id INTEGER PRIMARY KEY AUTOINCREMENT, class INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL, created_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX IF NOT EXISTS message_class ON message (class, id);
    `));
    const sums = db.prepare<[], { class: number; bytes: number }>('SELECT class, SUM(bytes) AS bytes FROM message GROUP BY class').all();
    for (const { class: rank, bytes } of sums) this.#account(rank, bytes);
  }

  /** Never throws: a message that cannot be stored is kept in memory or counted as dropped. */
  put(message: { class: OutboxClass; topic: string; payload: Buffer }, nowMs: number): void {
    const bytes = message.payload.byteLength + message.topic.length + ROW_BYTES;
    try {
      this.#makeRoom(message.class, bytes);
      translateSqlite('store a message', () => this.#db
        .prepare('INSERT INTO message (class, topic, payload, bytes, created_ms) VALUES (?, ?, ?, ?, ?)')
        .run(rankOf(message.class), message.topic, message.payload, bytes, Math.round(nowMs)));
      this.#account(rankOf(message.class), bytes);
    } catch (error) {
      this.#keepInMemory({ ...message, id: --this.#memoryId, created_ms: nowMs });
      this.#onFault(toCodedError(error));
    }
  }

  /** Of the newest stored message; 0 when nothing was ever stored. */
  lastId(): number {
    return this.#db.prepare<[], { id: number }>("SELECT seq AS id FROM sqlite_sequence WHERE name = 'message'").get()?.id ?? 0;
  }

  /**
   * The next messages by class, oldest first: `newerThan` or `upTo` an id. Those in memory count as newer than everything.
   * @throws AgentError E_STATE
   */
  next(limit: number, exclude: ReadonlySet<number>, range: { newerThan?: number; upTo?: number } = {}): OutboxMessage[] {
    if (limit <= 0) return [];
    const rows = translateSqlite('read the outbox', () => this.#db.prepare<[number, number, number], Row>(
      'SELECT id, class, topic, payload, created_ms FROM message WHERE id > ? AND id <= ? ORDER BY class, id LIMIT ?',
    ).all(range.newerThan ?? 0, range.upTo ?? Number.MAX_SAFE_INTEGER, limit + exclude.size));
    const stored = rows.map((row): OutboxMessage => ({ ...row, class: outboxClasses[row.class] ?? 'raw' }));
    const inMemory = range.upTo === undefined ? this.#memory : [];
    return [...inMemory, ...stored].filter((m) => !exclude.has(m.id)).slice(0, limit);
  }

  /** The broker has it. @throws AgentError E_DISK_FULL: even deleting needs space; then call it again later */
  remove(id: number): void {
    if (id < 0) this.#memory = this.#memory.filter((m) => m.id !== id);
    else translateSqlite('delete a message', () => this.#delete('id = ?', id));
  }

  /** It can never be delivered. */
  drop(message: OutboxMessage, reason: DropReason): void {
    this.#count(message.class, reason, 1);
    this.remove(message.id);
  }

  /** Bytes of stored messages, and how many. */
  usage(): { bytes: number; messages: number } {
    const stored = this.#db.prepare<[], { messages: number }>('SELECT COUNT(*) AS messages FROM message').get();
    return { bytes: this.#totalBytes(), messages: (stored?.messages ?? 0) + this.#memory.length };
  }

  /** `class/reason` to number of messages lost. */
  get dropped(): ReadonlyMap<string, number> {
    return this.#dropped;
  }

  /** Windows that were merged into a neighbour. */
  get merged(): number {
    return this.#merged;
  }

  /** Expiry, and free pages back to the file system. The scheduled job. */
  maintain(nowMs: number): void {
    try {
      translateSqlite('tidy the outbox', () => {
        for (const name of outboxClasses) {
          const oldest = Math.round(nowMs - MAX_AGE_MS[name]);
          this.#count(name, 'age', this.#delete('class = ? AND created_ms BETWEEN ? AND ?', rankOf(name), CLOCK_WAS_SET_MS, oldest));
        }
        this.reclaim();
      });
    } catch (error) {
      this.#onFault(toCodedError(error));
    }
  }

  reclaim(): void {
    if (Number(this.#db.pragma('freelist_count', { simple: true })) >= FREE_PAGES_TO_RETURN) this.#db.pragma('incremental_vacuum');
    this.#db.pragma('wal_checkpoint(TRUNCATE)');
  }

  /** Merges, then drops the oldest of the least important, until a message of this class fits. @throws when it cannot */
  #makeRoom(forClass: OutboxClass, bytes: number): void {
    const cap = Math.min(this.#maxBytes, this.#maxBytes * SHARE[forClass]);
    if (forClass === 'summary') while (this.#bytesOf(forClass) + bytes > cap && this.#mergeOnce());
    for (const name of [...outboxClasses].reverse()) {
      if (rankOf(name) < rankOf(forClass)) break;
      const over = (): boolean => this.#totalBytes() + bytes > this.#maxBytes || (name === forClass && this.#bytesOf(name) + bytes > cap);
      if (name === 'summary') while (over() && this.#mergeOnce());
      while (over() && this.#dropOldest(name));
    }
    if (this.#totalBytes() + bytes > this.#maxBytes) {
      throw new AgentError('E_DISK_FULL', `A message of ${bytes} bytes does not fit beside more important ones in an outbox of ${this.#maxBytes}`);
    }
  }

  #bytesOf(name: OutboxClass): number {
    return this.#bytes.get(name) ?? 0;
  }

  #totalBytes(): number {
    return outboxClasses.reduce((sum, name) => sum + this.#bytesOf(name), 0);
  }

  #account(rank: number, bytes: number): void {
    const name = outboxClasses[rank] ?? 'raw';
    this.#bytes.set(name, this.#bytesOf(name) + bytes);
  }

  /** @returns how many were deleted */
  #delete(where: string, ...values: number[]): number {
    const gone = this.#db.prepare<number[], { class: number; bytes: number }>(`DELETE FROM message WHERE ${where} RETURNING class, bytes`).all(...values);
    for (const { class: rank, bytes } of gone) this.#account(rank, -bytes);
    return gone.length;
  }

  #dropOldest(name: OutboxClass): boolean {
    const gone = this.#delete('id IN (SELECT id FROM message WHERE class = ? ORDER BY id LIMIT 8)', rankOf(name));
    this.#count(name, 'full', gone);
    return gone > 0;
  }

  /**
   * One pass over the stored windows: the neighbours that make the shortest window become one, everywhere, so that
   * resolution goes evenly. @returns false when nothing can be merged
   */
  #mergeOnce(): boolean {
    const rows = this.#db.prepare<[number], Row & { bytes: number }>('SELECT id, class, topic, payload, bytes, created_ms FROM message WHERE class = ? ORDER BY id').all(rankOf('summary'));
    const windows = rows.map((row) => ({ row, window: parseWindow(row.payload) }));
    const cost = (i: number): number => {
      const [a, b] = [windows[i]?.window, windows[i + 1]?.window];
      return a != null && b != null && mergeable(a, b) ? b.seq - a.first_seq : Infinity;
    };
    const shortest = windows.reduce((least, _, i) => Math.min(least, cost(i)), Infinity);
    if (shortest === Infinity) return false;
    let merged = 0;
    let saved = 0;
    this.#db.transaction(() => {
      for (let i = 0; i + 1 < windows.length; i++) {
        const [a, b] = [windows[i], windows[i + 1]];
        if (a?.window == null || b?.window == null || cost(i) > shortest) continue;
        const whole = Buffer.from(JSON.stringify(mergeWindows(a.window, b.window)));
        const bytes = whole.byteLength + b.row.topic.length + ROW_BYTES;
        this.#db.prepare('UPDATE message SET payload = ?, bytes = ? WHERE id = ?').run(whole, bytes, b.row.id);
        this.#db.prepare('DELETE FROM message WHERE id = ?').run(a.row.id);
        saved += a.row.bytes + b.row.bytes - bytes;
        merged += 1;
        i += 1;
      }
    }).immediate();
    this.#account(rankOf('summary'), -saved);
    this.#merged += merged;
    return true;
  }

  #keepInMemory(message: OutboxMessage): void {
    this.#memory.push(message);
    this.#memory.sort((a, b) => rankOf(a.class) - rankOf(b.class) || b.id - a.id);
    while (this.#memory.length > MEMORY_MESSAGES) {
      const lost = this.#memory.pop();
      if (lost !== undefined) this.#count(lost.class, 'disk_full', 1);
    }
  }

  #count(name: OutboxClass, reason: DropReason, n: number): void {
    if (n === 0) return;
    const key = `${name}/${reason}`;
    this.#dropped.set(key, (this.#dropped.get(key) ?? 0) + n);
  }
}

function parseWindow(payload: Buffer): TelemetryWindow | null {
  try {
    return decodePayload(telemetrySchema, payload, payload.byteLength);
  } catch {
    return null;
  }
}
