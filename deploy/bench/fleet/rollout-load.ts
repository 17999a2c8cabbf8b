/** A roll-out by waves while the fleet sends: a publisher, a collector and simulated devices on one Mosquitto. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Histogram, quantile } from '../../../agent/contracts/index.js';
import { desiredPackage } from '../../publish/packages.js';
import { Publisher } from '../../publish/publisher.js';
import { planRollout } from '../../rollout/plan.js';
import { openRollouts } from '../../rollout/server.js';
import { defaultSpec } from '../../rollout/spec.js';
import type { RolloutStore } from '../../rollout/store.js';
import type { Bar } from '../bars.js';
import { cpuSecondsOf } from '../process-figures.js';
import { startMosquitto } from '../transfer/mosquitto.js';
import { noisePackage } from '../transfer/packages.js';
import { CollectorProcess, type CollectReport } from './collector-process.js';
import { BROKER_LINES } from './kills.js';
import { inSection, lossBars, requireFiles, settle, spreadOf, sqliteStore } from './load.js';
import type { FleetBenchOptions } from './options.js';
import { FLEET } from './simulated-fleet.js';
import { Simulators } from './simulator-process.js';

const INTERVAL_MS = 10_000;
const CONNECTS_PER_SECOND = 200;
const ID = 'bench';
const SPEC = { ...defaultSpec, seed: ID, spread_ms: 10_000, soak_ms: 2000 };
/** A roll-out in which nothing happens for so long is given up, and its bar is missed. */
const STALLED_MS = 120_000;
const WAVES = SPEC.waves.map(({ percent }) => `${percent} %`).join(', ');

/** @throws DeployError E_BENCH when the limit of open files is too low */
export async function rolloutBars(options: FleetBenchOptions & { folder: string }): Promise<Bar[]> {
  const { devices, folder, packageBytes, signal } = options;
  requireFiles(devices + 500);
  const path = join(folder, 'fleet.db');
  const broker = await startMosquitto(folder, BROKER_LINES);
  const reports: CollectReport[] = [];
  const collector = new CollectorProcess({ url: broker.url, name: 'one', store: ['--database', path, '--max-devices', String(devices)], reportSeconds: 2, onReport: (report) => reports.push(report) });
  const link = { url: broker.url };
  const publisher = new Publisher({ ...link, fleet: FLEET });
  const rollouts = openRollouts({ folder, fleet: FLEET, publisher, director: null, link, line: () => undefined });
  const held = { ...noisePackage(packageBytes, 2), name: 'faces' };
  publisher.hold(held);
  let simulators: Simulators | undefined;
  try {
    await Promise.all([collector.ready, publisher.start()]);
    rollouts.runner.start();
    const spreadMs = spreadOf(devices, CONNECTS_PER_SECOND);
    simulators = Simulators.start({ ports: [broker.port], devices, intervalMs: INTERVAL_MS, spreadMs, updates: true });
    await until(() => publisher.devices().length, devices, signal);
    const before = await simulators.state();
    const [startedMs, brokerCpu, ownCpu] = [Date.now(), cpuSecondsOf(broker.pid), process.cpuUsage()];
    const plan = planRollout(SPEC, publisher.devices().map((device) => ({ device, pipeline: 'main', labels: {}, active: null })), held.digest);
    rollouts.store.create({ id: ID, fleet: FLEET, package: desiredPackage(held), spec: SPEC, created_ms: startedMs, created_by: 'bench' }, plan.devices);
    await finished(rollouts.store, signal);
    const seconds = (Date.now() - startedMs) / 1000;
    const { user, system } = process.cpuUsage(ownCpu);
    const after = await simulators.state();
    const cpu = { publisher: (user + system) / 1e6, broker: cpuSecondsOf(broker.pid) - brokerCpu };
    const lag = new Histogram();
    for (const report of reports) if (report.time_ms > startedMs) lag.merge(report.lag.histogram);
    const { phase } = rollouts.store.require(ID).state;
    const end = await settle({ simulators, collector, options });
    await collector.stop();
    const losses = await lossBars(sqliteStore(path), end);
    return [
      { id: 'fleet.rollout.updated', what: `devices of ${devices} that have fetched ${(packageBytes / 1e6).toFixed(1)} MB and run it, in waves of ${WAVES}; the roll-out is ${phase}`, value: after.updated - before.updated, unit: 'devices', bar: `= ${devices}`, met: after.updated - before.updated === devices && phase === 'complete' },
      ...inSection('rollout', losses.filter(({ id }) => id !== 'fleet.p99-error').map((bar) => ({ ...bar, what: `${bar.what}, during the roll-out` }))),
      ...figures({ seconds, lag, bytes: after.bytesReceived - before.bytesReceived, cpu, devices }),
    ];
  } finally {
    simulators?.close();
    await rollouts.stop();
    await publisher.stop();
    await collector.kill();
    await broker.stop();
  }
}

/** Resolves when a number has become so large, or has not grown for a while. */
async function until(count: () => number, wanted: number, signal: AbortSignal): Promise<void> {
  for (let [known, latestMs] = [-1, Date.now()]; count() < wanted && Date.now() - latestMs < STALLED_MS;) {
    if (count() !== known) [known, latestMs] = [count(), Date.now()];
    await sleep(500, undefined, { signal });
  }
}

/** Resolves when the roll-out is over, or nothing has happened for a while. */
async function finished(store: RolloutStore, signal: AbortSignal): Promise<void> {
  for (let [known, latestMs] = ['', Date.now()]; Date.now() - latestMs < STALLED_MS;) {
    const { state } = store.require(ID);
    if (state.phase !== 'running') return;
    const now = JSON.stringify(state);
    if (now !== known) [known, latestMs] = [now, Date.now()];
    await sleep(500, undefined, { signal });
  }
}

interface Measured {
  seconds: number;
  lag: Histogram;
  bytes: number;
  cpu: { publisher: number; broker: number };
  devices: number;
}

function figures({ seconds, lag, bytes, cpu, devices }: Measured): Bar[] {
  const figure = (id: string, what: string, value: number, unit: string): Bar => ({ id: `fleet.rollout.${id}`, what, value, unit, bar: '-', met: true });
  return [
    figure('seconds', `from its beginning until the last device has proved it; starts are spread over ${SPEC.spread_ms / 1000} s a wave`, seconds, 's'),
    figure('throughput', 'to all devices, with headers of MQTT', bytes / seconds / 1e6, 'MB/s'),
    figure('lag-p99', `from the end of a window until it is durable, during the roll-out, p99 of ${lag.count}`, quantile(lag.toData(), 0.99) ?? NaN, 'ms'),
    figure('publisher-cpu', 'CPU of the publisher, a device', cpu.publisher / devices, 's'),
    figure('broker-cpu', 'CPU of Mosquitto, a device, with the telemetry beside it', cpu.broker / devices, 's'),
  ];
}
