import type { Pool, QueryResultRow } from 'pg';
import { capsSchema, eventSchema, reportedSchema, statusSchema, type DeviceAddress, type Event } from '../../../agent/contracts/index.js';
import { messageOf } from '../../../runtime/errors.js';
import { requireOptional } from '../../../runtime/optional-package.js';
import { DeployError } from '../../errors.js';
import type { DeviceRow, Fineness, FleetPast, PastRange } from '../fleet-past.js';
import type { HistoryRow } from '../history-store.js';
import { SLOT_MS } from '../latency-slots.js';
import { readRollup } from '../rollup.js';
import type { DeviceRecord } from '../store.js';
import { LEVELS, segmentsOf } from './history-levels.js';
import type { VictoriaMetrics } from './victoria-metrics.js';
import { readWindows } from './window-samples.js';

export interface PostgresPastOptions {
  /** As for `PostgresFleetStore`. A user that may only read is enough. */
  url: string;
  /** Has single windows; null: rows of five minutes are the shortest. */
  metrics: VictoriaMetrics | null;
  /** Milliseconds since 1970, for what is kept no longer. */
  now?: () => number;
  /** Of one statement; default 8000, because a page waits for 10 s. */
  timeoutMs?: number;
}

/** The migration from which on there is history. */
const NEEDED = '0003-history.sql';
const CONNECT_TIMEOUT_MS = 5000;
const STATEMENT_TIMEOUT_MS = 8000;
/** Devices that are read with one statement. */
const DEVICES_AT_ONCE = 200;
/** SQLSTATE of what an operator can mend, in words. */
const CAUSES: Readonly<Record<string, string>> = { '57014': 'a statement took too long', '53100': 'its disk is full', '53300': 'it has too many connections', '42501': 'the user may not read its tables' };

interface RollupRow extends DeviceAddress { step_ms: string; slot_ms: string; model: string; sums: string }

/** The past of a fleet that `sterna fleet collect` keeps in PostgreSQL and VictoriaMetrics. It writes nothing, and connects when it is first asked. */
export class PostgresFleetPast implements FleetPast {
  readonly source: string;
  readonly #pool: Pool;
  readonly #metrics: VictoriaMetrics | null;
  readonly #now: () => number;
  #checked: Promise<void> | null = null;

  /** @throws RuntimeError E_DEPENDENCY without the package pg */
  constructor({ url, metrics, now = Date.now, timeoutMs = STATEMENT_TIMEOUT_MS }: PostgresPastOptions) {
    const { Pool } = requireOptional('pg', 'The store in PostgreSQL') as typeof import('pg');
    this.#pool = new Pool({ connectionString: url, max: 4, connectionTimeoutMillis: CONNECT_TIMEOUT_MS, statement_timeout: timeoutMs, options: '-c default_transaction_read_only=on' });
    this.#pool.on('error', () => undefined); // a connection that ends while nobody uses it: the next statement says so
    this.#metrics = metrics;
    this.#now = now;
    this.source = metrics === null ? 'PostgreSQL' : 'PostgreSQL and VictoriaMetrics';
  }

  async rows(devices: readonly DeviceAddress[], { pipeline, fromMs, toMs, model = null }: PastRange & { model?: string | null }, fineness: Fineness): Promise<DeviceRow[]> {
    const segments = segmentsOf(fromMs, toMs, { fineness, nowMs: this.#now() });
    const rows: DeviceRow[] = [];
    for (let i = 0; i < devices.length; i += DEVICES_AT_ONCE) {
      const some = devices.slice(i, i + DEVICES_AT_ONCE);
      const found = await this.#query<RollupRow>(
        `SELECT fleet, device, step_ms, slot_ms, model, sums FROM unnest($1::text[], $2::text[]) AS key (fleet, device)
         CROSS JOIN unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS part (step_ms, from_ms, to_ms) JOIN history USING (fleet, device, step_ms)
         WHERE slot_ms > from_ms - step_ms AND slot_ms < to_ms AND pipeline = $6 AND ($7::text IS NULL OR model = $7)
         UNION ALL SELECT fleet, device, ${SLOT_MS}, slot_ms, model, sums FROM unnest($1::text[], $2::text[]) AS key (fleet, device) JOIN pipeline USING (fleet, device)
         WHERE slot_ms > $8::bigint - ${SLOT_MS} AND slot_ms < $9::bigint AND pipeline = $6 AND ($7::text IS NULL OR model = $7) AND sums IS NOT NULL
         ORDER BY fleet, device, slot_ms`,
        [some.map((d) => d.fleet), some.map((d) => d.device), segments.map((s) => s.stepMs), segments.map((s) => s.fromMs), segments.map((s) => s.toMs), pipeline, model, fromMs, toMs]);
      for (const { fleet, device, step_ms: stepMs, slot_ms: slotMs, model: name, sums } of found) {
        const rollup = readRollup(sums);
        if (rollup !== null) rows.push({ fleet, device, stepMs: Number(stepMs), slotMs: Number(slotMs), model: name, rollup });
      }
    }
    return rows;
  }

  windows(device: DeviceAddress, range: PastRange): Promise<HistoryRow[]> {
    return this.#metrics === null ? Promise.resolve([]) : readWindows(this.#metrics, device, range);
  }

  /** Days begin before their first window; the oldest hour and the oldest five minutes of them say when. */
  async oldestMs({ fleet, device }: DeviceAddress): Promise<number | null> {
    const found = await this.#query<{ step_ms: string; oldest: string | null }>(
      `SELECT step_ms, (SELECT min(slot_ms) FROM history WHERE fleet = $1 AND device = $2 AND history.step_ms = level.step_ms) AS oldest FROM unnest($3::bigint[]) AS level (step_ms)
       UNION ALL SELECT ${SLOT_MS}, min(slot_ms) FROM pipeline WHERE fleet = $1 AND device = $2`, [fleet, device, LEVELS.map(({ stepMs }) => stepMs)]);
    let oldest: { ms: number; stepMs: number } | null = null;
    for (const { step_ms: step, oldest: begin } of found.filter((row) => row.oldest !== null).sort((a, b) => Number(b.step_ms) - Number(a.step_ms) || Number(a.oldest) - Number(b.oldest))) {
      const [ms, stepMs] = [Number(begin), Number(step)];
      if (oldest === null || (ms < oldest.ms + oldest.stepMs && stepMs < oldest.stepMs)) oldest = { ms, stepMs };
    }
    return oldest?.ms ?? null;
  }

