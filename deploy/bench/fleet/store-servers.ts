/** PostgreSQL and VictoriaMetrics, on loopback only. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { requireOptional } from '../../../runtime/optional-package.js';
import { freePort } from '../../demo/device-process.js';
import { DeployError } from '../../errors.js';

const DEBIAN = '/usr/lib/postgresql';
/** Folder of initdb and postgres; undefined when PostgreSQL is not installed. Debian has them outside of PATH. */
export const postgresFolder: string | undefined = [
  ...(process.env['PATH'] ?? '').split(':'), ...(existsSync(DEBIAN) ? readdirSync(DEBIAN).map((version) => join(DEBIAN, version, 'bin')) : []),
].find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));

export const victoriaMetricsMissing = (): boolean => spawnSync('victoria-metrics', ['-version']).error !== undefined;

/** PostgreSQL refuses to run as root, who gives its folder to nobody. */
const NOBODY = 65_534;
const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
const START_TIMEOUT_MS = 60_000;

export interface StoreServer {
  readonly url: string;
  pid(): number;
  start(): Promise<void>;
  /** PostgreSQL ends at once, as in a crash; VictoriaMetrics writes first what it has in memory. */
  stop(): Promise<void>;
}

/**
 * A server with an empty database `postgres`, on which user `sterna` may do everything.
 * @param folder empty
 * @param settings as of postgresql.conf, e.g. `fsync=off`
 * @throws DeployError E_BENCH when it does not start
 */
export async function startPostgres(folder: string, settings: readonly string[] = []): Promise<StoreServer> {
  const [port, bin] = [await freePort(), postgresFolder ?? ''];
  if ('uid' in user) chownSync(folder, NOBODY, NOBODY);
  const data = join(folder, 'data');
  const made = spawnSync(join(bin, 'initdb'), ['-D', data, '-U', 'sterna', '--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C'], { ...user, cwd: folder, encoding: 'utf8' });
  if (made.status !== 0) throw new DeployError('E_BENCH', `initdb failed: ${made.error?.message ?? made.stderr}`);
  const flags = ['listen_addresses=127.0.0.1', ...settings].flatMap((setting) => ['-c', setting]);
  const url = `postgres://sterna@127.0.0.1:${port}/postgres`;
  return startServer('PostgreSQL', {
    url, signal: 'SIGQUIT', answers: () => accepts(url),
    spawn: () => spawn(join(bin, 'postgres'), ['-D', data, '-p', String(port), '-k', folder, ...flags], { ...user, cwd: folder, stdio: 'ignore' }),
  });
}

/** @throws DeployError E_BENCH when it does not start */
export async function startVictoriaMetrics(folder: string, flags: readonly string[] = []): Promise<StoreServer> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  return startServer('VictoriaMetrics', {
    url, signal: 'SIGTERM', answers: () => fetch(`${url}/health`).then(({ ok }) => ok, () => false),
    spawn: () => spawn('victoria-metrics', ['-storageDataPath', folder, '-httpListenAddr', `127.0.0.1:${port}`, '-retentionPeriod', '100y', '-search.latencyOffset', '0s', '-loggerLevel', 'ERROR', ...flags], { stdio: 'ignore' }),
  });
}

interface ServerOptions {
  url: string;
  /** Ends it. */
  signal: NodeJS.Signals;
  answers: () => Promise<boolean>;
  spawn: () => ChildProcess;
}

/** @throws DeployError E_BENCH when it does not answer within a minute */
export async function startServer(name: string, { url, signal, answers, spawn: begin }: ServerOptions): Promise<StoreServer> {
  let child: ChildProcess | undefined;
  const over = (): boolean => child === undefined || child.exitCode !== null || child.signalCode !== null;
  const stop = async (): Promise<void> => {
    if (over()) return;
    const exit = new Promise((resolve) => { child?.once('exit', resolve); });
    child?.kill(signal);
    await exit;
  };
  const start = async (): Promise<void> => {
    child = begin();
    child.once('error', () => undefined);
    for (const deadline = Date.now() + START_TIMEOUT_MS; !(await answers()); await sleep(50)) {
      if (!over() && Date.now() < deadline) continue;
      await stop();
      throw new DeployError('E_BENCH', `${name} does not answer at ${url}`);
    }
  };
  await start();
  return { url, pid: () => child?.pid ?? 0, start, stop };
}

const accepts = (url: string): Promise<boolean> => queryPostgres(url, 'SELECT 1').then(() => true, () => false);

/** Rows that a statement gives, on a connection of its own. @throws what pg throws, also when the server does not answer */
export async function queryPostgres(url: string, statement: string): Promise<Readonly<Record<string, unknown>>[]> {
  const { Client } = requireOptional('pg', 'The bench of the fleet') as typeof import('pg');
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}
