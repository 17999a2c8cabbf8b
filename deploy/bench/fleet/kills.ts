/** A collector that is killed at random moments, and a store that is away: what is in the store afterwards against what devices sent. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type Database from 'better-sqlite3';
import { countOf } from '../../../agent/contracts/index.js';
import { requireOptional } from '../../../runtime/optional-package.js';
import { CollectorStore } from '../../collector/store.js';
import { uniform } from '../../compress/random.js';
import { startMosquitto } from '../transfer/mosquitto.js';
import { CollectorProcess } from './collector-process.js';
import { FLEET, SimulatedFleet } from './simulated-fleet.js';

export interface LossOptions {
  folder: string;
  devices: number;
  intervalMs: number;
  signal: AbortSignal;
}

/** Counts of windows. `lost` were acknowledged to a device and are not in the store; `doubled` are in the store's latencies more than once. */
export interface Losses {
  sent: number;
  lost: number;
  doubled: number;
  /** Kills of the collector, or failures of the store. */
  events: number;
}

/** The broker keeps what is not acknowledged, without a bound: the default of 1000 messages is an outage of a second for 10,000 devices. */
export const BROKER_LINES = ['allow_anonymous true', 'max_queued_messages 0', 'max_inflight_messages 0', 'set_tcp_nodelay true'];
/** The collector has this long for the next window of those that wait: after a long outage there are minutes of them. */
const STALLED_MS = 60_000;

/** Kills the collector `kills` times, each time up to `maxMs` after it has subscribed. */
export async function collectorKilled(options: LossOptions & { kills: number; maxMs: number; seed: number }): Promise<Losses> {
  const random = uniform(options.seed);
  return during(options, async (start) => {
    for (let kill = 0; kill < options.kills; kill++) {
      const collector = start();
      await collector.ready;
      await sleep(random() * options.maxMs, undefined, { signal: options.signal });
      await collector.kill();
    }
    return { collector: start(), events: options.kills };
  });
}

/** Locks the database for `awayMs`, so that no collector can write. */
export async function storeAway(options: LossOptions & { awayMs: number }): Promise<Losses> {
  return during(options, async (start, path) => {
    const collector = start();
    await collector.ready;
    await sleep(Math.min(2000, options.awayMs), undefined, { signal: options.signal });
    const blocker = new (requireOptional('better-sqlite3', 'The bench of the fleet') as typeof Database)(path);
    try {
      blocker.exec('BEGIN IMMEDIATE');
      await sleep(options.awayMs, undefined, { signal: options.signal });
    } finally {
      blocker.close();
    }
    return { collector, events: () => collector.latest?.stats.failures ?? 0 };
  });
}

type Starting = () => CollectorProcess;

async function during({ folder, devices, intervalMs, signal }: LossOptions, work: (start: Starting, path: string) => Promise<{ collector: CollectorProcess; events: number | (() => number) }>): Promise<Losses> {
  const path = join(folder, 'fleet.db');
  const broker = await startMosquitto(folder, BROKER_LINES);
  const started: CollectorProcess[] = [];
  const start = (): CollectorProcess => {
    const collector = new CollectorProcess({ url: broker.url, name: 'one', store: ['--database', path], reportSeconds: 0.5 });
    started.push(collector);
    return collector;
  };
  const fleet = new SimulatedFleet({ ports: [broker.port], devices, intervalMs });
  try {
    const first = start(); // the subscription exists before the first window is sent
    await first.ready;
    await first.stop();
    fleet.start(intervalMs);
    const { collector, events } = await work(start, path);
    fleet.quiet();
    await settled(collector, fleet, signal);
    await collector.stop();
    return { ...compared(path, fleet), events: typeof events === 'number' ? events : events() };
  } finally {
    fleet.close();
    await Promise.all(started.map((collector) => collector.kill()));
    await broker.stop();
  }
}

/** Resolves when all that waited is stored, or nothing has come for a while. */
async function settled(collector: CollectorProcess, fleet: SimulatedFleet, signal: AbortSignal): Promise<void> {
  for (let [stored, latestMs] = [-1, Date.now()]; Date.now() - latestMs < STALLED_MS;) {
    const windows = collector.latest?.totals?.windows ?? 0;
    if (fleet.state().unacknowledged === 0 && windows >= fleet.state().made) return;
    if (windows !== stored) [stored, latestMs] = [windows, Date.now()];
    await sleep(200, undefined, { signal });
  }
}

/** The ledger of window numbers tells what is lost; the number of latencies, which are added up apart from it, what is doubled. */
function compared(path: string, fleet: SimulatedFleet): Omit<Losses, 'events'> {
  const store = new CollectorStore(path);
  try {
    const { made, uses } = fleet.state();
    const frames = fleet.bodies.reduce((sum, { latencies }, i) => sum + latencies.length * (uses[i] ?? 0), 0);
    const latencies = store.latency(FLEET, 0);
    const stored = store.totals().windows;
    const perWindow = frames / made;
    return { sent: made, lost: made - stored, doubled: Math.round(((latencies === null ? 0 : countOf(latencies)) - stored * perWindow) / perWindow) };
  } finally {
    store.close();
  }
}
