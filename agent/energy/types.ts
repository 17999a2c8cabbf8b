import type { Quality } from '../contracts/index.js';

/** Something that tells how much energy was used. */
export interface EnergyMeter {
  /** rapl, ina3221, battery, rpi5_pmic, cpu_model */
  readonly source: string;
  /** What is measured; scopes may overlap and are never added. */
  readonly scope: string;
  readonly quality: Quality;
  /** Joules since the previous call (the first gives 0), or null when this reading failed. `nowMs` is monotonic. */
  sample(nowMs: number): Promise<number | null>;
}
