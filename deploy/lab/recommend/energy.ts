/** Energy of a run by a model, never by measurement: by CPU time, or by multiply-adds where a device was calibrated. */
import { z } from 'zod';
import type { Target } from '../../../runtime/quantize/formats/targets.js';
import { messageOf } from '../../../runtime/errors.js';
import { DeployError } from '../../errors.js';

export interface EnergyModel {
  /** What the figures are made of, for the report. */
  readonly provenance: string;
  /** Null where the model does not tell. */
  millijoules(run: { macs: number; float_macs: number; cpu_ms: number | undefined }): number | null;
}

const estimate = z.object({ value: z.number().positive() });

/** What `sterna energy calibrate --json` prints, as far as it is used here. */
const calibration = z.object({
  source: z.string(), quality: z.string(), watts_per_core: estimate,
  joules_per_mac: z.object({ int8: estimate, float32: estimate }).optional(),
});

/** As the configuration key energy.watts_per_core has it when nobody sets it (agent/config/schema.ts). */
export const defaultWatts = 2.5;

/** By CPU time and the power of a busy core. Nothing is known of cores on which nothing is run. */
export const byTime = (watts: number, target: Target, from: string): EnergyModel => ({
  provenance: target === 'this' ? `modeled: CPU time on this machine x ${watts} W a busy core (${from})`
    : `not known for ${target}: give --energy with what \`sterna energy calibrate --json\` prints on such a device`,
  millijoules: ({ cpu_ms }) => (cpu_ms === undefined || target !== 'this' ? null : cpu_ms * watts),
});

/**
 * The energy model of a device.
 * @param text what `sterna energy calibrate --json` printed there
 * @throws DeployError E_LAB for anything else
 */
export function energyOf(text: string, path: string, target: Target): EnergyModel {
  let read: z.output<typeof calibration>;
  try {
    read = calibration.parse(JSON.parse(text));
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? `${cause.issues[0]?.path.join('.') ?? ''}: ${cause.issues[0]?.message ?? ''}` : messageOf(cause);
    throw new DeployError('E_LAB', `Expected in ${path} what \`sterna energy calibrate --json\` prints, but ${problem}`, { cause, details: { path } });
  }
  const { source, quality, joules_per_mac: joules, watts_per_core } = read;
  if (joules === undefined) return byTime(watts_per_core.value, target, `calibrated by ${source}, ${quality}, in ${path}`);
  const [int8, float32] = [joules.int8.value, joules.float32.value];
  return {
    provenance: `modeled: multiply-adds x ${(1e12 * int8).toPrecision(3)} pJ in 8 bits or fewer, ${(1e12 * float32).toPrecision(3)} pJ in float32 (calibrated by ${source}, ${quality}, in ${path})`,
    millijoules: ({ macs, float_macs }) => 1e3 * ((macs - float_macs) * int8 + float_macs * float32),
  };
}
