/** A package on its way to a real daemon over a bad link: whether it is installed, and how much more is sent than was missing. */
import { join } from 'node:path';
import { parseConfig, startAgent, type Agent, type AgentDeps } from '../../../agent/main.js';
import type { Bar } from '../bars.js';
import { BadLink, type LinkQuality, type LinkStats } from './bad-link.js';
import { classifierPackage, wireBytes } from './packages.js';
import { openBench } from './transfer-bench.js';

/** The link that an update must survive. */
export const BAD_LINK: LinkQuality = { roundTripMs: 300, lossShare: 0.05, cutEveryMs: 20_000, cutMs: 2000, firstCutAfterBytes: 2_500_000, seed: 1 };

/** Delays between a daemon's attempts to connect, milliseconds; only a link whose times are scaled needs others than the daemon's own. */
export type Backoff = AgentDeps['backoff'];

export interface LinkRun {
  /** How the deployment ended. */
  state: string;
  code: string | null;
  seconds: number;
  /** Bytes of all messages with which the package travels once. */
  missingBytes: number;
  packageBytes: number;
  stats: LinkStats;
}

const INSTALL_TIMEOUT_MS = 300_000;
const SENT_BAR = 1.1;

/** Installs a package on a real daemon whose broker is behind a bad link. @throws DeployError E_DEVICE_TIMEOUT, E_BENCH */
export async function installOver(quality: LinkQuality, signal: AbortSignal, backoff?: Backoff): Promise<LinkRun> {
  const held = await classifierPackage('1.0.0');
  const bench = await openBench(signal);
  const link = new BadLink(bench.brokerPort, quality);
  let agent: Agent | null = null;
  try {
    const config = parseConfig({ ...bench.deviceConfig('far', await link.start()), state_dir: join(bench.folder, 'far'), log_level: 'error', api: { port: 0 } });
    agent = await startAgent(config, { env: {}, ...(backoff === undefined ? {} : { backoff }) });
    await bench.known('far');
    const started = performance.now();
    const generation = await bench.publisher.publish('far', held);
    const { state, error } = await bench.publisher.outcome('far', held.digest, generation, { timeoutMs: INSTALL_TIMEOUT_MS, signal });
    return { state, code: error?.code ?? null, seconds: (performance.now() - started) / 1000, missingBytes: wireBytes(held), packageBytes: held.bytes.byteLength, stats: { ...link.stats } };
  } finally {
    await agent?.stop();
    await link.stop();
    await bench.close();
  }
}

/**
 * Several runs, because with few losses one run is luck. The first cut falls into another part of the first 2 * `firstCutAfterBytes` in each. Lost messages
 * are the link's, and cost on average 1 / (1 - lossShare) of what is missing; what a device can do is in the rest, so that has a bar for each run.
 */
export async function linkBars(signal: AbortSignal, { quality = BAD_LINK, runs = 4, backoff }: { quality?: LinkQuality; runs?: number; backoff?: Backoff } = {}): Promise<Bar[]> {
  const all: LinkRun[] = [];
  for (let seed = 1; seed <= runs; seed++) {
    const firstCutAfterBytes = Math.round(((seed - 0.5) / runs) * 2 * quality.firstCutAfterBytes);
    all.push(await installOver({ ...quality, firstCutAfterBytes, seed }, signal, backoff));
  }
  const sum = (of: (run: LinkRun) => number): number => all.reduce((total, run) => total + of(run), 0);
  const installed = all.filter(({ state }) => state === 'committed').length;
  const shares = all.map(({ stats, missingBytes }) => (stats.blockBytes / missingBytes).toFixed(3)).join(', ');
  const missing = sum(({ missingBytes }) => missingBytes);
  const sent = sum(({ stats }) => stats.blockBytes) / missing;
  const percent = (of: (stats: LinkStats) => number): string => (100 * sum(({ stats }) => of(stats)) / missing).toFixed(2);
  const classes = `${percent((stats) => stats.lostBlockBytes)} % lost, ${percent((stats) => stats.cutBlockBytes)} % on the way at a cut, ${percent((stats) => stats.repeatedBlockBytes)} % here already`;
  const beyond = all.map(({ stats, missingBytes }) => 100 * ((stats.blockBytes - stats.lostBlockBytes) / missingBytes - 1));
  const beyondBar = Number((100 * (SENT_BAR - 1 / (1 - quality.lossShare))).toFixed(1));
  const link = `${Math.round(quality.lossShare * 100)} % of the messages lost, ${quality.roundTripMs} ms there and back, a cut every ${quality.cutEveryMs / 1000} s`;
  const seen = `${sum(({ stats }) => stats.lost)} of ${sum(({ stats }) => stats.messages)} messages lost, ${sum(({ stats }) => stats.cuts)} cuts, ${(sum(({ seconds }) => seconds) / runs).toFixed(1)} s each`;
  const codes = all.flatMap(({ code }) => (code === null ? [] : [code]));
  return [
    { id: 'transfer.link.installed', what: `installs of a package of ${((all[0]?.packageBytes ?? 0) / 1e6).toFixed(1)} MB over a link with ${link} (${[seen, ...codes].join(', ')})`, value: installed, unit: 'count', bar: `= ${runs}`, met: installed === runs },
    { id: 'transfer.link.sent', what: `bytes of blocks that were sent on that link, in multiples of what was missing (${shares}; ${classes})`, value: sent, unit: 'x', bar: `<= ${SENT_BAR}`, met: installed === runs && sent <= SENT_BAR },
    { id: 'transfer.link.beyond', what: `of them beyond what was missing and what was lost, in the worst run (${beyond.map((value) => value.toFixed(1)).join(', ')}): on the way at a cut, here already, and MQTT's own bytes`, value: Math.max(...beyond), unit: '%', bar: `<= ${beyondBar}`, met: Math.max(...beyond) <= beyondBar },
  ];
}
