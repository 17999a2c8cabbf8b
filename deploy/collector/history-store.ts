/** The history of devices over months, in SQLite: roll-ups of five minutes, of which the oldest become hours, and those days. Each window is in exactly one row. */
import type { DeviceAddress, TelemetryWindow } from '../../agent/contracts/index.js';
import type { FleetDatabase } from '../database.js';
import { packageText, SLOT_MS } from './latency-slots.js';
import { isFiniteRollup, lostFrames, mergeRollups, readRollup, RollupSum, type Rollup } from './rollup.js';
import { continued, TRACKS_PER_DEVICE, type Growing, type Track } from './track.js';

const MINUTE = 60_000;
/** Length of a row's time, and how many rows of it a device may have: with one pipeline 2 days of five minutes, 35 days of hours, 2 years of days. */
export const STEPS: readonly { stepMs: number; rows: number }[] = [{ stepMs: SLOT_MS, rows: 576 }, { stepMs: 60 * MINUTE, rows: 840 }, { stepMs: 1440 * MINUTE, rows: 732 }];
/** What each device may have of each length, however large the fleet is. */
const LEAST_ROWS = 12;

/** Of all devices, in memory; those beyond are read from the database. One takes about a kilobyte. */
const TRACKS_IN_MEMORY = 40_000;

export interface HistoryRow {
  stepMs: number;
  slotMs: number;
  /** Name and version of the package; empty without one. */
  model: string;
  rollup: Rollup;
}

interface StoredRow { step_ms: number; slot_ms: number; pipeline: string; model: string; sums: string }

type Tracks = Map<string, Track>;

interface TrackRow { pipeline: string; boot_id: string; seq: number; frames: number; slot_ms: number | null; model: string | null; sums: string | null }

interface At { address: DeviceAddress; pipeline: string; devices: number; tracks: Tracks }

/**
 * The part of the collector's database that is about the past of devices. The newest roll-up of a pipeline grows in the row of its counter (table `dropped`) and in
 * memory, and becomes a row of `history` when the next one begins: so a window reads nothing and writes one row, in the transaction that takes it.
 */
export class HistoryStore {
  readonly #db: FleetDatabase;
  readonly #rows: number;
  /** What the database has, by device. */
  readonly #tracks = new Map<string, Tracks>();
  #remembered = 0;

  /** @param rows of all devices together */
  constructor(db: FleetDatabase, rows: number) {
    this.#db = db;
    this.#rows = rows;
  }

  /** Call it when a transaction was taken back, or another connection has written. */
  forget(): void {
    this.#tracks.clear();
    this.#remembered = 0;
  }

  /**
   * Adds a window to the slot in which it counts. Call it in the transaction that takes the window.
   * @param timeMs null: nobody knows when it was, and it is in no slot
   * @param devices of the whole fleet, which share the rows
   */
  add(address: DeviceAddress, window: TelemetryWindow, timeMs: number | null, devices: number): void {
    const tracks = this.#tracksOf(address);
    for (const pipeline of window.pipelines) {
      const at = { address, pipeline: pipeline.name, devices, tracks };
      const known = tracks.get(pipeline.name);
      const { newer, rollup } = continued(window, pipeline, known);
      const part = timeMs === null || !isFiniteRollup(rollup) ? null : { slotMs: Math.floor(timeMs / SLOT_MS) * SLOT_MS, model: packageText(pipeline.model), rollup };
      if (known === undefined && tracks.size >= TRACKS_PER_DEVICE) {
        if (part !== null) this.#put(at, 0, part);
        continue;
      }
      const track = known ?? { bootId: '', seq: 0, frames: 0, growing: null };
      if (known === undefined) this.#remember(tracks, pipeline.name, track);
      if (newer) Object.assign(track, { bootId: window.boot_id, seq: window.seq, frames: lostFrames(pipeline) });
      const grew = part !== null && this.#grow(at, track, part);
      if (newer || grew) this.#write(at, track);
    }
  }

