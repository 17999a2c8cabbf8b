import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HistogramData } from '../../../agent/contracts/index.js';
import type { FleetTotals } from '../../collector/fleet-store.js';
import type { SharedStats } from '../../collector/shared-collector.js';
import { DeployError } from '../../errors.js';
import { builtScript } from '../built-script.js';
import { cpuSecondsOf, memoryOf } from '../process-figures.js';

/** A line that `sterna fleet collect --json` prints. */
export interface CollectReport {
  time_ms: number;
  connected: boolean;
  waiting: number;
  stats: SharedStats;
  totals: FleetTotals | null;
  lag: { histogram: HistogramData };
}

export interface CollectorProcessOptions {
  url: string;
  name: string;
  /** Where it writes, and what else the command is to know, as its options. */
  store: readonly string[];
  reportSeconds: number;
  onReport?: (report: CollectReport) => void;
}

/** `sterna fleet collect` in a process of its own. */
export class CollectorProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  /** Resolves when it has subscribed. */
  readonly ready: Promise<void>;
  #latest: CollectReport | null = null;
  #errors = '';

  constructor({ url, name, store, reportSeconds, onReport }: CollectorProcessOptions) {
    const child = spawn(process.execPath, [builtScript('deploy/cli/main.js'), 'fleet', 'collect', '--json', '--broker', url, '--name', name, ...store, '--report', String(reportSeconds)], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const report = JSON.parse(line) as CollectReport;
      if ('error' in report) return;
      this.#latest = report;
      onReport?.(report);
    });
    this.#ended = new Promise((resolve) => { child.once('close', () => resolve()); });
    this.ready = new Promise((resolve, reject) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        this.#errors = (this.#errors + text).slice(-2000);
        if (this.#errors.includes('Collecting as')) resolve();
      });
      child.once('close', (code) => reject(new DeployError('E_BENCH', `The collector ended with code ${code ?? 'none'} before it collected: ${this.#errors}`)));
    });
    this.ready.catch(() => undefined);
  }

  get latest(): CollectReport | null {
    return this.#latest;
  }

  /** User and system time of the process so far, seconds. */
  get cpuSeconds(): number {
    return cpuSecondsOf(this.#child.pid ?? 0);
  }

  /** Largest resident memory so far. */
  get peakBytes(): number {
    return memoryOf(this.#child.pid ?? 0, 'VmHWM');
  }

  /** At once, as a power cut does; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Resolves to its last figures when it has ended. */
  async stop(): Promise<CollectReport | null> {
    this.#child.kill('SIGTERM');
    const late = new AbortController();
    await Promise.race([this.#ended, sleep(30_000, undefined, { signal: late.signal }).then(() => this.kill(), () => undefined)]);
    late.abort();
    return this.#latest;
  }
}
