/** A fleet of simulated devices on a real Mosquitto and one collector: steady, with devices that come and go, and after all of them lost their connection at once. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { countOf, Histogram, quantile } from '../../../agent/contracts/index.js';
import type { FleetStore } from '../../collector/fleet-store.js';
import { SqliteFleetStore } from '../../collector/sqlite-fleet-store.js';
import { CollectorStore } from '../../collector/store.js';
import { DeployError } from '../../errors.js';
import type { Bar } from '../bars.js';
import { cpuSecondsOf } from '../process-figures.js';
import { startMosquitto } from '../transfer/mosquitto.js';
import { CollectorProcess, type CollectReport } from './collector-process.js';
import { BROKER_LINES } from './kills.js';
import { exactQuantile, makeBodies } from './payloads.js';
import type { FleetBenchOptions } from './options.js';
import { FLEET } from './simulated-fleet.js';
import type { SimulatorAnswer } from './simulator-child.js';
import { Simulators } from './simulator-process.js';

export const INTERVAL_MS = 10_000;
const DAY_SECONDS = 86_400;
/** Of all devices, those that lose their connection in a minute. */
const CHURN_PER_MINUTE = 0.01;
/** Connections a second at the beginning. */
export const CONNECTS_PER_SECOND = 500;
/** A window may take this long and still be on its way. */
const ON_THE_WAY_MS = 2000;
const SETTLE_SECONDS = 900;
const FRAMES = makeBodies()[0]?.latencies.length ?? 0;

export interface Steady {
  seconds: number;
  collectorCpu: number;
  brokerCpu: number;
  simulatorCpu: number;
  lag: Histogram;
  bytesUp: number;
  bytesDown: number;
  windowBytes: number;
}

export interface Running {
  simulators: Simulators;
  collector: CollectorProcess;
  /** Of all nodes that live, so far. */
  brokerCpuSeconds: () => number;
  reports: CollectReport[];
  options: FleetBenchOptions;
}

/** @throws DeployError E_BENCH when the limit of open files is too low */
export async function loadBars(options: FleetBenchOptions & { folder: string }): Promise<Bar[]> {
  const { devices, folder } = options;
  requireFiles(devices + 500);
  const path = join(folder, 'fleet.db');
  const broker = await startMosquitto(folder, BROKER_LINES);
  const reports: CollectReport[] = [];
  const collector = new CollectorProcess({ url: broker.url, name: 'one', store: ['--database', path, '--max-devices', String(devices)], reportSeconds: 2, onReport: (report) => reports.push(report) });
  let simulators: Simulators | undefined;
  try {
    await collector.ready;
    const spreadMs = spreadOf(devices, CONNECTS_PER_SECOND);
    simulators = Simulators.start({ ports: [broker.port], devices, intervalMs: INTERVAL_MS, spreadMs });
    const running = { simulators, collector, brokerCpuSeconds: () => cpuSecondsOf(broker.pid), reports, options };
    await untilSteady(running, spreadMs);
    const steady = await measureSteady(running);
    const storm = await measureStorm(running);
    const end = await settle(running);
    const peakBytes = collector.peakBytes;
    const last = await collector.stop();
    return [...steadyBars(options, steady), stormBar(options, storm), ...await lossBars(sqliteStore(path), end), ...figures(options, { steady, end, last, peakBytes, databaseBytes: statSync(path).size })];
  } finally {
    simulators?.close();
    await collector.kill();
    await broker.stop();
  }
}

/** Time within which all devices connect: at least an interval, over which their windows spread then. */
export const spreadOf = (devices: number, connectsPerSecond: number): number => Math.max(INTERVAL_MS, (devices * 1000) / connectsPerSecond);

/** The same bars as those of another section. */
export const inSection = (section: string, bars: readonly Bar[]): Bar[] => bars.map((bar) => ({ ...bar, id: bar.id.replace('fleet.', `fleet.${section}.`) }));

