/** The part of the collector's database that knows which windows have come, and keeps the newest ones. */
import { telemetrySchema, type DeviceAddress, type TelemetryWindow } from '../../agent/contracts/index.js';
import type { FleetDatabase } from '../database.js';

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
/** Windows whose message is at most as long are kept as they came, which saves writing them as JSON again; of longer ones, only what the contracts know. */
const MOST_BYTES_AS_THEY_CAME = 16_384;
/** Of a stream. Holes beyond are given up from the oldest on: late windows that would fill them count as duplicates. */
const SPANS_PER_STREAM = 512;

interface Span { first_seq: number; last_seq: number }

/** What a device's next window most likely continues. */
interface Tip {
  stream: string;
  id: number;
  /** The newest span of the stream; null before its first window. */
  span: Span | null;
  /** Windows of the device that are kept. */
  kept: number;
}

/** Call what writes within a transaction, and `forget` when one was taken back or another connection has written. */
export class WindowStore {
  readonly #db: FleetDatabase;
  /** By device; no more of them than devices. */
  readonly #tips = new Map<string, Tip>();

  constructor(db: FleetDatabase) {
    this.#db = db;
  }

  forget(): void {
    this.#tips.clear();
  }

  /**
   * Each number of a stream is taken once: a window whose `first_seq..seq` meets a known one is refused and counted, however
   * the device merged it meanwhile. So backfill never overwrites what came live.
   * @param keep newest windows of the device that stay, at least one
   * @param payload the message that the window was read from
   */
  add(address: DeviceAddress, window: TelemetryWindow, { nowMs, keep, payload }: { nowMs: number; keep: number; payload?: Uint8Array | undefined }): Arrival {
    const tip = this.#tip(address, window.stream_id);
    const arrival = this.#arrival(tip, window);
    if (arrival === 'added') {
      this.#join(tip, window.first_seq, window.seq);
      this.#keep(address, tip, { window, keep, text: textOf(window, payload) });
    }
    const [column, n] = arrival === 'added' ? ['received', window.seq - window.first_seq + 1] : [`${arrival}s`, 1];
    this.#db.prepare(`UPDATE stream SET ${column} = ${column} + ?, seen_ms = ? WHERE id = ?`).run(n, Math.round(nowMs), tip.id);
    return arrival;
  }

