import type { Quality } from '../contracts/index.js';
import type { InvalidReason } from '../platform/plausible.js';

/** Joules since the previous reading; null when there is nothing to tell (the first reading, a battery that charges). */
export type Reading = { joules: number | null } | { invalid: InvalidReason };

/** Something that tells how much energy was used. */
export interface EnergyMeter {
  /** rapl, ina3221, battery, rpi5_pmic, cpu_model */
  readonly source: string;
  /** What is measured; scopes may overlap and are never added. */
  readonly scope: string;
  readonly quality: Quality;
  /** `nowMs` is monotonic. */
  sample(nowMs: number): Promise<Reading>;
}
