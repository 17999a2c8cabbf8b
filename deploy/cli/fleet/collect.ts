import { hostname } from 'node:os';
import { setInterval as every } from 'node:timers/promises';
import type { Command } from 'commander';
import { quantile } from '../../../agent/contracts/index.js';
import type { FleetStore } from '../../collector/fleet-store.js';
import { PostgresFleetStore } from '../../collector/postgres/postgres-fleet-store.js';
import { defaultRetention } from '../../collector/postgres/retention.js';
import { VictoriaMetrics } from '../../collector/postgres/victoria-metrics.js';
import { SharedCollector } from '../../collector/shared-collector.js';
import { SqliteFleetStore } from '../../collector/sqlite-fleet-store.js';
import { CollectorStore, defaultLimits } from '../../collector/store.js';
import { DeployError } from '../../errors.js';
import { addBrokerOptions, brokerLink, type BrokerOptions } from '../broker-options.js';
import { interruptible } from '../interrupt.js';
import { integer, positive, requireId } from '../options.js';
import { NewRefusals, reportGuard } from '../report-options.js';
import { emit, log, type Report } from '../output.js';

interface CollectOptions extends BrokerOptions {
  fleet?: string; group: string | false; name: string; database?: string; postgres?: string; metrics?: string; maxDevices: number;
  keepDays?: number; batch: number; delay: number; receiveMaximum: number; session: number; inventory: boolean; report: number;
}

/** `sterna fleet collect`: one of many collectors that share a fleet. */
export function registerCollect(fleet: Command): void {
  addBrokerOptions(fleet
    .command('collect')
    .summary('write what devices say into a store, as one of many collectors, until Ctrl-C')
    .description('Subscribes with a shared subscription (MQTT 5), so that the collectors of a group divide the messages among themselves, and writes them in batches. A message is acknowledged once it is durable: the broker keeps what a collector that was killed, or whose store is away, has not acknowledged. Devices send live telemetry with QoS 1 for that (`telemetry.qos: 1` of their configuration).')
    .option('--database <file>', 'SQLite file; collectors of one machine may share it')
    .option('--postgres <url>', 'instead of --database: PostgreSQL, which collectors of many machines share, for example postgres://sterna@db/fleet; passwords come from PGPASSWORD or ~/.pgpass')
    .option('--metrics <url>', 'with --postgres: VictoriaMetrics, which takes the figures of devices, for example http://metrics:8428')
    .option('--keep-days <days>', 'with --postgres: how long events are kept; default 90', positive)
    .option('--fleet <name>', 'one fleet; default: all of them')
    .option('--group <name>', 'name of the shared subscription', 'collector')
    .option('--no-group', 'take all messages, from a broker that cannot divide them (RabbitMQ); MQTT 3.1.1 will do')
    .option('--name <name>', 'of this collector within the group, the same at every start: the broker keeps its messages under this name', hostname())
    .option('--max-devices <n>', 'devices that the SQLite file keeps; others are counted as refused', integer(1), defaultLimits.devices)
    .option('--batch <n>', 'most messages of a batch', integer(1), 500)
    .option('--delay <ms>', 'how long the first message of a batch waits for others', integer(0), 250)
    .option('--receive-maximum <n>', 'most messages that the broker sends before the first of them is durable, at most 65535', integer(1), 2000)
    .option('--session <seconds>', 'how long the broker keeps messages for this collector while it is away', integer(1), 86_400)
    .option('--no-inventory', 'do not read at the start what devices retain')
    .option('--report <seconds>', 'time between two lines of figures', positive, 60))
    .action(async (options: CollectOptions, self: Command) => {
      if (options.group !== false) requireId('--group', options.group);
      requireId('--name', options.name);
      if (options.receiveMaximum > 65_535) throw new DeployError('E_USAGE', `Expected --receive-maximum of at most 65535 (MQTT 5, 3.1.2.11.3) but received ${options.receiveMaximum}`);
      const link = brokerLink(options);
      await interruptible('Stopped', (signal) => collect(self, options, { link, signal }));
    });
}