  /** The newest `limit` windows, oldest first. */
  newest({ fleet, device }: DeviceAddress, limit: number): TelemetryWindow[] {
    return this.#db.prepare<[string, string, number], { payload: string }>(
      'SELECT payload FROM telemetry WHERE fleet = ? AND device = ? ORDER BY end_ms DESC, id DESC LIMIT ?')
      .all(fleet, device, limit).map((row) => telemetrySchema.parse(JSON.parse(row.payload))).reverse();
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
    const counters = Object.entries(this.newest(address, 1)[0]?.counters ?? {});
    const dropped = counters.flatMap(([name, n]) => {
      const [, group, reason] = /^outbox_dropped_total\{class="(\w+)",reason="(\w+)"\}$/.exec(name) ?? [];
      return group === undefined || reason === undefined ? [] : [[`${group}/${reason}`, n] as const];
    });
    return { received: 0, duplicates: 0, overlaps: 0, ...sums, missing: holes?.missing ?? 0, dropped: Object.fromEntries(dropped) };
  }

  #tip({ fleet, device }: DeviceAddress, stream: string): Tip {
    const name = `${fleet}/${device}`;
    const last = this.#tips.get(name);
    if (last?.stream === stream) return last;
    const id = this.#stream({ fleet, device }, stream);
    const kept = last?.kept ?? this.#db.prepare<[string, string], { n: number }>('SELECT COUNT(*) AS n FROM telemetry WHERE fleet = ? AND device = ?').get(fleet, device)?.n ?? 0;
    const tip: Tip = { stream, id, span: this.#newestSpan(id), kept };
    this.#tips.set(name, tip);
    return tip;
  }

  #stream({ fleet, device }: DeviceAddress, stream: string): number {
    const known = this.#db.prepare<[string, string, string], { id: number }>('SELECT id FROM stream WHERE fleet = ? AND device = ? AND stream = ?').get(fleet, device, stream);
    if (known !== undefined) return known.id;
    const { lastInsertRowid } = this.#db.prepare('INSERT INTO stream (fleet, device, stream) VALUES (?, ?, ?)').run(fleet, device, stream);
    this.#db.prepare('DELETE FROM stream WHERE id IN (SELECT id FROM stream WHERE fleet = ? AND device = ? ORDER BY id DESC LIMIT -1 OFFSET ?)').run(fleet, device, STREAMS_PER_DEVICE);
    return Number(lastInsertRowid);
  }

  #newestSpan(stream: number): Span | null {
    return this.#db.prepare<[number], Span>('SELECT first_seq, last_seq FROM span WHERE stream_id = ? ORDER BY first_seq DESC LIMIT 1').get(stream) ?? null;
  }

  #arrival({ id, span }: Tip, { first_seq: first, seq: last }: TelemetryWindow): Arrival {
    if (span === null || first > span.last_seq) return 'added'; // nothing is known beyond the newest span
    const met = this.#db.prepare<[number, number, number], Span>(
      'SELECT first_seq, last_seq FROM span WHERE stream_id = ? AND first_seq <= ? AND last_seq >= ? ORDER BY first_seq').all(id, last, first);
    const [only] = met;
    if (only === undefined) return 'added';
    return only.first_seq <= first && only.last_seq >= last ? 'duplicate' : 'overlap';
  }

  /** Spans that touch become one, so a stream without holes is one row. */
  #join(tip: Tip, first: number, last: number): void {
    const { id, span } = tip;
    if (span !== null && first === span.last_seq + 1) {
      this.#db.prepare('UPDATE span SET last_seq = ? WHERE stream_id = ? AND first_seq = ?').run(last, id, span.first_seq);
      tip.span = { first_seq: span.first_seq, last_seq: last };
      return;
    }
    this.#joinAny(id, first, last);
    tip.span = this.#newestSpan(id);
  }

  #joinAny(stream: number, first: number, last: number): void {
    const before = this.#db.prepare<[number, number], { first_seq: number }>('DELETE FROM span WHERE stream_id = ? AND last_seq = ? RETURNING first_seq').get(stream, first - 1);
    const after = this.#db.prepare<[number, number], { last_seq: number }>('DELETE FROM span WHERE stream_id = ? AND first_seq = ? RETURNING last_seq').get(stream, last + 1);
    this.#db.prepare('INSERT INTO span (stream_id, first_seq, last_seq) VALUES (?, ?, ?)').run(stream, before?.first_seq ?? first, after?.last_seq ?? last);
    const { n } = this.#db.prepare<[number], { n: number }>('SELECT COUNT(*) AS n FROM span WHERE stream_id = ?').get(stream) ?? { n: 0 };
    if (n <= SPANS_PER_STREAM) return;
    const [a, b] = this.#db.prepare<[number], Span>('SELECT first_seq, last_seq FROM span WHERE stream_id = ? ORDER BY first_seq LIMIT 2').all(stream);
    if (a === undefined || b === undefined) return;
    this.#db.prepare('DELETE FROM span WHERE stream_id = ? AND first_seq IN (?, ?)').run(stream, a.first_seq, b.first_seq);
    this.#db.prepare('INSERT INTO span (stream_id, first_seq, last_seq) VALUES (?, ?, ?)').run(stream, a.first_seq, b.last_seq);
  }

  /** The newest windows stay. A device that has as many as it may overwrites its oldest one, which touches fewer pages than a new row and a deleted one. */
  #keep({ fleet, device }: DeviceAddress, tip: Tip, { window, keep, text }: { window: TelemetryWindow; keep: number; text: string }): void {
    const row = [window.boot_id, window.seq, Math.round(window.end_ms), window.backfill ? 1 : 0, text];
    if (tip.kept < keep) {
      this.#db.prepare('INSERT INTO telemetry (fleet, device, boot_id, seq, end_ms, backfill, payload) VALUES (?, ?, ?, ?, ?, ?, ?)').run(fleet, device, ...row);
      tip.kept += 1;
      return;
    }
    if (tip.kept > keep) {
      this.#db.prepare('DELETE FROM telemetry WHERE id IN (SELECT id FROM telemetry WHERE fleet = ? AND device = ? ORDER BY end_ms DESC, id DESC LIMIT -1 OFFSET ?)').run(fleet, device, keep);
      tip.kept = keep;
    }
    this.#db.prepare(`
      UPDATE telemetry SET boot_id = ?, seq = ?, end_ms = ?, backfill = ?, payload = ?
      WHERE id = (SELECT id FROM telemetry WHERE fleet = ? AND device = ? ORDER BY end_ms, id LIMIT 1) AND end_ms <= ?`).run(...row, fleet, device, Math.round(window.end_ms));
  }
}

const utf8 = new TextDecoder();

const textOf = (window: TelemetryWindow, payload: Uint8Array | undefined): string =>
  (payload === undefined || payload.byteLength > MOST_BYTES_AS_THEY_CAME ? JSON.stringify(window) : utf8.decode(payload));
