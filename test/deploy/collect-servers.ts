/** PostgreSQL, VictoriaMetrics and Prometheus as processes of a test, on loopback, with folders that are deleted afterwards. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, onTestFinished } from 'vitest';
import { postgresFolder, queryPostgres, startPostgres, startServer, startVictoriaMetrics, victoriaMetricsMissing as missing, type StoreServer } from '../../deploy/bench/fleet/store-servers.js';
import { freePort } from '../../deploy/demo/device-process.js';
import { temporaryFolder } from '../agent/support/tools.js';

export { postgresFolder };
export const victoriaMetricsMissing = missing();

/** Tests end servers as a crash does, and want no durability. */
const FAST = ['fsync=off'];

export async function testPostgres(): Promise<StoreServer> {
  const server = await startPostgres(temporaryFolder(), FAST);
  onTestFinished(server.stop);
  return server;
}

/** One server for all tests of a `describe`, and an empty database for each that asks. */
export function sharedPostgres(): () => Promise<string> {
  let [server, folder, n]: [StoreServer | undefined, string, number] = [undefined, '', 0];
  beforeAll(async () => {
    if (postgresFolder === undefined) return;
    folder = mkdtempSync(join(tmpdir(), 'sterna-postgres-'));
    server = await startPostgres(folder, FAST);
  }, 120_000);
  afterAll(async () => {
    await server?.stop();
    if (folder !== '') rmSync(folder, { recursive: true, force: true });
  });
  return async () => {
    const [url, name] = [server?.url ?? '', `fleet_${++n}`];
    await queryPostgres(url, `CREATE DATABASE ${name}`);
    return url.replace(/postgres$/, name);
  };
}

export async function testVictoriaMetrics(flags: readonly string[] = []): Promise<StoreServer> {
  const server = await startVictoriaMetrics(temporaryFolder(), flags);
  onTestFinished(server.stop);
  return server;
}

const versionIn = (program: string, args: readonly string[]): string | null => {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  return error === undefined ? /version v?(\d+\.\d+)/.exec(stdout + stderr)?.[1] ?? '0.0' : null;
};
/** Null when it is not installed. Native histograms came with 2.40. */
/** Debian's build tells no version. OTLP with exponential histograms and names of Prometheus came with 1.100 or so. */
export const victoriaMetricsTakesOtlp = spawnSync('victoria-metrics', ['-help'], { encoding: 'utf8' }).stdout?.includes('-opentelemetry.usePrometheusNaming') ?? false;
export const prometheusVersion = versionIn('prometheus', ['--version']);
export const isAtLeast = (version: string | null, least: string): boolean => {
  const [a = 0, b = 0] = (version ?? '0.0').split('.').map(Number);
  const [c = 0, d = 0] = least.split('.').map(Number);
  return a > c || (a === c && b >= d);
};

export interface TestPrometheus extends StoreServer {
  /** An instant query, without staleness of anything that was written at `timeMs`. */
  query(expression: string, timeMs: number): Promise<QueryResult[]>;
}

export interface QueryResult {
  metric: Record<string, string>;
  value?: [seconds: number, text: string];
  histogram?: [seconds: number, { count: string; sum: string; buckets?: [rule: number, low: string, high: string, count: string][] }];
}

/** It takes remote write, and scrapes nothing. Debian builds Prometheus without its receiver of OTLP. */
export async function testPrometheus(): Promise<TestPrometheus> {
  const [folder, port] = [temporaryFolder(), await freePort()];
  writeFileSync(join(folder, 'prometheus.yml'), 'global: {}\n');
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer('Prometheus', {
    url, signal: 'SIGTERM', answers: () => fetch(`${url}/-/ready`).then(({ ok }) => ok, () => false),
    spawn: () => spawn('prometheus', [`--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`, '--enable-feature=native-histograms', '--web.enable-remote-write-receiver'], { stdio: 'ignore' }),
  });
  onTestFinished(server.stop);
  const query: TestPrometheus['query'] = async (expression, timeMs) => {
    const answer = await fetch(`${url}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query: expression, time: String(timeMs / 1000) }) });
    const { data } = await answer.json() as { data: { result: QueryResult[] } };
    return data.result;
  };
  return { ...server, query };
}
