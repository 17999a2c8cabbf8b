import type { Quality } from '../contracts/index.js';
import type { InvalidReason } from '../platform/plausible.js';

/** Joules since the previous reading; null when there is no value (at the first reading, or while a battery charges). */
export type Reading = { joules: number | null } | { invalid: InvalidReason };

/** A meter that tells how much energy was used. */
export interface EnergyMeter {
  /** Kind of the meter: rapl, ina3221, battery, rpi5_pmic or cpu_model. */
  readonly source: string;
  /** What is measured. Scopes may overlap, so meters of different scopes are never added. */
  readonly scope: string;
  readonly quality: Quality;
  /** `nowMs` is monotonic. */
  sample(nowMs: number): Promise<Reading>;
}