async function collect(self: Command, options: CollectOptions, { link, signal }: { link: ReturnType<typeof brokerLink>; signal: AbortSignal }): Promise<void> {
  const store = await openStore(options);
  const guard = reportGuard(self, options);
  const refusals = new NewRefusals(guard);
  const collector = new SharedCollector({
    ...link, guard, group: options.group === false ? null : options.group, name: options.name, ...(options.fleet === undefined ? {} : { fleet: options.fleet }),
    receiveMaximum: options.receiveMaximum, sessionSeconds: options.session, inventory: options.inventory,
    batching: { maxMessages: options.batch, maxDelayMs: options.delay },
    onStore: (error) => log(self, error === null ? 'The store works again.' : `The store fails, and is tried again: ${error instanceof Error ? error.message : String(error)}`),
    onNarrow: (messages) => log(self, `The broker sends no more than ${messages} messages before they are acknowledged, so that no batch has more: raise that (mqtt.prefetch of RabbitMQ) to ${options.receiveMaximum}.`),
  }, store);
  try {
    await collector.start();
    log(self, `Collecting as ${options.name}${options.group === false ? ', without a group' : ` of ${options.group}`}   (Ctrl-C ends it)`);
    for await (const _ of every(options.report * 1000, null, { signal })) emit(self, await reportOf(collector, store, refusals));
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await collector.stop();
    emit(self, await reportOf(collector, store, refusals));
    await store.close();
  }
}

/** @throws DeployError E_USAGE, E_COLLECTOR */
async function openStore({ database, postgres, metrics, name, maxDevices, keepDays }: CollectOptions): Promise<FleetStore> {
  if ((database === undefined) === (postgres === undefined)) throw new DeployError('E_USAGE', 'Expected --database FILE, or --postgres URL, and not both');
  if (metrics !== undefined && postgres === undefined) throw new DeployError('E_USAGE', '--metrics needs --postgres: a SQLite file has the windows themselves');
  if (keepDays !== undefined && postgres === undefined) throw new DeployError('E_USAGE', '--keep-days needs --postgres: a SQLite file keeps a number of events');
  if (database === undefined) {
    const retention = keepDays === undefined ? defaultRetention : { ...defaultRetention, eventsMs: keepDays * 86_400_000 };
    return PostgresFleetStore.open({ url: postgres ?? '', collector: name, metrics: metrics === undefined ? null : new VictoriaMetrics(metrics), retention });
  }
  return new SqliteFleetStore(new CollectorStore(database, { ...defaultLimits, devices: maxDevices }, 'full'));
}

/** A line of figures, and whose reports were refused since the line before. */
export async function reportOf(collector: Pick<SharedCollector, 'takeLag' | 'stats' | 'waiting' | 'connected'>, store: Pick<FleetStore, 'totals'>, refusals: NewRefusals): Promise<Report> {
  const lag = collector.takeLag();
  const [p50, p99] = [quantile(lag, 0.5), quantile(lag, 0.99)];
  const { stats, waiting, connected } = collector;
  const totals = await store.totals().catch(() => null);
  const ms = (value: number | null): string => (value === null ? '-' : `${value.toFixed(0)} ms`);
  const refused = refusals.take();
  const counted = Object.entries(stats).filter(([key, n]) => n > 0 && !['messages', 'batches'].includes(key)).map(([key, n]) => `${n} ${key}`).join(', ');
  return {
    json: { time_ms: Date.now(), connected, waiting, stats, totals, refused_reports: refused.json, refused_devices: refused.devices, lag: { p50_ms: p50, p99_ms: p99, max_ms: lag.max, histogram: lag } },
    text: `${connected ? '' : 'NOT CONNECTED; '}${stats.messages} messages (${counted}) in ${stats.batches} batches; ${waiting} waiting; window to store ${ms(p50)}, p99 ${ms(p99)}${totals === null ? '' : `; ${totals.devices} devices, ${totals.windows} windows`}${refused.text === '' ? '' : `\n${refused.text}`}`,
  };
}
