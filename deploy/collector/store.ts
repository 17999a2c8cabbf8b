import { z } from 'zod';
import {
  capsSchema, eventSchema, histogramSchema, mergeHistograms, reportedSchema, statusSchema, telemetrySchema,
  type Caps, type DeviceAddress, type Event, type HistogramData, type Reported, type Status, type TelemetryWindow,
} from '../../agent/contracts/index.js';
import type { Facet } from './fleet-message.js';
import type { FleetTotals } from './fleet-store.js';
import { HISTORY, HistoryStore } from './history-store.js';
import { KEPT_MS, mergedOf, slotOf, type LatencySlot } from './latency-slots.js';
import { openDatabase, type FleetDatabase } from '../database.js';

/**
 * Bounds of the database: the newest rows of each device stay, and a large fleet keeps fewer of each, so that the whole stays below about 300 MB. A device itself
 * takes about 8 kB (measured without telemetry).
 */
export interface StoreLimits {
  devices: number;
  eventsPerDevice: number;
  /** At a window of 10 s, 360 are an hour. */
  windowsPerDevice: number;
  /** Of all devices together; absent: as many as each may have. No device has less than six of each. */
  events?: number;
  windows?: number;
  /** Rows of history of all devices together, of about 700 bytes each (history-store.ts). No device has less than twelve of each length. */
  history?: number;
}
export const defaultLimits: StoreLimits = { devices: 20_000, eventsPerDevice: 500, windowsPerDevice: 360, events: 128_000, windows: 92_160, history: 300_000 };
/** What each device may have, however large the fleet is. */
const LEAST_ROWS = 6;

/** Latest of everything that a device has said; null what it has not said yet. */
export interface DeviceRecord extends DeviceAddress {
  seenMs: number;
  status: Status | null;
  caps: Caps | null;
  reported: Reported | null;
}

/**
 * What became of a window. `overlap`: some of its numbers are known and others are not, which no device of ours sends; taking
 * it would count the known ones twice, so its new ones stay missing, and are counted as such.
 */
export type Arrival = 'added' | 'duplicate' | 'overlap';

/** The accounts of a device's telemetry, in windows (not messages), over all of its streams that are remembered. */
export interface TelemetryAccount {
  received: number;
  duplicates: number;
  overlaps: number;
  /** Numbers between the first and the last that never came: not yet, or dropped by the device. */
  missing: number;
  /** By class and reason (`summary/full`), as the device's newest window counts them. */
  dropped: Record<string, number>;
}

/** Of a device: a new stream begins with each new database of the device. */
const STREAMS_PER_DEVICE = 64;
/** Of a stream. Holes beyond are given up from the oldest on: late windows that would fill them count as duplicates. */
const SPANS_PER_STREAM = 512;

const SPANS = `
  CREATE TABLE stream (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, duplicates INTEGER NOT NULL DEFAULT 0, overlaps INTEGER NOT NULL DEFAULT 0,
    UNIQUE (fleet, device, stream)
  ) STRICT;
  CREATE TABLE span (
    stream_id INTEGER NOT NULL REFERENCES stream (id) ON DELETE CASCADE, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    PRIMARY KEY (stream_id, first_seq)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO stream (fleet, device, stream, received) SELECT fleet, device, boot_id, COUNT(*) FROM telemetry GROUP BY fleet, device, boot_id;
  INSERT OR IGNORE INTO span (stream_id, first_seq, last_seq) SELECT stream.id, json_extract(payload, '$.first_seq'), seq
    FROM telemetry JOIN stream ON stream.fleet = telemetry.fleet AND stream.device = telemetry.device AND stream.stream = telemetry.boot_id;
`;
const SCHEMA_1 = `
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
/** Payloads of the first version of the contracts cannot be read any more. Devices say the retained ones again; the accounts of windows stay. */
const FORGET_V1 = `
  DELETE FROM event;
  DELETE FROM telemetry;
  UPDATE device SET status = NULL, caps = NULL, reported = NULL;
`;
/** Merged latencies of a fleet (latency-slots.ts). */
const LATENCIES = `
  CREATE TABLE latency (
    slot_ms INTEGER NOT NULL, fleet TEXT NOT NULL, pipeline TEXT NOT NULL, model TEXT NOT NULL, clock TEXT NOT NULL, kind TEXT NOT NULL, histogram TEXT NOT NULL,
    PRIMARY KEY (slot_ms, fleet, pipeline, model, clock, kind)
  ) STRICT, WITHOUT ROWID;
