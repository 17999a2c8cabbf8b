import { z } from 'zod';
import {
  capsSchema, eventSchema, histogramSchema, mergeHistograms, reportedSchema, statusSchema,
  type Caps, type DeviceAddress, type Event, type HistogramData, type Reported, type Status, type TelemetryWindow,
} from '../../agent/contracts/index.js';
import type { Facet, FleetContent } from './fleet-message.js';
import type { FleetTotals } from './fleet-store.js';
import { HistoryStore } from './history-store.js';
import { KEPT_MS, mergedOf, slotOf, type LatencySlot } from './latency-slots.js';
import { MIGRATIONS } from './schema.js';
import { WindowStore, type Arrival, type TelemetryAccount } from './window-store.js';
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

interface DeviceRow { fleet: string; device: string; seen_ms: number; status: string | null; caps: string | null; reported: string | null }

/** A window, and the message that it was read from. */
type WindowMessage = Pick<Extract<FleetContent, { kind: 'telemetry' }>, 'value' | 'payload'>;

/** A device was heard at its last message or window, whichever came later. */
const RECORDS = `
  SELECT fleet, device, status, caps, reported,
    MAX(seen_ms, COALESCE((SELECT MAX(seen_ms) FROM stream WHERE stream.fleet = device.fleet AND stream.device = device.device), 0)) AS seen_ms
  FROM device`;

/** What the collector knows, in SQLite, bounded. All times are the collector's own clock unless a payload says otherwise. */
export class CollectorStore {
  readonly #db: FleetDatabase;
  readonly #limits: StoreLimits;
  readonly #windows: WindowStore;
  #devices = 0;
  /** Devices with a row of their own, by name, and the time in it; no more than there are. */
  readonly #known = new Map<string, number>();
  /** Of the database, when what is kept in memory of it was true; NaN: nothing is. */
  #version = NaN;
  #inside = false;
  /** What devices did over months. */
  readonly history: HistoryStore;