  /** Of the last 31 days, and whatever devices have run last. */
  async names(limit: number): Promise<{ packages: string[]; pipelines: string[] }> {
    const distinct = async (column: 'model' | 'pipeline'): Promise<string[]> => (await this.#query<{ name: string }>(
      `SELECT ${column} AS name FROM latency WHERE ${column} <> '' UNION SELECT ${column} FROM pipeline WHERE ${column} <> '' AND sums IS NOT NULL ORDER BY 1 LIMIT $1`, [limit])).map(({ name }) => name);
    return { packages: await distinct('model'), pipelines: await distinct('pipeline') };
  }

  async events({ fleet, device }: DeviceAddress, limit: number): Promise<Event[]> {
    const found = await this.#query<{ payload: unknown }>('SELECT payload FROM event WHERE fleet = $1 AND device = $2 ORDER BY time_ms DESC, received_ms DESC LIMIT $3', [fleet, device, limit]);
    return found.flatMap(({ payload }) => eventSchema.safeParse(payload).data ?? []);
  }

  async devices(): Promise<DeviceRecord[]> {
    const found = await this.#query<DeviceAddress & { seen_ms: string; status: unknown; caps: unknown; reported: unknown }>('SELECT fleet, device, seen_ms, status, caps, reported FROM device ORDER BY fleet, device', []);
    return found.map(({ fleet, device, seen_ms: seenMs, status, caps, reported }) => ({
      fleet, device, seenMs: Number(seenMs), status: statusSchema.safeParse(status).data ?? null, caps: capsSchema.safeParse(caps).data ?? null, reported: reportedSchema.safeParse(reported).data ?? null,
    }));
  }

  async newestMs(): Promise<number | null> {
    const [row] = await this.#query<{ newest: string | null }>('SELECT max(seen_ms) AS newest FROM device', []);
    return row?.newest == null ? null : Number(row.newest);
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #query<Row extends QueryResultRow>(text: string, values: readonly unknown[]): Promise<Row[]> {
    try {
      await (this.#checked ??= this.#check());
      return (await this.#pool.query<Row>(text, [...values])).rows;
    } catch (cause) {
      throw cause instanceof DeployError ? cause : new DeployError('E_STORE', `PostgreSQL cannot be read: ${whyOf(cause)}`, { cause });
    }
  }

  /** Once, as soon as the server answers: tables that are not there would be said one by one, and as defects. */
  async #check(): Promise<void> {
    try {
      const { rows: [row] } = await this.#pool.query<{ known: string | null }>(`SELECT to_regclass('sterna_migration') AS known`);
      const applied = row?.known == null ? [] : (await this.#pool.query<{ name: string }>('SELECT name FROM sterna_migration WHERE name = $1', [NEEDED])).rows;
      if (applied.length === 0) throw new DeployError('E_STORE', 'PostgreSQL has not the tables of this version: start `sterna fleet collect --postgres` of this version once, which makes them');
    } catch (error) {
      this.#checked = null;
      throw error;
    }
  }
}

function whyOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  const text = error instanceof AggregateError ? error.errors.map(messageOf).join('; ') : messageOf(error);
  return CAUSES[code] ?? (text === '' ? code : text);
}
