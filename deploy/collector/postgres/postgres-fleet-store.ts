import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pool, PoolClient } from 'pg';
import { mergeHistograms, histogramSchema, type HistogramData } from '../../../agent/contracts/index.js';
import { requireOptional } from '../../../runtime/optional-package.js';
import { projectFolder } from '../../demo/folder.js';
import { DeployError } from '../../errors.js';
import type { FleetStore, FleetTotals, Outcome, Received } from '../fleet-store.js';
import { KEPT_MS, keyText, mergedOf, mergeLatencies, type LatencySlot } from '../latency-slots.js';
import { addEvents, noteStates, takeWindows, touchDevices } from './batch-statements.js';
import { addHistory } from './history-statements.js';
import { defaultRetention, deleteOld, type Retention } from './retention.js';
import { linesOf, type VictoriaMetrics } from './victoria-metrics.js';
import { windowLines } from './window-samples.js';

export interface PostgresOptions {
  /** postgres://user@host/database; what it leaves out comes from PGPASSWORD, ~/.pgpass and so on. */
  url: string;
  /** Of the collector that writes. */
  collector: string;
  /** Takes the figures of devices; null: they are not kept. */
  metrics: VictoriaMetrics | null;
  retention?: Retention;
}

/** Chosen once; it only has to be the same for every collector. */
const MIGRATION_LOCK = 5_738_201;
const CONNECT_TIMEOUT_MS = 10_000;
/** Between two looks for rows that are kept no longer; at once again while there are more than one statement deletes. */
const RETENTION_EVERY_MS = 600_000;

const messageOf = (error: unknown): string => (error instanceof Error && error.message !== '' ? error.message : String(error));

/** Whether a batch failed for what is in it, not for the state of the database: class 22 of SQLSTATE, data exceptions. */
function isOfData(error: unknown): boolean {
  const code = error instanceof DeployError && error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined;
  return typeof code === 'string' && code.startsWith('22');
}

/**
 * The store of many machines: PostgreSQL has the devices, the events, the numbers of the windows that arrived, the merged latencies and the roll-ups of devices over
 * months, VictoriaMetrics the figures of single windows. A batch is one transaction, at whose end the figures are sent: if they fail, nothing was written; if the transaction fails, the same samples come again.
 */
export class PostgresFleetStore implements FleetStore {
  readonly #pool: Pool;
  readonly #options: PostgresOptions;
  #retentionMs = 0;

  private constructor(pool: Pool, options: PostgresOptions) {
    this.#pool = pool;
    this.#options = options;
  }