  /** @param path a file, or ':memory:'. @throws DeployError E_COLLECTOR */
  constructor(path: string, limits: StoreLimits = defaultLimits, durability: 'full' | 'normal' = 'normal') {
    // Normal: devices say everything again, so a power cut may cost the last second. Full: of what is acknowledged once it is written.
    this.#db = openDatabase(path, { migrations: MIGRATIONS, durability, code: 'E_COLLECTOR', user: 'The collector' });
    this.#limits = limits;
    this.#windows = new WindowStore(this.#db);
    this.history = new HistoryStore(this.#db, limits.history ?? defaultLimits.history ?? Infinity);
  }

  /** All that `work` writes, or nothing. What is remembered of the database between two of them is true as long as nobody else writes, and none was taken back. */
  transaction<T>(work: () => T): T {
    if (this.#inside) return work();
    this.#inside = true;
    try {
      return this.#db.transaction(() => {
        const version = this.#db.version();
        if (version !== this.#version) this.#forget();
        if (Number.isNaN(this.#version)) this.#devices = this.#db.prepare<[], { n: number }>('SELECT COUNT(*) AS n FROM device').get()?.n ?? 0;
        this.#version = version;
        return work();
      });
    } catch (error) {
      this.#version = NaN;
      throw error;
    } finally {
      this.#inside = false;
    }
  }

  /** False when this device is one too many. */
  note(address: DeviceAddress, facet: Facet, value: Status | Caps | Reported, nowMs: number): boolean {
    return this.transaction(() => {
      if (!this.touch(address, nowMs)) return false;
      this.#db.prepare(`UPDATE device SET ${facet} = ? WHERE fleet = ? AND device = ?`).run(JSON.stringify(value), address.fleet, address.device);
      return true;
    });
  }

  /** Notes that a device was heard. False when it is one too many. */
  touch({ fleet, device }: DeviceAddress, nowMs: number): boolean {
    return this.transaction(() => {
      const seenMs = Math.round(nowMs);
      const updated = this.#db.prepare('UPDATE device SET seen_ms = ? WHERE fleet = ? AND device = ?').run(seenMs, fleet, device);
      if (updated.changes === 0) {
        if (this.#devices >= this.#limits.devices) return false;
        this.#db.prepare('INSERT INTO device (fleet, device, seen_ms) VALUES (?, ?, ?)').run(fleet, device, seenMs);
        this.#devices += 1;
      }
      // The latest message says when a device was heard, also after the clock of the collector was set back.
      this.#db.prepare('UPDATE stream SET seen_ms = 0 WHERE fleet = ? AND device = ? AND seen_ms > ?').run(fleet, device, seenMs);
      this.#known.set(`${fleet}/${device}`, seenMs);
      return true;
    });
  }

  /** False for an event that is known already (QoS 1 delivers at least once). */
  addEvent({ fleet, device }: DeviceAddress, event: Event): boolean {
    const added = this.#db.prepare('INSERT OR IGNORE INTO event (fleet, device, event_id, time_ms, payload) VALUES (?, ?, ?, ?, ?)')
      .run(fleet, device, event.event_id, Math.round(event.time_ms), JSON.stringify(event));
    if (added.changes === 0) return false;
    this.#trimEvents({ fleet, device }, this.#share(this.#limits.eventsPerDevice, this.#limits.events));
    return true;
  }

  /** A window of a device that was heard with it. `refused`: its device is one too many. @param receivedMs by the clock of the collector */
  takeWindow(address: DeviceAddress, { value, payload }: WindowMessage, receivedMs: number): Arrival | 'refused' {
    return this.transaction(() => {
      const known = this.#known.get(`${address.fleet}/${address.device}`);
      // The stream says when the window came; the device has to where the clock of the collector was set back.
      if ((known === undefined || receivedMs < known) && !this.touch(address, receivedMs)) return 'refused';
      return this.addWindow(address, value, receivedMs, payload);
    });
  }

  /** Takes each window once (window-store.ts), whether the device is known or not. @param receivedMs by the clock of the collector */
  addWindow(address: DeviceAddress, window: TelemetryWindow, receivedMs = window.end_ms, payload?: Uint8Array): Arrival {
    return this.transaction((): Arrival => {
      const arrival = this.#windows.add(address, window, { nowMs: receivedMs, payload, keep: this.#share(this.#limits.windowsPerDevice, this.#limits.windows) });
      if (arrival === 'added') this.history.add(address, window, slotOf(window, receivedMs), this.#devices);
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
    return this.#windows.account(address);
  }

  devices(): DeviceRecord[] {
    return this.#db.prepare<[], DeviceRow>(`${RECORDS} ORDER BY fleet, device`).all().map(toRecord);
  }

  device({ fleet, device }: DeviceAddress): DeviceRecord | null {
    const row = this.#db.prepare<[string, string], DeviceRow>(`${RECORDS} WHERE fleet = ? AND device = ?`).get(fleet, device);
    return row === undefined ? null : toRecord(row);
  }

  /** Newest first. */
  events({ fleet, device }: DeviceAddress, limit: number): Event[] {
    return this.#db.prepare<[string, string, number], { payload: string }>(
      'SELECT payload FROM event WHERE fleet = ? AND device = ? ORDER BY time_ms DESC, id DESC LIMIT ?')
      .all(fleet, device, limit).map((row) => eventSchema.parse(JSON.parse(row.payload)));
  }

  /** The newest `limit` windows, oldest first. */
  windows(address: DeviceAddress, limit: number): TelemetryWindow[] {
    return this.#windows.newest(address, limit);
  }

  close(): void {
    this.#db.close();
  }

  /** How many rows a device may have: its own bound, or its part of what all may have. */
  #share(perDevice: number, all = Infinity): number {
    return Math.min(perDevice, Math.max(LEAST_ROWS, Math.floor(all / Math.max(1, this.#devices))));
  }

  #trimEvents({ fleet, device }: DeviceAddress, keep: number): void {
    this.#db.prepare(`
      DELETE FROM event WHERE id IN (
        SELECT id FROM event WHERE fleet = ? AND device = ? ORDER BY time_ms DESC, id DESC LIMIT -1 OFFSET ?)`).run(fleet, device, keep);
  }

  #forget(): void {
    this.#windows.forget();
    this.history.forget();
    this.#known.clear();
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