  /** Rows of a pipeline that are at least partly between two times, oldest first. @param model only those of this package */
  rows({ fleet, device }: DeviceAddress, { pipeline, fromMs, toMs, model = null }: { pipeline: string; fromMs: number; toMs: number; model?: string | null }): HistoryRow[] {
    const where = 'fleet = ? AND device = ? AND pipeline = ? AND slot_ms < ? AND (? IS NULL OR model = ?)';
    const key = [fleet, device, pipeline, toMs, model, model];
    const found = this.#db.prepare<unknown[], StoredRow>(`
      SELECT step_ms, slot_ms, pipeline, model, sums FROM history WHERE ${where} AND slot_ms + step_ms > ?
      UNION ALL SELECT ${SLOT_MS}, slot_ms, pipeline, model, sums FROM dropped WHERE ${where} AND slot_ms + ${SLOT_MS} > ?
      ORDER BY slot_ms`).all(...key, fromMs, ...key, fromMs);
    return found.flatMap((row) => {
      const rollup = readRollup(row.sums);
      return rollup === null ? [] : [{ stepMs: row.step_ms, slotMs: row.slot_ms, model: row.model, rollup }];
    });
  }

  /** Begin of the oldest row; null without any. */
  oldestMs({ fleet, device }: DeviceAddress): number | null {
    return this.#db.prepare<string[], { oldest: number | null }>(`
      SELECT MIN(slot_ms) AS oldest FROM (SELECT slot_ms FROM history WHERE fleet = ? AND device = ? UNION ALL SELECT slot_ms FROM dropped WHERE fleet = ? AND device = ?)`)
      .get(fleet, device, fleet, device)?.oldest ?? null;
  }

  /** Packages of which there is a past, and pipelines. */
  names(limit: number): { packages: string[]; pipelines: string[] } {
    const distinct = (column: 'model' | 'pipeline'): string[] => this.#db.prepare<[number], { name: string }>(`
      SELECT ${column} AS name FROM history WHERE ${column} <> '' UNION SELECT ${column} FROM dropped WHERE ${column} <> '' AND sums IS NOT NULL ORDER BY 1 LIMIT ?`).all(limit).map(({ name }) => name);
    return { packages: distinct('model'), pipelines: distinct('pipeline') };
  }

  #tracksOf({ fleet, device }: DeviceAddress): Tracks {
    const name = `${fleet}/${device}`;
    const known = this.#tracks.get(name);
    if (known !== undefined) return known;
    if (this.#remembered >= TRACKS_IN_MEMORY) this.forget();
    const tracks: Tracks = new Map();
    const rows = this.#db.prepare<[string, string], TrackRow>('SELECT pipeline, boot_id, seq, frames, slot_ms, model, sums FROM dropped WHERE fleet = ? AND device = ?').all(fleet, device);
    for (const { pipeline, boot_id: bootId, seq, frames, slot_ms: slotMs, model, sums } of rows) {
      const rollup = sums === null ? null : readRollup(sums);
      this.#remember(tracks, pipeline, { bootId, seq, frames, growing: rollup === null || slotMs === null || model === null ? null : { slotMs, model, rollup } });
    }
    this.#tracks.set(name, tracks);
    return tracks;
  }

  #remember(tracks: Tracks, pipeline: string, track: Track): void {
    tracks.set(pipeline, track);
    this.#remembered += 1;
  }

  /** False when the part is of an earlier slot than the roll-up that grows. */
  #grow(at: At, track: Track, part: Growing): boolean {
    const { growing } = track;
    if (growing !== null && part.slotMs < growing.slotMs) {
      this.#put(at, 0, part);
      return false;
    }
    if (growing?.slotMs === part.slotMs && growing.model === part.model) {
      growing.rollup = mergeRollups(growing.rollup, part.rollup) ?? part.rollup;
      return true;
    }
    track.growing = part;
    if (growing === null) this.#trim(at, 0);
    else this.#put(at, 0, growing);
    return true;
  }

  #write({ address: { fleet, device }, pipeline }: At, { bootId, seq, frames, growing }: Track): void {
    this.#db.prepare('INSERT OR REPLACE INTO dropped (fleet, device, pipeline, boot_id, seq, frames, slot_ms, model, sums) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)')
      .run(fleet, device, pipeline, bootId, seq, frames, growing?.slotMs ?? null, growing?.model ?? null, growing === null ? null : JSON.stringify(growing.rollup));
  }

  #put(at: At, level: number, { slotMs: timeMs, model, rollup }: Growing): void {
    const step = STEPS[level];
    if (step === undefined) return; // older than the oldest days that are kept
    const { fleet, device } = at.address;
    const slotMs = Math.floor(timeMs / step.stepMs) * step.stepMs;
    const key = [fleet, device, step.stepMs, slotMs, at.pipeline, model];
    const known = this.#db.prepare<unknown[], { sums: string }>('SELECT sums FROM history WHERE fleet = ? AND device = ? AND step_ms = ? AND slot_ms = ? AND pipeline = ? AND model = ?').get(key);
    const before = known === undefined ? null : readRollup(known.sums);
    const sum = before === null ? rollup : mergeRollups(before, rollup) ?? rollup;
    this.#db.prepare('INSERT OR REPLACE INTO history (fleet, device, step_ms, slot_ms, pipeline, model, sums) VALUES (?, ?, ?, ?, ?, ?, ?)').run(...key, JSON.stringify(sum));
    if (known === undefined) this.#trim(at, level);
  }

  /** The oldest rows of a length become rows of the next one. Roll-ups that grow are among those of five minutes. */
  #trim(at: At, level: number): void {
    const step = STEPS[level];
    if (step === undefined) return;
    const { fleet, device } = at.address;
    const growing = level > 0 ? 0 : [...at.tracks.values()].filter((track) => track.growing !== null).length;
    const keep = Math.min(step.rows, Math.max(LEAST_ROWS, Math.floor(this.#rows / Math.max(1, at.devices) / STEPS.length))) - growing;
    const old = this.#db.prepare<unknown[], StoredRow>(`
      DELETE FROM history WHERE (fleet, device, step_ms, slot_ms, pipeline, model) IN (
        SELECT fleet, device, step_ms, slot_ms, pipeline, model FROM history WHERE fleet = ? AND device = ? AND step_ms = ? ORDER BY slot_ms DESC, pipeline, model LIMIT -1 OFFSET ?)
      RETURNING *`).all(fleet, device, step.stepMs, Math.max(0, keep));
    for (const { slot_ms: slotMs, pipeline, model, sums } of old) {
      const rollup = readRollup(sums);
      if (rollup !== null) this.#put({ ...at, pipeline }, level + 1, { slotMs, model, rollup });
    }
  }
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