  /** Brings the database to the newest schema. @throws DeployError E_COLLECTOR, RuntimeError E_DEPENDENCY without the package pg */
  static async open(options: PostgresOptions): Promise<PostgresFleetStore> {
    const { Pool } = requireOptional('pg', 'The store in PostgreSQL') as typeof import('pg');
    const pool = new Pool({ connectionString: options.url, max: 2, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
    pool.on('error', () => undefined); // a connection that ends while nobody uses it: the next batch says so
    const store = new PostgresFleetStore(pool, options);
    try {
      await store.#transaction('The database cannot be brought to the newest schema', migrate);
      return store;
    } catch (error) {
      await pool.end();
      throw error;
    }
  }

  /**
   * What PostgreSQL cannot hold (a NUL or half a surrogate pair in a text of a device) is refused alone. It would otherwise keep all that came with it from
   * being written, for ever: the broker would send it again and again.
   */
  async commit(batch: readonly Received[]): Promise<readonly Outcome[]> {
    try {
      const outcomes = await this.#write(batch);
      await this.#deleteInTurn(batch);
      return outcomes;
    } catch (error) {
      if (!isOfData(error)) throw error;
      if (batch.length === 1) return ['refused'];
      const half = Math.ceil(batch.length / 2);
      return [...await this.commit(batch.slice(0, half)), ...await this.commit(batch.slice(half))];
    }
  }

  /** Deletes what is kept no longer. @returns rows @throws DeployError E_COLLECTOR */
  deleteOld(nowMs: number): Promise<number> {
    return this.#transaction('Old rows cannot be deleted', (client) => deleteOld(client, this.#options.retention ?? defaultRetention, nowMs));
  }

  /** Between batches, by the clock of the newest message. A failure is that of the next batch, too, which says so. */
  async #deleteInTurn(batch: readonly Received[]): Promise<void> {
    const nowMs = Math.max(...batch.map(({ receivedMs }) => receivedMs));
    if (nowMs - this.#retentionMs < RETENTION_EVERY_MS) return;
    this.#retentionMs = nowMs;
    if (await this.deleteOld(nowMs).catch(() => 0) > 0) this.#retentionMs = 0;
  }

  #write(batch: readonly Received[]): Promise<readonly Outcome[]> {
    return this.#transaction(`The database did not take ${batch.length} messages`, async (client) => {
      await touchDevices(client, batch);
      const outcomes: Outcome[] = batch.map(() => 'added');
      await noteStates(client, batch, outcomes);
      await takeWindows(client, batch, outcomes);
      await addEvents(client, batch, outcomes);
      const added = batch.filter((_, i) => outcomes[i] === 'added');
      await this.#addLatencies(client, mergeLatencies(added));
      const parts = await addHistory(client, added, Math.max(...batch.map(({ receivedMs }) => receivedMs)));
      const { metrics } = this.#options;
      if (metrics !== null) {
        const figures = added.flatMap(({ message, receivedMs }) => (message.kind === 'telemetry' ? linesOf(message.address, message.value, message.value.clock_synchronized ? message.value.end_ms : receivedMs) : []));
        await metrics.write([...figures, ...parts.flatMap(windowLines)]);
      }
      return outcomes;
    });
  }

  async latency(fleet: string, sinceMs: number): Promise<HistogramData | null> {
    const { rows } = await this.#pool.query<{ histogram: string }>(`SELECT histogram FROM latency WHERE fleet = $1 AND slot_ms >= $2 AND clock = 'raw'`, [fleet, Math.round(sinceMs)]);
    return mergedOf(rows.map(({ histogram }) => histogram));
  }

  async totals(): Promise<FleetTotals> {
    const { rows: [row] } = await this.#pool.query<Record<keyof FleetTotals, string>>(
      'SELECT (SELECT count(*) FROM device) AS devices, (SELECT COALESCE(sum(received), 0) FROM stream) AS windows, (SELECT count(*) FROM event) AS events');
    return { devices: Number(row?.devices), windows: Number(row?.windows), events: Number(row?.events) };
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #addLatencies(client: PoolClient, slots: readonly LatencySlot[]): Promise<void> {
    if (slots.length === 0) return;
    const columns = [slots.map((s) => s.slotMs), slots.map((s) => s.fleet), slots.map((s) => s.pipeline), slots.map((s) => s.model), slots.map((s) => s.clock), slots.map((s) => s.kind)];
    const { rows } = await client.query<{ slot_ms: string; fleet: string; pipeline: string; model: string; clock: string; kind: string; histogram: string }>(
      `SELECT latency.* FROM latency JOIN unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS key (slot_ms, fleet, pipeline, model, clock, kind)
       USING (slot_ms, fleet, pipeline, model, clock, kind) WHERE collector = $7 FOR UPDATE OF latency`, [...columns, this.#options.collector]);
    const known = new Map(rows.map((row) => [keyText({ ...row, slotMs: Number(row.slot_ms) }), row.histogram]));
    const sums = slots.map((slot) => {
      const before = known.get(keyText(slot));
      return JSON.stringify(before === undefined ? slot.histogram : mergeHistograms(histogramSchema.parse(JSON.parse(before)), slot.histogram));
    });
    await client.query(
      `INSERT INTO latency (slot_ms, fleet, pipeline, model, clock, kind, histogram, collector)
       SELECT *, $8 FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
       ON CONFLICT (slot_ms, fleet, pipeline, model, clock, kind, collector) DO UPDATE SET histogram = excluded.histogram`, [...columns, sums, this.#options.collector]);
    if (known.size === 0) await client.query('DELETE FROM latency WHERE collector = $1 AND slot_ms < $2', [this.#options.collector, (slots[0]?.slotMs ?? 0) - KEPT_MS]);
  }

  /** @throws DeployError E_COLLECTOR */
  async #transaction<T>(what: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
    let client: PoolClient | undefined;
    try {
      client = await this.#pool.connect();
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      client.release();
      return result;
    } catch (cause) {
      client?.release(true); // a connection that is closed rolls back
      throw cause instanceof DeployError ? cause : new DeployError('E_COLLECTOR', `${what}: ${messageOf(cause)}`, { cause });
    }
  }
}

/** The numbered files beside this module's source, each once, in one transaction; of several collectors that start, one runs them. */
async function migrate(client: PoolClient): Promise<void> {
  const folder = join(projectFolder(), 'deploy', 'collector', 'postgres');
  const names = readdirSync(folder).filter((name) => /^\d{4}-.*\.sql$/.test(name)).sort();
  await client.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
  await client.query('CREATE TABLE IF NOT EXISTS sterna_migration (name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())');
  const { rows } = await client.query<{ name: string }>('SELECT name FROM sterna_migration');
  const applied = new Set(rows.map(({ name }) => name));
  const unknown = [...applied].filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new DeployError('E_COLLECTOR', `The database has the migrations ${unknown.join(', ')}, which this version does not know. Update Sterna.`);
  for (const name of names) {
    if (applied.has(name)) continue;
    await client.query(readFileSync(join(folder, name), 'utf8'));
    await client.query('INSERT INTO sterna_migration (name) VALUES ($1)', [name]);
  }
}
