/** The history of devices over months, in SQLite: roll-ups of five minutes, of which the oldest become hours, and those days. Each window is in exactly one row. */
import type { DeviceAddress, TelemetryWindow } from '../../agent/contracts/index.js';
import type { FleetDatabase } from '../database.js';
import { packageText } from './latency-slots.js';
import { lostFrames, mergeRollups, rollupOf, rollupSchema, RollupSum, type Rollup } from './rollup.js';

const MINUTE = 60_000;
/** Length of a row's time, and how many rows of it a device may have: with one pipeline 2 days of five minutes, 35 days of hours, 2 years of days. */
export const STEPS: readonly { stepMs: number; rows: number }[] = [{ stepMs: 5 * MINUTE, rows: 576 }, { stepMs: 60 * MINUTE, rows: 840 }, { stepMs: 1440 * MINUTE, rows: 732 }];
/** What each device may have of each length, however large the fleet is. */
const LEAST_ROWS = 12;

export const HISTORY = `
  CREATE TABLE history (
    fleet TEXT NOT NULL, device TEXT NOT NULL, step_ms INTEGER NOT NULL, slot_ms INTEGER NOT NULL, pipeline TEXT NOT NULL, model TEXT NOT NULL, sums TEXT NOT NULL,
    PRIMARY KEY (fleet, device, step_ms, slot_ms, pipeline, model)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE dropped (
    fleet TEXT NOT NULL, device TEXT NOT NULL, pipeline TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL, frames INTEGER NOT NULL,
    PRIMARY KEY (fleet, device, pipeline)
  ) STRICT, WITHOUT ROWID;
`;
/** Pipelines of a device whose counter of lost frames is remembered: names come from the device. */
const COUNTERS_PER_DEVICE = 64;

export interface HistoryRow {
  stepMs: number;
  slotMs: number;
  /** Name and version of the package; empty without one. */
  model: string;
  rollup: Rollup;
}

interface StoredRow { step_ms: number; slot_ms: number; pipeline: string; model: string; sums: string }

/** The part of the collector's database that is about the past of devices. */
export class HistoryStore {
  readonly #db: FleetDatabase;
  readonly #rows: number;

  /** @param rows of all devices together */
  constructor(db: FleetDatabase, rows: number) {
    this.#db = db;
    this.#rows = rows;
  }

  /**
   * Adds a window to the slot in which it counts. Call it in the transaction that takes the window.
   * @param timeMs null: nobody knows when it was, and it is in no slot
   * @param devices of the whole fleet, which share the rows
   */
  add(address: DeviceAddress, window: TelemetryWindow, timeMs: number | null, devices: number): void {
    for (const { name, model } of window.pipelines) {
      const rollup = rollupOf(window, name, this.#dropped(address, window, name));
      if (rollup !== null && timeMs !== null) this.#put(address, 0, { slot_ms: timeMs, pipeline: name, model: packageText(model) }, rollup, devices);
    }
  }

  /** Rows of a pipeline that are at least partly between two times, oldest first. @param model only those of this package */
  rows({ fleet, device }: DeviceAddress, { pipeline, fromMs, toMs, model = null }: { pipeline: string; fromMs: number; toMs: number; model?: string | null }): HistoryRow[] {
    const found = this.#db.prepare<unknown[], StoredRow>(
      'SELECT * FROM history WHERE fleet = ? AND device = ? AND slot_ms < ? AND slot_ms + step_ms > ? AND pipeline = ? AND (? IS NULL OR model = ?) ORDER BY slot_ms').all(fleet, device, toMs, fromMs, pipeline, model, model);
    return found.flatMap((row) => {
      const rollup = read(row.sums);
      return rollup === null ? [] : [{ stepMs: row.step_ms, slotMs: row.slot_ms, model: row.model, rollup }];
    });
  }

  /** Begin of the oldest row; null without any. */
  oldestMs({ fleet, device }: DeviceAddress): number | null {
    return this.#db.prepare<[string, string], { oldest: number | null }>('SELECT MIN(slot_ms) AS oldest FROM history WHERE fleet = ? AND device = ?').get(fleet, device)?.oldest ?? null;
  }

  /** Packages of which there is a past, and pipelines. */
  names(limit: number): { packages: string[]; pipelines: string[] } {
    const distinct = (column: 'model' | 'pipeline'): string[] =>
      this.#db.prepare<[number], { name: string }>(`SELECT DISTINCT ${column} AS name FROM history WHERE ${column} <> '' ORDER BY 1 LIMIT ?`).all(limit).map(({ name }) => name);
    return { packages: distinct('model'), pipelines: distinct('pipeline') };
  }

