/**
 * The messages of one SQLite database: classes, caps, age, merging. Each change is one transaction, together with what it drops and with the state of
 * the outbox, so that a kill at any point leaves all of it or none. This class does not handle disks that become full or read-only: it throws an
 * error, and nothing has changed then.
 */
import { z } from 'zod';
import { decodePayload, lineageOf, mergeable, mergeWindows, telemetrySchema, type TelemetryWindow } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { addTo, MAX_AGE_MS, outboxClasses, rankOf, SHARE, type DropReason, type OutboxClass, type Tally } from './policy.js';

/** The windows that a message of telemetry stands for. Windows may be merged only when their lineage is the same. */
export interface WindowSpan {
  /** Stream, life of the agent, and model, joined to one text. */
  lineage: string;
  firstSeq: number;
  seq: number;
}

export interface StoredMessage {
  /** Unique over all databases of one process. Later messages have larger ids. */
  id: number;
  class: OutboxClass;
  /** The topic below `sterna/v2/{fleet}/{device}/`. */
  topic: string;
  payload: Buffer;
  /** When it was stored, by the outbox's own clock, which counts only while the machine is on. */
  storedMs: number;
  /** Whether it was handed to a connection. It may have arrived then, so it never changes again. */
  sent: boolean;
  span: WindowSpan | null;
}

const stateSchema = z.object({
  stream_id: z.string(),
  next_seq: z.number(),
  /** Where the sequence goes on after a power cut. It is durable, and never below `next_seq`. */
  reserved_seq: z.number(),
  /** Whether windows may have numbers, up to `reserved_seq`, that are in the ledger in memory and not here. */
  held: z.boolean().default(false),
  next_id: z.number(),
  /** What the outbox's clock showed at the moment `boot`, `boot_ms` of the boot clock. */
  age_ms: z.number(),
  boot: z.string().nullable(),
  boot_ms: z.number(),
  /** The latest epoch of the ledger whose contents are in this database. */
  ledger_epoch: z.number(),
  merged: z.number(),
});
export type StoreState = z.infer<typeof stateSchema>;

interface Row {
  id: number;
  class: number;
  topic: string;
  payload: Buffer;
  bytes: number;
  stored_ms: number;
  sent: number;
  lineage: string | null;
  first_seq: number | null;
  seq: number | null;
}

export interface IdRange {
  newerThan?: number;
  upTo?: number;
}

const SCHEMA_VERSION = 2;
const SCHEMA = `
  CREATE TABLE message (
    id INTEGER PRIMARY KEY, class INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL, bytes INTEGER NOT NULL, stored_ms INTEGER NOT NULL,
    sent INTEGER NOT NULL, lineage TEXT, first_seq INTEGER, seq INTEGER
  ) STRICT;
  CREATE INDEX message_by_class ON message (class, id);
  CREATE TABLE dropped (key TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;
  CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL) STRICT;
`;
/**
 * Converts a database of the first version, which had no sequence that survives a restart. Its windows may have been sent, so they stay as they are.
 */
const FROM_0 = `
  DROP INDEX IF EXISTS message_class;
  ALTER TABLE message RENAME TO message_0;
  ${SCHEMA}
  INSERT INTO message (id, class, topic, payload, bytes, stored_ms, sent) SELECT id, class, topic, payload, bytes, 0, 1 FROM message_0;
  DROP TABLE message_0;
`;

/** Messages of the first version of the contracts are refused by the other end, so they are counted as dropped. */
const FROM_1 = `
  INSERT INTO dropped (key, n)
    SELECT CASE class ${outboxClasses.map((name, rank) => `WHEN ${rank} THEN '${name}/outdated'`).join(' ')} ELSE 'raw/outdated' END, SUM(COALESCE(seq - first_seq, 0) + 1)
    FROM message GROUP BY class;
  DELETE FROM message;
`;

/** Bytes that SQLite itself needs for a row and its index entry. */
const ROW_BYTES = 64;
const FREE_PAGES_TO_RETURN = 64;

export class MessageStore {
  readonly #db: Sqlite;
  readonly #maxBytes: number;
  readonly #fullReason: () => DropReason;
  /** Messages that are handed to the connection right now. They are neither merged nor dropped. */
  readonly #handed: ReadonlySet<number>;
  #bytes = new Map<OutboxClass, number>();
  #dropped: Tally = new Map();
  #merged = 0;