/** @throws DeployError E_BENCH */
export function requireFiles(wanted: number): void {
  const [, soft] = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  if (soft === 'unlimited' || Number(soft) >= wanted) return;
  throw new DeployError('E_BENCH', `Expected a limit of at least ${wanted} open files, because the broker has a connection to each device, but it is ${soft ?? 'unknown'}: call ulimit -n ${wanted} before, or simulate fewer devices with --devices`);
}

export async function measureSteady({ simulators, collector, brokerCpuSeconds, reports, options: { devices, seconds, signal } }: Running): Promise<Steady> {
  simulators.churn(devices * CHURN_PER_MINUTE);
  const begin = await simulators.state();
  const [startedMs, collectorCpu, brokerCpu] = [Date.now(), collector.cpuSeconds, brokerCpuSeconds()];
  await sleep(seconds * 1000, undefined, { signal });
  const end = await simulators.state();
  const elapsed = (Date.now() - startedMs) / 1000;
  const lag = new Histogram();
  for (const report of reports) if (report.time_ms > startedMs) lag.merge(report.lag.histogram);
  return {
    seconds: elapsed, collectorCpu: (collector.cpuSeconds - collectorCpu) / elapsed, brokerCpu: (brokerCpuSeconds() - brokerCpu) / elapsed, simulatorCpu: (end.cpuSeconds - begin.cpuSeconds) / elapsed, lag,
    bytesUp: end.bytesSent - begin.bytesSent, bytesDown: end.bytesReceived - begin.bytesReceived, windowBytes: (end.windowBytes - begin.windowBytes) / Math.max(1, end.windowsSent - begin.windowsSent),
  };
}

async function measureStorm(running: Running): Promise<number> {
  const { simulators, options: { stormSeconds } } = running;
  simulators.storm(stormSeconds * 1000);
  return untilSettled(running);
}

/** Seconds until all devices are connected, and everything that waited is in the store. */
export async function untilSettled(running: Running): Promise<number> {
  const { options: { signal } } = running;
  const startedMs = Date.now();
  do await sleep(1000, undefined, { signal });
  while (!(await isSettled(running)) && Date.now() - startedMs < SETTLE_SECONDS * 1000);
  return (Date.now() - startedMs) / 1000;
}

/**
 * All devices connect, each of which says what it is, with three messages: the fleet is steady only when those are stored.
 * @returns seconds since the first connection
 */
export async function untilSteady(running: Running, spreadMs: number): Promise<number> {
  const { options: { signal } } = running;
  await sleep(spreadMs, undefined, { signal });
  const seconds = spreadMs / 1000 + await untilSettled(running);
  await sleep(INTERVAL_MS, undefined, { signal }); // settled means that no more waits than the bar allows: until that is stored, too
  return seconds;
}

async function isSettled({ simulators, collector, options: { devices } }: Running): Promise<boolean> {
  const { connected, made, unacknowledged } = await simulators.state();
  const allowed = (devices * ON_THE_WAY_MS) / INTERVAL_MS;
  // A few devices are away at any moment, because the churn goes on.
  return connected >= devices * (1 - CHURN_PER_MINUTE) && unacknowledged <= allowed && made - (collector.latest?.totals?.windows ?? 0) <= 2 * allowed;
}

/** No more windows are made; resolves when all of them are stored, or nothing has come for a while. */
export async function settle({ simulators, collector, options: { signal } }: Pick<Running, 'simulators' | 'collector' | 'options'>): Promise<SimulatorAnswer> {
  simulators.quiet();
  let [stored, latestMs] = [-1, Date.now()];
  for (;;) {
    const state = await simulators.state();
    const windows = collector.latest?.totals?.windows ?? 0;
    if (windows !== stored) [stored, latestMs] = [windows, Date.now()];
    if ((state.unacknowledged === 0 && windows >= state.made) || Date.now() - latestMs > 60_000) return state;
    await sleep(500, undefined, { signal });
  }
}

