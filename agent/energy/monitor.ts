/**
 * All energy meters of the machine. They are sampled every second and summed for each window. Meters of different scopes are never added, because
 * scopes may overlap.
 */
import type { EnergyReport, EnergySource } from '../contracts/index.js';
import type { Clock } from '../platform/clock.js';
import type { HostFiles } from '../platform/host-files.js';
import type { InvalidReason } from '../platform/plausible.js';
import { cpuModelMeter } from './model.js';
import { findBatteries, findInaMeters, integratingMeter, pmicWatts } from './power.js';
import { findRapl } from './rapl.js';
import type { EnergyMeter, Reading } from './types.js';

const SAMPLE_MS = 1000;
/** Time constant of the mean power, seconds. */
const POWER_SECONDS = 10;

/** Which source the energy of an inference is taken from, best first: rails of the whole board, then processor packages, then models. */
const PREFERENCE: readonly RegExp[] = [/^ina\d+\/(VDD_IN|POM_5V_IN|VIN)/, /^rapl\/(psys|package)/, /^ina/, /^battery\//, /^rpi5_pmic\//, /^rapl\//, /^cpu_model\//];

interface Account {
  meter: EnergyMeter;
  /** Energy of this window, joules; null while no reading gave a value. */
  window: number | null;
  total: number;
  invalidReadings: number;
  /** Why the newest reading was invalid; null when it was valid. */
  reason: InvalidReason | null;
  /** Mean power of the last seconds, watts; null before two readings, and after a reading that gave no value. */
  watts: number | null;
}

export interface EnergyOptions {
  wattsPerCore: number;
  /** Runs `vcgencmd pmic_read_adc`; absent where there is none. */
  readPmic?: () => Promise<string | null>;
}

/** The meters that this machine offers. When none of them measures, the model stands in. */
export async function findMeters(files: HostFiles, options: EnergyOptions): Promise<EnergyMeter[]> {
  const meters = [...await findRapl(files), ...await findInaMeters(files), ...await findBatteries(files)];
  const { readPmic } = options;
  if (readPmic !== undefined && pmicWatts((await readPmic()) ?? '') !== null) {
    meters.push(integratingMeter({ source: 'rpi5_pmic', scope: 'board', quality: 'estimated' }, async () => pmicWatts((await readPmic()) ?? '') ?? { invalid: 'unreadable' }));
  }
  return meters.length > 0 ? meters : [cpuModelMeter(options.wattsPerCore)];
}

/** The meter that the energy of an inference is taken from; null when there is none. */
export function bestMeter(meters: readonly EnergyMeter[]): EnergyMeter | null {
  return best(meters, ({ source, scope }) => `${source}/${scope}`);
}

export class EnergyMonitor {
  readonly #clock: Clock;
  readonly #accounts: Account[];
  #timer: NodeJS.Timeout | undefined;
  #sampling: Promise<void> = Promise.resolve();
  #windowStartMs: number;
  #sampledMs: number;
  /** Idle power of the best source, from the last window in which there was nothing to do, or from the configuration. */
  #idle: { source: string; watts: number } | null = null;
  #invalidReadings = 0;

  /** @param idleWatts power at rest of what the best meter measures, as it was calibrated; the first window of rest replaces it */
  constructor(meters: readonly EnergyMeter[], clock: Clock, idleWatts?: number) {
    const meter = bestMeter(meters);
    if (idleWatts !== undefined && meter !== null && meter.quality !== 'modelled') this.#idle = { source: `${meter.source}/${meter.scope}`, watts: idleWatts };
    this.#clock = clock;
    this.#accounts = meters.map((meter) => ({ meter, window: null, total: 0, invalidReadings: 0, reason: null, watts: null }));
    this.#windowStartMs = clock.monotonicMs();
    this.#sampledMs = this.#windowStartMs;
  }

  /** The sources as `caps` shows them. A sensor whose newest reading was invalid is listed too, with the reason. */
  get sources(): EnergySource[] {
    return this.#accounts.map(describe);
  }

  /** Invalid readings since the start of the daemon. */
  get invalidReadings(): number {
    return this.#invalidReadings;
  }

  /** Mean power over the last seconds, watts, of the best source whose newest reading gave a value; null when there is none. */
  get watts(): number | null {
    return best(this.#accounts.filter(({ watts }) => watts !== null), ({ meter: { source, scope } }) => `${source}/${scope}`)?.watts ?? null;
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

  /** Reads every meter once. Calls that overlap run one after another. */
  sample(): Promise<void> {
    this.#sampling = this.#sampling.then(async () => {
      const nowMs = this.#clock.monotonicMs();
      const seconds = (nowMs - this.#sampledMs) / 1000;
      this.#sampledMs = nowMs;
      for (const account of this.#accounts) {
        const reading = await account.meter.sample(this.#clock.monotonicMs());
        account.watts = smoothed(account.watts, reading, seconds);
        account.reason = 'invalid' in reading ? reading.invalid : null;
        if ('invalid' in reading) {
          account.invalidReadings += 1;
          this.#invalidReadings += 1;
        } else if (reading.joules !== null) {
          account.window = (account.window ?? 0) + reading.joules;
          account.total += reading.joules;
        }
      }
    });
    return this.#sampling;
  }

  /**
   * Ends the window.
   * @param inferences frames of this window that ran a model
   * @param idle whether the daemon had nothing to do; a window without any inference then gives the idle power
   */
  async close(inferences: number, idle: boolean): Promise<EnergyReport> {
    await this.sample();
    const nowMs = this.#clock.monotonicMs();
    const seconds = Math.max(1e-3, (nowMs - this.#windowStartMs) / 1000);
    this.#windowStartMs = nowMs;
    const sources = this.#accounts.map((account) => ({
      ...describe(account), ...(account.invalidReadings > 0 ? { invalid_readings: account.invalidReadings } : {}), joules: account.window, joules_total: account.total,
    }));
    for (const account of this.#accounts) Object.assign(account, { window: null, invalidReadings: 0 });
    return { sources, inference: this.#perInference(sources, { inferences, idle, seconds }) };
  }

  #perInference(sources: EnergyReport['sources'], window: { inferences: number; idle: boolean; seconds: number }): EnergyReport['inference'] {
    const { inferences, idle, seconds } = window;
    const best = bestSource(sources);
    if (best === null || best.joules === null) return null;
    const key = `${best.source}/${best.scope}`;
    if (inferences === 0) {
      if (idle) this.#idle = { source: key, watts: best.joules / seconds };
      return null;
    }
    const net = this.#idle?.source === key ? Math.max(0, best.joules - this.#idle.watts * seconds) / inferences : null;
    return { source: best.source, scope: best.scope, quality: best.quality, gross_joules: best.joules / inferences, net_joules: net };
  }
}

function describe({ meter: { source, scope, quality }, reason }: Account): EnergySource {
  return reason === null ? { source, scope, quality } : { source, scope, quality: 'invalid', reason };
}

/** The best source whose readings were all valid in this window. A sum with a missing reading would make the energy of an inference too small. */
function bestSource(sources: EnergyReport['sources']): EnergyReport['sources'][number] | null {
  return best(sources.filter((s) => s.joules !== null && (s.invalid_readings ?? 0) === 0), (s) => `${s.source}/${s.scope}`);
}

function best<T>(sources: readonly T[], nameOf: (source: T) => string): T | null {
  for (const pattern of PREFERENCE) {
    const found = sources.find((source) => pattern.test(nameOf(source)));
    if (found !== undefined) return found;
  }
  return sources[0] ?? null;
}

/** The new mean power, watts: an exponential mean with the time constant `POWER_SECONDS`. */
function smoothed(before: number | null, reading: Reading, seconds: number): number | null {
  if ('invalid' in reading || reading.joules === null || seconds <= 0) return null;
  const watts = reading.joules / seconds;
  return before === null ? watts : before + (watts - before) * (1 - Math.exp(-seconds / POWER_SECONDS));
}