  /** @throws AgentError E_STATE, E_DISK_FULL, E_STATE_READ_ONLY, E_STATE_CORRUPT */
  constructor(db: Sqlite, options: { maxBytes: number; handed: ReadonlySet<number>; fullReason?: () => DropReason }) {
    this.#db = db;
    this.#maxBytes = options.maxBytes;
    this.#handed = options.handed;
    this.#fullReason = options.fullReason ?? (() => 'full');
    translateSqlite('open the outbox', () => {
      migrate(db);
      for (const { class: rank, bytes } of db.prepare<[], { class: number; bytes: number }>('SELECT class, SUM(bytes) AS bytes FROM message GROUP BY class').all()) {
        this.#account(rank, bytes);
      }
      for (const { key, n } of db.prepare<[], { key: string; n: number }>('SELECT key, n FROM dropped').all()) this.#dropped.set(key, n);
    });
  }

  /** The state as it was last saved; null in a new database. */
  loadState(): StoreState | null {
    const row = translateSqlite('read the outbox', () => this.#db.prepare<[], { json: string }>('SELECT json FROM state').get());
    const parsed = row === undefined ? null : stateSchema.safeParse(JSON.parse(row.json));
    this.#merged = parsed?.data?.merged ?? 0;
    return parsed?.data ?? null;
  }

  lastId(): number {
    return this.#db.prepare<[], { id: number | null }>('SELECT MAX(id) AS id FROM message').get()?.id ?? 0;
  }

  /** When the oldest message was stored, by the outbox's clock; null without any. */
  oldestMs(): number | null {
    return this.#db.prepare<[], { ms: number | null }>('SELECT MIN(stored_ms) AS ms FROM message').get()?.ms ?? null;
  }

  /** Bytes and number of the messages. */
  usage(): { bytes: number; messages: number } {
    const { n } = this.#db.prepare<[], { n: number }>('SELECT COUNT(*) AS n FROM message').get() ?? { n: 0 };
    return { bytes: this.#totalBytes(), messages: n };
  }

  get dropped(): ReadonlyMap<string, number> {
    return this.#dropped;
  }

  /** Number of windows that were merged into a neighbour. */
  get merged(): number {
    return this.#merged;
  }

  /** Units that are stored, by class: windows for telemetry, messages for the rest. */
  units(): Map<OutboxClass, number> {
    const rows = this.#db.prepare<[], { class: number; n: number }>('SELECT class, SUM(COALESCE(seq - first_seq, 0) + 1) AS n FROM message GROUP BY class').all();
    return new Map(rows.map(({ class: rank, n }) => [classOf(rank), n]));
  }

  /** Runs `work` and saves the state in one transaction. With `durable` it also survives a power cut. @throws AgentError */
  commit(state: StoreState | null, work: () => void, durable = false): void {
    const before = { bytes: new Map(this.#bytes), dropped: new Map(this.#dropped), merged: this.#merged };
    try {
      translateSqlite('write the outbox', () => {
        if (durable) this.#db.pragma('synchronous = FULL');
        this.#db.transaction(() => {
          work();
          if (state !== null) this.#db.prepare('INSERT OR REPLACE INTO state (id, json) VALUES (1, ?)').run(JSON.stringify({ ...state, merged: this.#merged }));
        }).immediate();
      });
    } catch (error) {
      this.#bytes = before.bytes;
      this.#dropped = before.dropped;
      this.#merged = before.merged;
      throw error;
    } finally {
      if (durable) this.#db.pragma('synchronous = NORMAL');
    }
  }

  /**
   * Inserts a message and makes room for it. A message that does not fit beside more important ones is counted as dropped. Call it within `commit`.
   */
  insert(message: StoredMessage): void {
    const bytes = message.payload.byteLength + message.topic.length + ROW_BYTES;
    this.#makeRoom(message.class, bytes);
    const units = message.span === null ? 1 : message.span.seq - message.span.firstSeq + 1;
    // A message that is on its way was in the store in memory before. It may arrive, so it is not counted as lost.
    if (this.#totalBytes() + bytes > this.#maxBytes && !this.#handed.has(message.id)) return this.count(message.class, this.#fullReason(), units);
    this.#db.prepare('INSERT INTO message (id, class, topic, payload, bytes, stored_ms, sent, lineage, first_seq, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)').run(
      message.id, rankOf(message.class), message.topic, message.payload, bytes, Math.round(message.storedMs), message.sent ? 1 : 0,
      message.span?.lineage ?? null, message.span?.firstSeq ?? null, message.span?.seq ?? null,
    );
    this.#account(rankOf(message.class), bytes);
  }

  /** Call it within `commit`. */
  markSent(ids: Iterable<number>): void {
    for (const id of ids) this.#db.prepare('UPDATE message SET sent = 1 WHERE id = ?').run(id);
  }

  /** Notes that every message up to this one may have been sent. Call it within `commit`. */
  markSentThrough(id: number): void {
    this.#db.prepare('UPDATE message SET sent = 1 WHERE id <= ?').run(id);
  }

  /** Deletes a message. With a reason it is a loss, and is counted. Call it within `commit`. @returns whether the message was here */
  delete(id: number, reason: DropReason | null = null): boolean {
    return this.#delete('id = ?', [id], reason) > 0;
  }

  /** Drops messages that are too old. Call it within `commit`. */
  expire(nowMs: number): void {
    for (const name of outboxClasses) {
      const old = this.#db.prepare<[number, number], { id: number }>('SELECT id FROM message WHERE class = ? AND stored_ms <= ?').all(rankOf(name), Math.round(nowMs - MAX_AGE_MS[name]));
      for (const { id } of old) if (!this.#handed.has(id)) this.#delete('id = ?', [id], 'age');
    }
  }

  /** Moves the times at which messages were stored, because the outbox's clock turned out to be this far ahead of them. Call it within `commit`. */
  shiftAges(ms: number): void {
    this.#db.prepare('UPDATE message SET stored_ms = stored_ms + ?').run(Math.round(ms));
  }

  /** Counts losses of a class. Call it within `commit`. */
  count(name: OutboxClass, reason: DropReason, n: number): void {
    this.addDropped(`${name}/${reason}`, n);
  }

  /** Adds to the count of losses under this key. Call it within `commit`. */
  addDropped(key: string, n: number): void {
    if (n === 0) return;
    this.#db.prepare('INSERT INTO dropped (key, n) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET n = n + excluded.n').run(key, n);
    addTo(this.#dropped, key, n);
  }

  /** The next messages by class, then oldest first. @throws AgentError E_STATE */
  next(limit: number, exclude: (id: number) => boolean, range: IdRange = {}): StoredMessage[] {
    return translateSqlite('read the outbox', () => {
      const found: StoredMessage[] = [];
      const rows = this.#db.prepare<[number, number], Row>('SELECT * FROM message WHERE id > ? AND id <= ? ORDER BY class, id')
        .iterate(range.newerThan ?? 0, range.upTo ?? Number.MAX_SAFE_INTEGER);
      for (const row of rows) {
        if (found.length >= limit) break;
        if (!exclude(row.id)) found.push(toMessage(row));
      }
      return found;
    });
  }

  has(id: number): boolean {
    return translateSqlite('read the outbox', () => this.#db.prepare('SELECT 1 FROM message WHERE id = ?').get(id) !== undefined);
  }

  /** Whether there is nothing to expire, and few pages to return. */
  get tidy(): boolean {
    return this.usage().messages === 0 && this.#freePages() < FREE_PAGES_TO_RETURN;
  }

  /** Returns free pages to the file system. The write-ahead log stays allocated (at most 1 MiB), because on a full disk deleting needs it. */
  reclaim(): void {
    translateSqlite('tidy the outbox', () => {
      if (this.#freePages() >= FREE_PAGES_TO_RETURN) this.#db.pragma('incremental_vacuum');
      this.#db.pragma('wal_checkpoint(RESTART)');
    });
  }

  close(): void {
    this.#db.close();
  }

  #freePages(): number {
    return Number(this.#db.pragma('freelist_count', { simple: true }));
  }

  /** Merges windows, then drops the oldest messages of the least important class, until a message of this class fits or nothing is left to drop. */
  #makeRoom(forClass: OutboxClass, bytes: number): void {
    const cap = this.#maxBytes * SHARE[forClass];
    const overCap = (): number => this.#bytesOf(forClass) + bytes - cap;
    if (forClass === 'summary') while (overCap() > 0 && this.#mergeOnce());
    for (const name of [...outboxClasses].reverse()) {
      if (rankOf(name) < rankOf(forClass)) break;
      const excess = (): number => Math.max(this.#totalBytes() + bytes - this.#maxBytes, name === forClass ? overCap() : 0);
      if (name === 'summary') while (excess() > 0 && this.#mergeOnce());
      while (excess() > 0 && this.#dropOldest(name, excess()));
    }
  }

  #bytesOf(name: OutboxClass): number {
    return this.#bytes.get(name) ?? 0;
  }

  #totalBytes(): number {
    return outboxClasses.reduce((sum, name) => sum + this.#bytesOf(name), 0);
  }

  #account(rank: number, bytes: number): void {
    this.#bytes.set(classOf(rank), this.#bytesOf(classOf(rank)) + bytes);
  }

  #delete(where: string, values: number[], reason: DropReason | null): number {
    const gone = this.#db.prepare<number[], Pick<Row, 'class' | 'bytes' | 'first_seq' | 'seq'>>(`DELETE FROM message WHERE ${where} RETURNING class, bytes, first_seq, seq`).all(...values);
    for (const { class: rank, bytes, first_seq, seq } of gone) {
      this.#account(rank, -bytes);
      if (reason !== null) this.count(classOf(rank), reason, (seq ?? 0) - (first_seq ?? 0) + 1);
    }
    return gone.length;
  }

  /**
   * Drops the oldest messages until this many bytes are free. Messages on their way stay, because they would be counted as lost although they arrive.
   */
  #dropOldest(name: OutboxClass, bytes: number): boolean {
    const oldest = this.#db.prepare<[number, number], { id: number; bytes: number }>('SELECT id, bytes FROM message WHERE class = ? ORDER BY id LIMIT ?')
      .all(rankOf(name), 32 + this.#handed.size);
    let free = 0;
    for (const row of oldest) {
      if (free >= bytes) break;
      if (this.#handed.has(row.id)) continue;
      this.#delete('id = ?', [row.id], this.#fullReason());
      free += row.bytes;
    }
    return free > 0;
  }

  /**
   * Makes one pass over the windows that were never sent. Everywhere, the two neighbours that make the shortest window become one, so that resolution
   * decreases evenly. The receiver of a window knows its numbers, so a window that may have arrived is left as it is. No window may come to stand for
   * a number that lies between two others.
   * @returns false when nothing can be merged
   */
  #mergeOnce(): boolean {
    const rows = this.#db.prepare<[number], Pick<Row, 'id' | 'lineage' | 'first_seq' | 'seq'>>(
      'SELECT id, lineage, first_seq, seq FROM message WHERE class = ? AND sent = 0 AND lineage IS NOT NULL ORDER BY id').all(rankOf('summary'));
    const cost = (i: number): number => {
      const [a, b] = [rows[i], rows[i + 1]];
      if (a?.first_seq == null || a.seq == null || b?.first_seq == null || b.seq == null || this.#handed.has(a.id) || this.#handed.has(b.id)) return Infinity;
      return a.lineage === b.lineage && a.seq + 1 === b.first_seq ? b.seq - a.first_seq : Infinity;
    };
    const shortest = rows.reduce((least, _, i) => Math.min(least, cost(i)), Infinity);
    let merged = 0;
    for (let i = 0; shortest < Infinity && i + 1 < rows.length; i++) {
      const [a, b] = [rows[i], rows[i + 1]];
      if (a === undefined || b === undefined || cost(i) > shortest) continue;
      if (this.#mergePair(a.id, b.id)) merged += 1;
      i += 1;
    }
    this.#merged += merged;
    return merged > 0;
  }

  #mergePair(first: number, second: number): boolean {
    const [a, b] = [first, second].map((id) => this.#db.prepare<[number], Row>('SELECT * FROM message WHERE id = ?').get(id));
    const [earlier, later] = [parseWindow(a), parseWindow(b)];
    if (b === undefined || earlier === null || later === null || !mergeable(earlier, later)) {
      this.#db.prepare('UPDATE message SET lineage = NULL WHERE id = ?').run(first); // A damaged message is not tried again.
      return false;
    }
    const payload = Buffer.from(JSON.stringify(mergeWindows(earlier, later)));
    const bytes = payload.byteLength + b.topic.length + ROW_BYTES;
    this.#delete('id = ?', [first], null);
    this.#db.prepare('UPDATE message SET payload = ?, bytes = ?, first_seq = ? WHERE id = ?').run(payload, bytes, earlier.first_seq, second);
    this.#account(b.class, bytes - b.bytes);
    return true;
  }
}

/** Reads from a window which windows its message stands for, in the form of the store's columns. */
export function spanOf(window: TelemetryWindow): WindowSpan {
  const { stream_id, boot_id } = window;
  return { lineage: JSON.stringify([stream_id, boot_id, lineageOf(window)]), firstSeq: window.first_seq, seq: window.seq };
}

function migrate(db: Sqlite): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version > SCHEMA_VERSION) {
    throw new AgentError('E_STATE', `The outbox has schema version ${version}, and this version reads ${SCHEMA_VERSION}. Update Sterna, or move outbox.db away.`);
  }
  if (version === SCHEMA_VERSION) return;
  const old = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'message'").get() !== undefined;
  db.transaction(() => {
    if (version === 0) db.exec(old ? FROM_0 : SCHEMA);
    if (old) db.exec(FROM_1);
    db.pragma(`user_version = ${SCHEMA_VERSION}`);
  }).immediate();
}

function classOf(rank: number): OutboxClass {
  return outboxClasses[rank] ?? 'raw';
}

function toMessage(row: Row): StoredMessage {
  const { lineage, first_seq, seq } = row;
  return {
    id: row.id, class: classOf(row.class), topic: row.topic, payload: row.payload, storedMs: row.stored_ms, sent: row.sent === 1,
    span: lineage === null || first_seq === null || seq === null ? null : { lineage, firstSeq: first_seq, seq },
  };
}

function parseWindow(row: Row | undefined): TelemetryWindow | null {
  try {
    return row === undefined ? null : decodePayload(telemetrySchema, row.payload, row.payload.byteLength);
  } catch {
    return null;
  }
}
