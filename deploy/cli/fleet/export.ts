import { setInterval as every } from 'node:timers/promises';
import type { Command } from 'commander';
import { SharedCollector } from '../../collector/shared-collector.js';
import { defaultLimits } from '../../collector/store.js';
import { DeployError } from '../../errors.js';
import { ExportStore } from '../../export/export-store.js';
import { readHeaders, type PostOptions, type Receiver } from '../../export/receiver.js';
import { addBrokerOptions, brokerLink, type BrokerOptions } from '../broker-options.js';
import { interruptible } from '../interrupt.js';
import { integer, positive, requireId } from '../options.js';
import { emit, log, type Report } from '../output.js';

interface ExportCommandOptions extends BrokerOptions {
  fleet?: string; group: string; headers?: string; state?: string; maxDevices: number; late: boolean; batch: number; session: number; report: number;
  endpoint?: string; url?: string; nativeHistograms?: boolean;
}

const GUARANTEES = 'A window is acknowledged once the receiver has taken it, so the broker keeps what comes while the receiver or this program is away (devices send live telemetry with QoS 1 for that: `telemetry.qos: 1`). Run one such program for a group.';

/** `sterna fleet otlp` and `sterna fleet remote-write`: windows of devices for the metric systems that people have already. */
export function registerExports(fleet: Command): void {
  addExportOptions(fleet
    .command('otlp')
    .summary('send telemetry to an OpenTelemetry receiver, until Ctrl-C')
    .description(`Sends the windows of devices by OTLP/HTTP: latencies as exponential histograms, exactly as devices count them, and temperatures, energy, memory and counters. A device is a resource (service.name, service.instance.id, device.id, host.arch). ${GUARANTEES}`)
    .requiredOption('--endpoint <url>', 'where metrics are taken, for example http://collector:4318/v1/metrics'), 'otlp')
    .action((options: ExportCommandOptions, self: Command) => start(self, options, async (to) => {
      const { OtlpReceiver } = await import('../../export/otlp.js');
      return new OtlpReceiver(to);
    }));
  addExportOptions(fleet
    .command('remote-write')
    .summary('send telemetry by Prometheus remote write, until Ctrl-C')
    .description(`Sends the windows of devices by Prometheus remote write 1.0: the same series as \`/metrics\` of the fleet, and counters. ${GUARANTEES}`)
    .requiredOption('--url <url>', 'where samples are taken, for example http://prometheus:9090/api/v1/write')
    .option('--native-histograms', 'also send latencies as native histograms, with every bucket; the receiver has to know them (Prometheus: --enable-feature=native-histograms)', false), 'remote-write')
    .action((options: ExportCommandOptions, self: Command) => start(self, options, async (to) => {
      const { RemoteWriteReceiver } = await import('../../export/remote-write.js');
      return new RemoteWriteReceiver({ ...to, nativeHistograms: options.nativeHistograms ?? false });
    }));
}

function addExportOptions(command: Command, group: string): Command {
  return addBrokerOptions(command
    .option('--fleet <name>', 'one fleet; default: all of them')
    .option('--state <file>', 'SQLite file that keeps the totals; without it they begin at zero with each start')
    .option('--headers <file>', 'headers of every request, "Name: value" a line: Authorization, X-Scope-OrgID')
    .option('--late', 'also send gauges and counters of windows that come late, for receivers that take samples out of order', false)
    .option('--group <name>', 'another one for each receiver that gets the same devices', group)
    .option('--max-devices <n>', 'devices that it sends; others are counted as refused', integer(1), defaultLimits.devices)
    .option('--batch <n>', 'most messages of a request', integer(1), 500)
    .option('--session <seconds>', 'how long the broker keeps messages for this program while it is away', integer(1), 86_400)
    .option('--report <seconds>', 'time between two lines of figures', positive, 60));
}

async function start(self: Command, options: ExportCommandOptions, receiverFor: (to: PostOptions) => Promise<Receiver>): Promise<void> {
  requireId('--group', options.group);
  if (options.fleet !== undefined) requireId('--fleet', options.fleet);
  const link = brokerLink(options);
  const url = requireUrl(options.endpoint === undefined ? '--url' : '--endpoint', options.endpoint ?? options.url ?? '');
  const receiver = await receiverFor({ url, headers: options.headers === undefined ? {} : readHeaders(options.headers) });
  await interruptible('Stopped', (signal) => run(self, options, { link, receiver, signal }));
}

async function run(self: Command, options: ExportCommandOptions, { link, receiver, signal }: { link: ReturnType<typeof brokerLink>; receiver: Receiver; signal: AbortSignal }): Promise<void> {
  const store = new ExportStore(receiver, { file: options.state ?? null, maxDevices: options.maxDevices, sendLate: options.late, onRefused: (message) => log(self, message) });
  const collector = new SharedCollector({
    ...link, group: options.group, name: 'export', ...(options.fleet === undefined ? {} : { fleet: options.fleet }), kinds: ['telemetry', 'caps'],
    sessionSeconds: options.session, batching: { maxMessages: options.batch, maxDelayMs: 1000 },
    onStore: (error) => log(self, error === null ? `${receiver.name} takes windows again.` : `${error instanceof Error ? error.message : String(error)}. The broker keeps what comes, and it is tried again.`),
  }, store);
  try {
    await collector.start();
    log(self, `${receiver.name} gets the windows of devices${options.state === undefined ? '; its totals begin at zero, because no --state is kept' : ''}   (Ctrl-C ends it)`);
    for await (const _ of every(options.report * 1000, null, { signal })) emit(self, reportOf(collector, store));
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await collector.stop();
    store.close();
    emit(self, reportOf(collector, store));
  }
}

/** @throws DeployError E_USAGE */
function requireUrl(option: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) throw new DeployError('E_USAGE', `Expected ${option} of http://... or https://... but received ${JSON.stringify(text)}`);
  if (url.username !== '' || url.password !== '') throw new DeployError('E_USAGE', `${option} must not hold a password, which other programs could read. Write "Authorization: Basic ..." to a file for --headers`);
  return url.href;
}

function reportOf(collector: SharedCollector, store: ExportStore): Report {
  const { stats: received, waiting, connected } = collector;
  const { stats: sent, devices } = store;
  const notes = Object.entries({ late: sent.late, 'windows refused': sent.windowsRefused, 'points left out': sent.pointsRejected, malformed: received.malformed, duplicate: received.duplicate, 'of too many devices': received.refused, failures: received.failures })
    .filter(([, n]) => n > 0).map(([what, n]) => `, ${n} ${what}`).join('');
  return {
    json: { time_ms: Date.now(), connected, waiting, devices, received, sent },
    text: `${connected ? '' : 'NOT CONNECTED; '}${devices} devices, ${sent.windows} windows in ${sent.requests} requests${notes}; ${waiting} waiting`,
  };
}