  #put(address: DeviceAddress, level: number, at: Pick<StoredRow, 'slot_ms' | 'pipeline' | 'model'>, rollup: Rollup, devices: number): void {
    const step = STEPS[level];
    if (step === undefined) return; // older than the oldest days that are kept
    const { fleet, device } = address;
    const slotMs = Math.floor(at.slot_ms / step.stepMs) * step.stepMs;
    const key = [fleet, device, step.stepMs, slotMs, at.pipeline, at.model];
    const known = this.#db.prepare<unknown[], { sums: string }>('SELECT sums FROM history WHERE fleet = ? AND device = ? AND step_ms = ? AND slot_ms = ? AND pipeline = ? AND model = ?').get(key);
    const before = known === undefined ? null : read(known.sums);
    const sum = before === null ? rollup : mergeRollups(before, rollup);
    this.#db.prepare('INSERT OR REPLACE INTO history (fleet, device, step_ms, slot_ms, pipeline, model, sums) VALUES (?, ?, ?, ?, ?, ?, ?)').run(...key, JSON.stringify(sum));
    if (known !== undefined) return;
    const keep = Math.min(step.rows, Math.max(LEAST_ROWS, Math.floor(this.#rows / Math.max(1, devices) / STEPS.length)));
    const old = this.#db.prepare<unknown[], StoredRow>(`
      DELETE FROM history WHERE (fleet, device, step_ms, slot_ms, pipeline, model) IN (
        SELECT fleet, device, step_ms, slot_ms, pipeline, model FROM history WHERE fleet = ? AND device = ? AND step_ms = ? ORDER BY slot_ms DESC, pipeline, model LIMIT -1 OFFSET ?)
      RETURNING *`).all(fleet, device, step.stepMs, keep);
    for (const row of old) {
      const evicted = read(row.sums);
      if (evicted !== null) this.#put(address, level + 1, row, evicted, devices);
    }
  }

  /** Frames lost since the newest window before. A device that is new here may have lost them long ago: they count as none. */
  #dropped({ fleet, device }: DeviceAddress, window: TelemetryWindow, pipeline: string): number {
    const frames = lostFrames(window, pipeline);
    const known = this.#db.prepare<[string, string, string], { boot_id: string; seq: number; frames: number }>('SELECT boot_id, seq, frames FROM dropped WHERE fleet = ? AND device = ? AND pipeline = ?').get(fleet, device, pipeline);
    const same = known?.boot_id === window.boot_id;
    // What comes late is in the difference of a later window already.
    if (same && known.seq >= window.seq || known !== undefined && !same && window.backfill) return 0;
    const { n } = known !== undefined ? { n: 0 } : this.#db.prepare<[string, string], { n: number }>('SELECT COUNT(*) AS n FROM dropped WHERE fleet = ? AND device = ?').get(fleet, device) ?? { n: 0 };
    if (n < COUNTERS_PER_DEVICE) this.#db.prepare('INSERT OR REPLACE INTO dropped (fleet, device, pipeline, boot_id, seq, frames) VALUES (?, ?, ?, ?, ?, ?)').run(fleet, device, pipeline, window.boot_id, window.seq, frames);
    if (known === undefined) return 0;
    return same ? Math.max(0, frames - known.frames) : frames;
  }
}

/** Null for sums that no number can hold any more: a device may send windows of any size, and its row must not keep those of others from being written. */
function read(text: string): Rollup | null {
  const result = rollupSchema.safeParse(JSON.parse(text));
  return result.success ? result.data : null;
}

/** Sums of rows in steps of time, oldest first; a row that is longer than a step is in the one where it begins. */
export function inSteps(rows: readonly HistoryRow[], stepMs: number): { startMs: number; lengthMs: number; rollup: Rollup; models: string[] }[] {
  const steps = new Map<number, { sum: RollupSum; lengthMs: number; models: Set<string> }>();
  for (const { slotMs, stepMs: rowMs, rollup, model } of rows) {
    const startMs = Math.floor(slotMs / stepMs) * stepMs;
    const step = steps.get(startMs) ?? { sum: new RollupSum(), lengthMs: stepMs, models: new Set() };
    step.lengthMs = Math.max(step.lengthMs, rowMs);
    step.sum.add(rollup);
    step.models.add(model);
    steps.set(startMs, step);
  }
  return [...steps].sort(([a], [b]) => a - b).flatMap(([startMs, { sum: { total: rollup }, lengthMs, models }]) => (rollup === null ? [] : [{ startMs, lengthMs, rollup, models: [...models] }]));
}
