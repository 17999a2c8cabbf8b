/** A fleet on Mosquitto with a collector that writes into PostgreSQL and VictoriaMetrics: what those two take. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PostgresFleetStore } from '../../collector/postgres/postgres-fleet-store.js';
import type { Bar } from '../bars.js';
import { cpuSecondsOf, familyCpuSecondsOf, memoryOf } from '../process-figures.js';
import { startMosquitto } from '../transfer/mosquitto.js';
import { CollectorProcess, type CollectReport } from './collector-process.js';
import { BROKER_LINES } from './kills.js';
import { CONNECTS_PER_SECOND, INTERVAL_MS, inSection, lossBars, measureSteady, requireFiles, settle, spreadOf, steadyBars, untilSteady } from './load.js';
import type { FleetBenchOptions } from './options.js';
import { Simulators } from './simulator-process.js';
import { queryPostgres, startPostgres, startVictoriaMetrics, type StoreServer } from './store-servers.js';

/** @throws DeployError E_BENCH when a server does not start, or the limit of open files is too low */
export async function largeStoreBars(options: FleetBenchOptions & { folder: string }): Promise<Bar[]> {
  const { devices, folder } = options;
  requireFiles(devices + 500);
  const series = join(folder, 'metrics');
  mkdirSync(series);
  const relational = mkdtempSync(join(tmpdir(), 'sterna-postgres-')); // not in a folder of root alone: the server runs as nobody then
  const broker = await startMosquitto(folder, BROKER_LINES);
  const servers: StoreServer[] = [];
  let collector: CollectorProcess | undefined;
  let simulators: Simulators | undefined;
  try {
    const [postgres, metrics] = [await startPostgres(relational), await startVictoriaMetrics(series)];
    servers.push(postgres, metrics);
    const emptyBytes = await databaseBytes(postgres.url);
    const reports: CollectReport[] = [];
    collector = new CollectorProcess({ url: broker.url, name: 'one', store: ['--postgres', postgres.url, '--metrics', metrics.url], reportSeconds: 2, onReport: (report) => reports.push(report) });
    await collector.ready;
    const spreadMs = spreadOf(devices, CONNECTS_PER_SECOND);
    simulators = Simulators.start({ ports: [broker.port], devices, intervalMs: INTERVAL_MS, spreadMs });
    const brokerCpuSeconds = (): number => cpuSecondsOf(broker.pid);
    await untilSteady({ simulators, collector, brokerCpuSeconds, reports, options }, spreadMs);
    const cpuOf = (): number[] => servers.map(({ pid }) => familyCpuSecondsOf(pid()));
    const before = cpuOf();
    const steady = await measureSteady({ simulators, collector, brokerCpuSeconds, reports, options });
    const cpu = cpuOf().map((seconds, i) => (seconds - (before[i] ?? 0)) / steady.seconds);
    const end = await settle({ simulators, collector, options });
    const collectorBytes = collector.peakBytes;
    await collector.stop();
    const rows = await databaseBytes(postgres.url) - emptyBytes;
    const losses = await lossBars(await PostgresFleetStore.open({ url: postgres.url, collector: 'bench', metrics: null }), end);
    const metricsRss = memoryOf(metrics.pid(), 'VmHWM');
    await metrics.stop();
    const figure = (id: string, what: string, value: number, unit: string): Bar => ({ id: `fleet.large-store.${id}`, what, value, unit, bar: '-', met: true });
    return [
      ...inSection('large-store', [...steadyBars(options, steady), ...losses]),
      figure('postgres-cpu', 'CPU of PostgreSQL', cpu[0] ?? NaN, 'cores'),
      figure('metrics-cpu', 'CPU of VictoriaMetrics', cpu[1] ?? NaN, 'cores'),
      figure('postgres-window', `growth of the database a window, over ${end.made} windows`, rows / end.made, 'bytes'),
      figure('metrics-window', 'files of VictoriaMetrics a window', bytesBelow(series) / end.made, 'bytes'),
      figure('metrics-rss', 'resident memory of VictoriaMetrics at most', metricsRss, 'bytes'),
      figure('collector-rss', 'resident memory of the collector at most', collectorBytes, 'bytes'),
    ];
  } finally {
    simulators?.close();
    await collector?.kill();
    await Promise.all([broker.stop(), ...servers.map((server) => server.stop())]);
    rmSync(relational, { recursive: true, force: true });
  }
}

/** Without the write-ahead log, whose files are kept for reuse. */
async function databaseBytes(url: string): Promise<number> {
  const [row] = await queryPostgres(url, 'SELECT pg_database_size(current_database()) AS bytes');
  return Number(row?.['bytes']);
}

function bytesBelow(folder: string): number {
  return readdirSync(folder, { withFileTypes: true, recursive: true }).reduce((total, entry) => total + (entry.isFile() ? statSync(join(entry.parentPath, entry.name)).size : 0), 0);
}
