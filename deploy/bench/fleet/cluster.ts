/** A fleet on a cluster of RabbitMQ nodes with one collector: steady, and when a node dies. */
import { join } from 'node:path';
import type { Bar } from '../bars.js';
import { cpuSecondsOf, memoryOf } from '../process-figures.js';
import { CollectorProcess, type CollectReport } from './collector-process.js';
import { INTERVAL_MS, inSection, lossBars, measureSteady, requireFiles, settle, spreadOf, sqliteStore, steadyBars, untilSettled, untilSteady, type Steady } from './load.js';
import type { FleetBenchOptions } from './options.js';
import { startRabbitmqCluster, type RabbitmqNode } from './rabbitmq.js';
import { Simulators } from './simulator-process.js';

const NODES = 3;
/** Connections a second at the beginning: RabbitMQ makes several processes for each. */
const CONNECTS_PER_SECOND = 200;

/**
 * Devices divide themselves among the nodes, and go to the next one when their connection ends. The collector is on the first node, the last one is killed.
 * @throws DeployError E_BENCH when a node does not start, or the limit of open files is too low
 */
export async function clusterBars(options: FleetBenchOptions & { folder: string }): Promise<Bar[]> {
  const { devices, folder } = options;
  requireFiles(devices + 500);
  const path = join(folder, 'fleet.db');
  const { nodes, stop } = await startRabbitmqCluster(folder, NODES);
  const reports: CollectReport[] = [];
  let collector: CollectorProcess | undefined;
  let simulators: Simulators | undefined;
  try {
    collector = new CollectorProcess({ url: nodes[0]?.url ?? '', name: 'one', store: ['--no-group', '--database', path, '--max-devices', String(devices)], reportSeconds: 2, onReport: (report) => reports.push(report) });
    await collector.ready;
    const spreadMs = spreadOf(devices, CONNECTS_PER_SECOND);
    simulators = Simulators.start({ ports: nodes.map(({ port }) => port), protocolVersion: 4, devices, intervalMs: INTERVAL_MS, spreadMs });
    const running = { simulators, collector, brokerCpuSeconds: () => sum(nodes, ({ pid }) => cpuSecondsOf(pid())), reports, options };
    const begun = await untilSteady(running, spreadMs);
    const steady = await measureSteady(running);
    const rssBytes = sum(nodes, ({ pid }) => memoryOf(pid(), 'VmRSS'));
    await nodes.at(-1)?.kill();
    const seconds = await untilSettled(running);
    const end = await settle(running);
    await collector.stop();
    const losses = (await lossBars(sqliteStore(path), end)).map((bar) => ({ ...bar, what: `${bar.what}; a node was killed meanwhile` }));
    return [...inSection('cluster', [...steadyBars(options, steady), ...losses]), ...figures({ steady, rssBytes, seconds, begun })];
  } finally {
    simulators?.close();
    await collector?.kill();
    await stop();
  }
}

const sum = (nodes: readonly RabbitmqNode[], of: (node: RabbitmqNode) => number): number => nodes.reduce((total, node) => total + of(node), 0);

function figures({ steady, rssBytes, seconds, begun }: { steady: Steady; rssBytes: number; seconds: number; begun: number }): Bar[] {
  const figure = (id: string, what: string, value: number, unit: string): Bar => ({ id: `fleet.cluster.${id}`, what, value, unit, bar: '-', met: true });
  return [
    figure('begun', `all devices connect, ${CONNECTS_PER_SECOND} a second: until all that waited is stored`, begun, 's'),
    figure('node-killed', `one of ${NODES} nodes is killed with a third of the connections: until all that waited is stored`, seconds, 's'),
    figure('broker-cpu', `CPU of ${NODES} nodes`, steady.brokerCpu, 'cores'),
    figure('broker-rss', `resident memory of ${NODES} nodes`, rssBytes, 'bytes'),
  ];
}