export function steadyBars({ devices }: FleetBenchOptions, { seconds, collectorCpu, lag }: Steady): Bar[] {
  const p99 = quantile(lag.toData(), 0.99) ?? Infinity;
  return [
    { id: 'fleet.collector-cpu', what: `CPU of the collector, ${devices} devices with a window every ${INTERVAL_MS / 1000} s, over ${seconds.toFixed(0)} s`, value: collectorCpu, unit: 'cores', bar: '<= 0.5', met: collectorCpu <= 0.5 },
    { id: 'fleet.lag-p99', what: `from the end of a window on the device until it is durable, p99 of ${lag.count}`, value: p99, unit: 'ms', bar: '<= 2000', met: p99 <= 2000 },
  ];
}

const stormBar = ({ devices, stormSeconds }: FleetBenchOptions, seconds: number): Bar =>
  ({ id: 'fleet.storm', what: `all ${devices} devices lose their connection, and connect again within ${stormSeconds} s: until all that waited is stored`, value: seconds, unit: 's', bar: '<= 600', met: seconds <= 600 });

/** The store against what the devices made: numbers of windows, and the latencies, which are added up apart from them. Closes the store. */
export async function lossBars(store: FleetStore, { made, uses }: SimulatorAnswer): Promise<Bar[]> {
  try {
    const [{ windows }, latency] = [await store.totals(), await store.latency(FLEET, 0)];
    const doubled = (latency === null ? 0 : countOf(latency)) / FRAMES - windows;
    const exact = exactQuantile(makeBodies(), uses, 0.99);
    const merged = latency === null ? NaN : quantile(latency, 0.99) ?? NaN;
    const error = (100 * Math.abs(merged - exact)) / exact;
    return [
      { id: 'fleet.lost', what: `windows lost of ${made}`, value: made - windows, unit: 'windows', bar: '= 0', met: made === windows },
      { id: 'fleet.doubled', what: 'windows whose latencies were added more than once', value: doubled, unit: 'windows', bar: '= 0', met: doubled === 0 },
      { id: 'fleet.p99-error', what: `p99 of merged histograms (${merged.toFixed(2)} ms) against that of all ${made * FRAMES} latencies (${exact.toFixed(2)} ms)`, value: error, unit: '%', bar: '<= 1.1', met: error <= 1.1 },
    ];
  } finally {
    await store.close();
  }
}

export const sqliteStore = (path: string): FleetStore => new SqliteFleetStore(new CollectorStore(path));

/** What has no bar, and the plan for larger fleets rests on (deploy/SCALE.md). */
function figures({ devices }: FleetBenchOptions, { steady, end, last, peakBytes, databaseBytes }: { steady: Steady; end: SimulatorAnswer; last: CollectReport | null; peakBytes: number; databaseBytes: number }): Bar[] {
  const perDay = DAY_SECONDS / steady.seconds / devices;
  const figure = (id: string, what: string, value: number, unit: string): Bar => ({ id: `fleet.${id}`, what, value, unit, bar: '-', met: true });
  return [
    figure('window-bytes', 'a window on the wire, with topic and headers of MQTT', steady.windowBytes, 'bytes'),
    figure('bytes-up', 'sent by a device in a day', steady.bytesUp * perDay, 'bytes'),
    figure('bytes-down', 'sent to a device in a day', steady.bytesDown * perDay, 'bytes'),
    figure('broker-cpu', 'CPU of Mosquitto', steady.brokerCpu, 'cores'),
    figure('simulator-cpu', 'CPU of the simulated devices', steady.simulatorCpu, 'cores'),
    figure('collector-rss', 'resident memory of the collector at most', peakBytes, 'bytes'),
    figure('database', `database afterwards, for ${end.made} windows`, databaseBytes, 'bytes'),
    figure('duplicates', 'windows that came again, and were not counted', last?.stats.duplicate ?? NaN, 'windows'),
    figure('batch', 'messages of a batch, mean', (last?.stats.messages ?? 0) / Math.max(1, last?.stats.batches ?? 0), 'messages'),
  ];
}
