/** All energy meters of the machine: sampled every second, summed per window, never added across scopes. */
import type { EnergyReport } from '../contracts/index.js';
import type { Clock } from '../platform/clock.js';
import type { HostFiles } from '../platform/host-files.js';
import { cpuModelMeter } from './model.js';
import { findBatteries, findInaMeters, integratingMeter, pmicWatts } from './power.js';
import { findRapl } from './rapl.js';
import type { EnergyMeter } from './types.js';

const SAMPLE_MS = 1000;

/** Best first: what the energy of an inference is taken from. Whole-board rails before packages before models. */
const PREFERENCE: readonly RegExp[] = [/^ina\d+\/(VDD_IN|POM_5V_IN|VIN)/, /^rapl\/(psys|package)/, /^ina/, /^battery\//, /^rpi5_pmic\//, /^rapl\//, /^cpu_model\//];

interface Account {
  meter: EnergyMeter;
  window: number;
  total: number;
}

export interface EnergyOptions {
  wattsPerCore: number;
  /** Runs `vcgencmd pmic_read_adc`; absent where there is none. */
  readPmic?: () => Promise<string | null>;
}

/** The meters that this machine offers; with none that measures, the model stands in. */
export async function findMeters(files: HostFiles, options: EnergyOptions): Promise<EnergyMeter[]> {
  const meters = [...await findRapl(files), ...await findInaMeters(files), ...await findBatteries(files)];
  const { readPmic } = options;
  if (readPmic !== undefined && pmicWatts((await readPmic()) ?? '') !== null) {
    meters.push(integratingMeter({ source: 'rpi5_pmic', scope: 'board', quality: 'estimated' }, async () => pmicWatts((await readPmic()) ?? '')));
  }
  return meters.length > 0 ? meters : [cpuModelMeter(options.wattsPerCore)];
}

export class EnergyMonitor {
  readonly #clock: Clock;
  readonly #accounts: Account[];
  #timer: NodeJS.Timeout | undefined;
  #sampling: Promise<void> = Promise.resolve();
  #windowStartMs: number;
  /** Of the best source, from the last window in which nothing was to be done. */
  #idleWatts: number | null = null;

  constructor(meters: readonly EnergyMeter[], clock: Clock) {
    this.#clock = clock;
    this.#accounts = meters.map((meter) => ({ meter, window: 0, total: 0 }));
    this.#windowStartMs = clock.monotonicMs();
  }

  get sources(): { source: string; scope: string; quality: EnergyMeter['quality'] }[] {
    return this.#accounts.map(({ meter: { source, scope, quality } }) => ({ source, scope, quality }));
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.sample(), SAMPLE_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#sampling;
  }

  /** Reads every meter once. Calls queue. */
  sample(): Promise<void> {
    this.#sampling = this.#sampling.then(async () => {
      for (const account of this.#accounts) {
        const joules = (await account.meter.sample(this.#clock.monotonicMs())) ?? 0;
        account.window += joules;
        account.total += joules;
      }
    });
    return this.#sampling;
  }

  /** Ends the window. @param inferences frames that ran a model in it @param idle a window without any tells the idle power */
  async close(inferences: number, idle: boolean): Promise<EnergyReport> {
    await this.sample();
    const nowMs = this.#clock.monotonicMs();
    const seconds = Math.max(1e-3, (nowMs - this.#windowStartMs) / 1000);
    this.#windowStartMs = nowMs;
    const sources = this.#accounts.map(({ meter, window, total }) => ({
      source: meter.source, scope: meter.scope, quality: meter.quality, joules: window, joules_total: total,
    }));
    for (const account of this.#accounts) account.window = 0;
    return { sources, inference: this.#perInference(sources, { inferences, idle, seconds }) };
  }

  #perInference(sources: EnergyReport['sources'], window: { inferences: number; idle: boolean; seconds: number }): EnergyReport['inference'] {
    const { inferences, idle, seconds } = window;
    const best = bestSource(sources);
    if (best === null) return null;
    if (inferences === 0) {
      if (idle) this.#idleWatts = best.joules / seconds;
      return null;
    }
    const net = this.#idleWatts === null ? null : Math.max(0, best.joules - this.#idleWatts * seconds) / inferences;
    return { source: best.source, scope: best.scope, quality: best.quality, gross_joules: best.joules / inferences, net_joules: net };
  }
}

function bestSource(sources: EnergyReport['sources']): EnergyReport['sources'][number] | null {
  for (const pattern of PREFERENCE) {
    const found = sources.find((s) => pattern.test(`${s.source}/${s.scope}`));
    if (found !== undefined) return found;
  }
  return sources[0] ?? null;
}
