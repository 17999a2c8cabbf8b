/** The stores that the page can read the past from, for tests that have to hold for each of them. */
import { onTestFinished } from 'vitest';
import { Collector } from '../../deploy/collector/collector.js';
import { readMessage } from '../../deploy/collector/fleet-message.js';
import type { FleetPast } from '../../deploy/collector/fleet-past.js';
import type { Received } from '../../deploy/collector/fleet-store.js';
import { PostgresFleetPast } from '../../deploy/collector/postgres/postgres-fleet-past.js';
import { PostgresFleetStore } from '../../deploy/collector/postgres/postgres-fleet-store.js';
import { VictoriaMetrics } from '../../deploy/collector/postgres/victoria-metrics.js';
import { SqliteFleetPast } from '../../deploy/collector/sqlite-fleet-past.js';
import { SqliteFleetStore } from '../../deploy/collector/sqlite-fleet-store.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { ReportGuard } from '../../deploy/repository/report-guard.js';
import { postgresFolder, sharedPostgres, testVictoriaMetrics, victoriaMetricsMissing } from './collect-servers.js';

export interface OpenPast {
  past: FleetPast;
  /** What a collector received. */
  take(batch: readonly Received[]): Promise<void>;
  /** What the page itself hears. */
  live: CollectorStore;
}

export interface PastStore {
  name: string;
  missing: string | undefined;
  /** Call it in `describe`. @returns opens an empty one for a test, and closes it afterwards */
  use(): () => Promise<OpenPast>;
}

const BATCH = 500;

async function inBatches(batch: readonly Received[], commit: (some: readonly Received[]) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < batch.length; i += BATCH) await commit(batch.slice(i, i + BATCH));
}

const sqlite: PastStore = {
  name: 'SQLite', missing: undefined,
  use: () => () => {
    const live = new CollectorStore(':memory:');
    const store = new SqliteFleetStore(live);
    onTestFinished(() => store.close());
    return Promise.resolve({ live, past: new SqliteFleetPast(live), take: (batch) => inBatches(batch, (some) => store.commit(some)) });
  },
};

const postgres: PastStore = {
  name: 'PostgreSQL and VictoriaMetrics',
  missing: postgresFolder === undefined ? 'postgresql is not installed' : victoriaMetricsMissing ? 'victoria-metrics is not installed' : undefined,
  use() {
    const database = sharedPostgres();
    return async () => {
      const { url: metricsUrl } = await testVictoriaMetrics();
      const [url, metrics, live] = [await database(), new VictoriaMetrics(metricsUrl), new CollectorStore(':memory:')];
      const store = await PostgresFleetStore.open({ url, collector: 'a', metrics });
      const past = new PostgresFleetPast({ url, metrics });
      onTestFinished(async () => { await past.close(); await store.close(); live.close(); });
      const take = async (batch: readonly Received[]): Promise<void> => {
        await inBatches(batch, (some) => store.commit(some));
        await fetch(`${metricsUrl}/internal/force_flush`);
      };
      return { live, past, take };
    };
  },
};

export const pastStores: readonly PastStore[] = [sqlite, postgres];

/** Messages of a broker, by topic and payload. */
export const receivedOf = (text: string, payload: Uint8Array, receivedMs: number): Received => {
  const message = readMessage(text, payload, new ReportGuard());
  if (message === null) throw new Error(`nothing is kept of ${text}`);
  return { message, receivedMs };
};

/** A collector of the page, which is connected as far as the page can tell. */
export class ConnectedCollector extends Collector {
  override get connected(): boolean {
    return true;
  }
}
