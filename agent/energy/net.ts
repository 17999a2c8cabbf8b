/** Energy of one piece of work, for the process that tests a package: what the best meter shows, less what the machine uses without that work. */
import { setTimeout as sleep } from 'node:timers/promises';
import { bestMeter } from './monitor.js';
import type { EnergyMeter } from './types.js';

/** How often a meter of watts is read during the work, because its readings must be integrated. */
const SAMPLE_MS = 50;
const BASELINE_MS = 400;

/**
 * Sensors see the whole machine, and the daemon's own model runs beside the test. So the power is measured first while this process waits, and is
 * subtracted afterwards. A model of CPU time sees this process alone, which uses next to nothing while it waits.
 */
export class NetEnergy {
  readonly #meter: EnergyMeter | null;
  readonly #nowMs: () => number;
  #joules = 0;
  #valid = true;
  #baseline: { watts: number; sinceMs: number } | null = null;
  #timer: NodeJS.Timeout | undefined;
  #sampling: Promise<void> = Promise.resolve();

  constructor(meters: readonly EnergyMeter[], nowMs: () => number = () => performance.now()) {
    this.#meter = bestMeter(meters);
    this.#nowMs = nowMs;
  }

  /** Name of the meter, such as `rapl/package-0`; '' when there is none. */
  get source(): string {
    return this.#meter === null ? '' : `${this.#meter.source}/${this.#meter.scope}`;
  }

  /** Measures the power of the machine before the work begins. @param ms how long it measures */
  async begin(ms = BASELINE_MS): Promise<void> {
    if (this.#meter === null) return;
    await this.#sample();
    this.#timer = setInterval(() => void this.#sample(), SAMPLE_MS);
    this.#joules = 0;
    const startMs = this.#nowMs();
    await sleep(ms);
    await this.#sample();
    const sinceMs = this.#nowMs();
    this.#baseline = { watts: this.#joules / Math.max(1e-3, (sinceMs - startMs) / 1000), sinceMs };
    this.#joules = 0;
  }

  /** Joules that the work has used since `begin`. Null without a meter, and after a reading that cannot be true. */
  async read(): Promise<number | null> {
    if (this.#meter === null || this.#baseline === null) return null;
    await this.#sample();
    if (!this.#valid) return null;
    const { watts, sinceMs } = this.#baseline;
    return this.#joules - watts * ((this.#nowMs() - sinceMs) / 1000);
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #sample(): Promise<void> {
    this.#sampling = this.#sampling.then(async () => {
      const reading = await this.#meter?.sample(this.#nowMs());
      if (reading === undefined) return;
      if ('invalid' in reading) this.#valid = false;
      else this.#joules += reading.joules ?? 0;
    });
    return this.#sampling;
  }
}