`;
/** From each version to the next. */
const MIGRATIONS = [SCHEMA_1, SPANS, FORGET_V1, LATENCIES, HISTORY];

interface DeviceRow { fleet: string; device: string; seen_ms: number; status: string | null; caps: string | null; reported: string | null }

/** What the collector knows, in SQLite, bounded. All times are the collector's own clock unless a payload says otherwise. */
export class CollectorStore {
  readonly #db: FleetDatabase;
  readonly #limits: StoreLimits;
  #devices: number;
  /** What devices did over months. */
  readonly history: HistoryStore;

  /** @param path a file, or ':memory:'. @throws DeployError E_COLLECTOR */
  constructor(path: string, limits: StoreLimits = defaultLimits, durability: 'full' | 'normal' = 'normal') {
    // Normal: devices say everything again, so a power cut may cost the last second. Full: of what is acknowledged once it is written.
    this.#db = openDatabase(path, { migrations: MIGRATIONS, durability, code: 'E_COLLECTOR', user: 'The collector' });
    this.#limits = limits;
    this.history = new HistoryStore(this.#db, limits.history ?? defaultLimits.history ?? Infinity);
    this.#devices = this.#db.prepare<[], { n: number }>('SELECT COUNT(*) AS n FROM device').get()?.n ?? 0;
  }

  /** All that `work` writes, or nothing. */
  transaction<T>(work: () => T): T {
    return this.#db.transaction(work);
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
    if (this.#devices >= this.#limits.devices) return false;
    this.#db.prepare('INSERT INTO device (fleet, device, seen_ms) VALUES (?, ?, ?)').run(fleet, device, Math.round(nowMs));
    this.#devices += 1;
    return true;
  }

  /** False for an event that is known already (QoS 1 delivers at least once). */
  addEvent({ fleet, device }: DeviceAddress, event: Event): boolean {
    const added = this.#db.prepare('INSERT OR IGNORE INTO event (fleet, device, event_id, time_ms, payload) VALUES (?, ?, ?, ?, ?)')
      .run(fleet, device, event.event_id, Math.round(event.time_ms), JSON.stringify(event));
    if (added.changes === 0) return false;
    this.#trim('event', 'time_ms', { fleet, device }, this.#share(this.#limits.eventsPerDevice, this.#limits.events));
    return true;
  }

  /**
   * Each number of a stream is taken once: a window whose `first_seq..seq` meets a known one is refused and counted, however
   * the device merged it meanwhile. So backfill never overwrites what came live.
   * @param receivedMs by the clock of the collector
   */
  addWindow(address: DeviceAddress, window: TelemetryWindow, receivedMs = window.end_ms): Arrival {
    return this.#db.transaction((): Arrival => {
      const { fleet, device } = address;
      const stream = this.#stream(address, window.stream_id);
      const arrival = this.#arrival(stream, window);
      if (arrival === 'added') {
        this.#join(stream, window.first_seq, window.seq);
        this.#db.prepare('INSERT OR IGNORE INTO telemetry (fleet, device, boot_id, seq, end_ms, backfill, payload) VALUES (?, ?, ?, ?, ?, ?, ?)')
          .run(fleet, device, window.boot_id, window.seq, Math.round(window.end_ms), window.backfill ? 1 : 0, JSON.stringify(window));
        this.#trim('telemetry', 'end_ms', address, this.#share(this.#limits.windowsPerDevice, this.#limits.windows));
        this.history.add(address, window, slotOf(window, receivedMs), this.#devices);
      }
      const [column, n] = arrival === 'added' ? ['received', window.seq - window.first_seq + 1] : [`${arrival}s`, 1];
      this.#db.prepare(`UPDATE stream SET ${column} = ${column} + ? WHERE id = ?`).run(n, stream);
      return arrival;
    });
  }

  /** Adds to what the slot holds. Old slots are deleted when a new one begins. */
  addLatency({ slotMs, fleet, pipeline, model, clock, kind, histogram }: LatencySlot): void {
    const key = [slotMs, fleet, pipeline, model, clock, kind];
    const known = this.#db.prepare<unknown[], { histogram: string }>('SELECT histogram FROM latency WHERE slot_ms = ? AND fleet = ? AND pipeline = ? AND model = ? AND clock = ? AND kind = ?').get(key);
    const sum = known === undefined ? histogram : mergeHistograms(histogramSchema.parse(JSON.parse(known.histogram)), histogram);
    this.#db.prepare('INSERT OR REPLACE INTO latency (slot_ms, fleet, pipeline, model, clock, kind, histogram) VALUES (?, ?, ?, ?, ?, ?, ?)').run(...key, JSON.stringify(sum));
    if (known === undefined) this.#db.prepare('DELETE FROM latency WHERE slot_ms < ?').run(slotMs - KEPT_MS);
  }

  /** Raw latencies from end to end in the slots that begin at `sinceMs` or later, merged. */
  latency(fleet: string, sinceMs: number): HistogramData | null {
    const rows = this.#db.prepare<[string, number], { histogram: string }>(`SELECT histogram FROM latency WHERE fleet = ? AND slot_ms >= ? AND clock = 'raw'`).all(fleet, Math.round(sinceMs));
    return mergedOf(rows.map(({ histogram }) => histogram));
  }

  totals(): FleetTotals {
    const sums = this.#db.prepare<[], FleetTotals>('SELECT (SELECT COUNT(*) FROM device) AS devices, (SELECT COALESCE(SUM(received), 0) FROM stream) AS windows, (SELECT COUNT(*) FROM event) AS events').get();
    return sums ?? { devices: 0, windows: 0, events: 0 };
  }

  account(address: DeviceAddress): TelemetryAccount {
    const { fleet, device } = address;
    const sums = this.#db.prepare<[string, string], { received: number; duplicates: number; overlaps: number }>(`
      SELECT COALESCE(SUM(received), 0) AS received, COALESCE(SUM(duplicates), 0) AS duplicates, COALESCE(SUM(overlaps), 0) AS overlaps
      FROM stream WHERE fleet = ? AND device = ?`).get(fleet, device);
    const holes = this.#db.prepare<[string, string], { missing: number }>(`
      SELECT COALESCE(SUM(hole), 0) AS missing FROM (
        SELECT MAX(last_seq) - MIN(first_seq) + 1 - SUM(last_seq - first_seq + 1) AS hole
        FROM span JOIN stream ON stream.id = span.stream_id WHERE fleet = ? AND device = ? GROUP BY stream_id)`).get(fleet, device);
    const counters = Object.entries(this.windows(address, 1)[0]?.counters ?? {});
    const dropped = counters.flatMap(([name, n]) => {
      const [, group, reason] = /^outbox_dropped_total\{class="(\w+)",reason="(\w+)"\}$/.exec(name) ?? [];
      return group === undefined || reason === undefined ? [] : [[`${group}/${reason}`, n] as const];
    });
    return { received: 0, duplicates: 0, overlaps: 0, ...sums, missing: holes?.missing ?? 0, dropped: Object.fromEntries(dropped) };
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

  #stream({ fleet, device }: DeviceAddress, stream: string): number {
    const known = this.#db.prepare<[string, string, string], { id: number }>('SELECT id FROM stream WHERE fleet = ? AND device = ? AND stream = ?').get(fleet, device, stream);
    if (known !== undefined) return known.id;
    const { lastInsertRowid } = this.#db.prepare('INSERT INTO stream (fleet, device, stream) VALUES (?, ?, ?)').run(fleet, device, stream);
    this.#db.prepare('DELETE FROM stream WHERE id IN (SELECT id FROM stream WHERE fleet = ? AND device = ? ORDER BY id DESC LIMIT -1 OFFSET ?)').run(fleet, device, STREAMS_PER_DEVICE);
    return Number(lastInsertRowid);
  }

  #arrival(stream: number, { first_seq: first, seq: last }: TelemetryWindow): Arrival {
    const met = this.#db.prepare<[number, number, number], { first_seq: number; last_seq: number }>(
      'SELECT first_seq, last_seq FROM span WHERE stream_id = ? AND first_seq <= ? AND last_seq >= ? ORDER BY first_seq').all(stream, last, first);
    const [only] = met;
    if (only === undefined) return 'added';
    return only.first_seq <= first && only.last_seq >= last ? 'duplicate' : 'overlap';
  }

  /** Spans that touch become one, so a stream without holes is one row. */
  #join(stream: number, first: number, last: number): void {
    const before = this.#db.prepare<[number, number], { first_seq: number }>('DELETE FROM span WHERE stream_id = ? AND last_seq = ? RETURNING first_seq').get(stream, first - 1);
    const after = this.#db.prepare<[number, number], { last_seq: number }>('DELETE FROM span WHERE stream_id = ? AND first_seq = ? RETURNING last_seq').get(stream, last + 1);
    this.#db.prepare('INSERT INTO span (stream_id, first_seq, last_seq) VALUES (?, ?, ?)').run(stream, before?.first_seq ?? first, after?.last_seq ?? last);
    const { n } = this.#db.prepare<[number], { n: number }>('SELECT COUNT(*) AS n FROM span WHERE stream_id = ?').get(stream) ?? { n: 0 };
    if (n <= SPANS_PER_STREAM) return;
    const [a, b] = this.#db.prepare<[number], { first_seq: number; last_seq: number }>('SELECT first_seq, last_seq FROM span WHERE stream_id = ? ORDER BY first_seq LIMIT 2').all(stream);
    if (a === undefined || b === undefined) return;
    this.#db.prepare('DELETE FROM span WHERE stream_id = ? AND first_seq IN (?, ?)').run(stream, a.first_seq, b.first_seq);
    this.#db.prepare('INSERT INTO span (stream_id, first_seq, last_seq) VALUES (?, ?, ?)').run(stream, a.first_seq, b.last_seq);
  }

  /** How many rows a device may have: its own bound, or its part of what all may have. */
  #share(perDevice: number, all = Infinity): number {
    return Math.min(perDevice, Math.max(LEAST_ROWS, Math.floor(all / Math.max(1, this.#devices))));
  }

  #trim(table: 'event' | 'telemetry', time: 'time_ms' | 'end_ms', { fleet, device }: DeviceAddress, keep: number): void {
    this.#db.prepare(`
      DELETE FROM ${table} WHERE id IN (
        SELECT id FROM ${table} WHERE fleet = ? AND device = ? ORDER BY ${time} DESC, id DESC LIMIT -1 OFFSET ?)`).run(fleet, device, keep);
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
