import Database from 'better-sqlite3';
import { z } from 'zod';
import {
  capsSchema, eventSchema, reportedSchema, statusSchema, telemetrySchema,
  type Caps, type DeviceAddress, type Event, type Reported, type Status, type TelemetryWindow,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';

/** Bounds of the database: the newest rows of each device stay. About 1 MB a device. */
export interface StoreLimits {
  devices: number;
  eventsPerDevice: number;
  /** At a window of 10 s, 360 are an hour. */
  windowsPerDevice: number;
}
export const defaultLimits: StoreLimits = { devices: 256, eventsPerDevice: 500, windowsPerDevice: 360 };

/** Latest of everything that a device has said; null what it has not said yet. */
export interface DeviceRecord extends DeviceAddress {
  seenMs: number;
  status: Status | null;
  caps: Caps | null;
  reported: Reported | null;
}

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE device (
    fleet TEXT NOT NULL, device TEXT NOT NULL, seen_ms INTEGER NOT NULL, status TEXT, caps TEXT, reported TEXT,
    PRIMARY KEY (fleet, device)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE event (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, event_id TEXT NOT NULL, time_ms INTEGER NOT NULL, payload TEXT NOT NULL,
    UNIQUE (fleet, device, event_id)
  ) STRICT;
  CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL,
    end_ms INTEGER NOT NULL, backfill INTEGER NOT NULL, payload TEXT NOT NULL,
    UNIQUE (fleet, device, boot_id, seq)
  ) STRICT;
  CREATE INDEX event_time ON event (fleet, device, time_ms);
  CREATE INDEX telemetry_time ON telemetry (fleet, device, end_ms);
`;

interface DeviceRow { fleet: string; device: string; seen_ms: number; status: string | null; caps: string | null; reported: string | null }
type Facet = 'status' | 'caps' | 'reported';

/** What the collector knows, in SQLite, bounded. All times are the collector's own clock unless a payload says otherwise. */
export class CollectorStore {
  readonly #db: Database.Database;
  readonly #limits: StoreLimits;

  /** @param path a file, or ':memory:'. @throws DeployError E_COLLECTOR */
  constructor(path: string, limits: StoreLimits = defaultLimits) {
    this.#db = open(path);
    this.#limits = limits;
  }

  /** False when this device is one too many. */
  note(address: DeviceAddress, facet: Facet, value: Status | Caps | Reported, nowMs: number): boolean {
    if (!this.touch(address, nowMs)) return false;
    this.#db.prepare(`UPDATE device SET ${facet} = ? WHERE fleet = ? AND device = ?`).run(JSON.stringify(value), address.fleet, address.device);
    return true;
  }

  /** Notes that a device was heard. False when it is one too many. */
  touch({ fleet, device }: DeviceAddress, nowMs: number): boolean {
    const updated = this.#db.prepare('UPDATE device SET seen_ms = ? WHERE fleet = ? AND device = ?').run(Math.round(nowMs), fleet, device);
    if (updated.changes > 0) return true;
    const { n } = this.#db.prepare<[], { n: number }>('SELECT COUNT(*) AS n FROM device').get() ?? { n: 0 };
    if (n >= this.#limits.devices) return false;
    this.#db.prepare('INSERT INTO device (fleet, device, seen_ms) VALUES (?, ?, ?)').run(fleet, device, Math.round(nowMs));
    return true;
  }

  /** False for an event that is known already (QoS 1 delivers at least once). */
  addEvent({ fleet, device }: DeviceAddress, event: Event): boolean {
    const added = this.#db.prepare('INSERT OR IGNORE INTO event (fleet, device, event_id, time_ms, payload) VALUES (?, ?, ?, ?, ?)')
      .run(fleet, device, event.event_id, Math.round(event.time_ms), JSON.stringify(event));
    if (added.changes === 0) return false;
    this.#trim('event', 'time_ms', { fleet, device }, this.#limits.eventsPerDevice);
    return true;
  }

  /** Backfill never overwrites what came live. False for a window that is known already. */
  addWindow({ fleet, device }: DeviceAddress, window: TelemetryWindow): boolean {
    const added = this.#db.prepare(`
      INSERT OR IGNORE INTO telemetry (fleet, device, boot_id, seq, end_ms, backfill, payload) VALUES (?, ?, ?, ?, ?, ?, ?)`)
      .run(fleet, device, window.boot_id, window.seq, Math.round(window.end_ms), window.backfill ? 1 : 0, JSON.stringify(window));
    if (added.changes === 0) return false;
    this.#trim('telemetry', 'end_ms', { fleet, device }, this.#limits.windowsPerDevice);
    return true;
  }

  devices(): DeviceRecord[] {
    return this.#db.prepare<[], DeviceRow>('SELECT * FROM device ORDER BY fleet, device').all().map(toRecord);
  }

  device({ fleet, device }: DeviceAddress): DeviceRecord | null {
    const row = this.#db.prepare<[string, string], DeviceRow>('SELECT * FROM device WHERE fleet = ? AND device = ?').get(fleet, device);
    return row === undefined ? null : toRecord(row);
  }

  /** Newest first. */
  events({ fleet, device }: DeviceAddress, limit: number): Event[] {
    return this.#db.prepare<[string, string, number], { payload: string }>(
      'SELECT payload FROM event WHERE fleet = ? AND device = ? ORDER BY time_ms DESC, id DESC LIMIT ?')
      .all(fleet, device, limit).map((row) => eventSchema.parse(JSON.parse(row.payload)));
  }

  /** The newest `limit` windows, oldest first. */
  windows({ fleet, device }: DeviceAddress, limit: number): TelemetryWindow[] {
    return this.#db.prepare<[string, string, number], { payload: string }>(
      'SELECT payload FROM telemetry WHERE fleet = ? AND device = ? ORDER BY end_ms DESC, id DESC LIMIT ?')
      .all(fleet, device, limit).map((row) => telemetrySchema.parse(JSON.parse(row.payload))).reverse();
  }

  close(): void {
    this.#db.close();
  }

  #trim(table: 'event' | 'telemetry', time: 'time_ms' | 'end_ms', { fleet, device }: DeviceAddress, keep: number): void {
    this.#db.prepare(`
      DELETE FROM ${table} WHERE id IN (
        SELECT id FROM ${table} WHERE fleet = ? AND device = ? ORDER BY ${time} DESC, id DESC LIMIT -1 OFFSET ?)`).run(fleet, device, keep);
  }
}

function open(path: string): Database.Database {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { timeout: 2000 });
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL'); // devices say everything again; a power cut may cost the last second
    const version = Number(db.pragma('user_version', { simple: true }));
    if (version > SCHEMA_VERSION) {
      throw new DeployError('E_COLLECTOR', `The database ${path} has schema version ${version}; this version reads ${SCHEMA_VERSION}. Update Sterna.`);
    }
    if (version < SCHEMA_VERSION) {
      db.exec(SCHEMA);
      db.pragma(`user_version = ${SCHEMA_VERSION}`);
    }
    return db;
  } catch (cause) {
    db?.close();
    if (cause instanceof DeployError) throw cause;
    throw new DeployError('E_COLLECTOR', `The database ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function toRecord(row: DeviceRow): DeviceRecord {
  return {
    fleet: row.fleet,
    device: row.device,
    seenMs: row.seen_ms,
    status: parse(statusSchema, row.status),
    caps: parse(capsSchema, row.caps),
    reported: parse(reportedSchema, row.reported),
  };
}

/** Rows were written by this program; one of an older version that no longer fits counts as not said. */
function parse<T>(schema: z.ZodType<T>, text: string | null): T | null {
  if (text === null) return null;
  const result = schema.safeParse(JSON.parse(text));
  return result.success ? result.data : null;
}
