/** `caps`, up, retained: what this device is and can do. */
import { z } from 'zod';
import { bytes, count, id, openSet, shortText, stamp } from './codec.js';

/**
 * `measured`: by a sensor of the component itself. `estimated`: from sensors of its parts. `modelled`: calculated from work done.
 * `invalid`: there is a sensor, but its reading is impossible or cannot be read; the field `reason` says why.
 */
export const quality = openSet(['measured', 'estimated', 'modelled', 'invalid']);
export type Quality = z.infer<typeof quality>;

export const energySource = z.object({
  /** rapl, ina3221, battery, rpi5_pmic, cpu_model */
  source: shortText,
  /** What is measured: package-0, VDD_IN, ... Scopes may overlap and are never added. */
  scope: shortText,
  quality,
  /** Why the newest reading is invalid. */
  reason: shortText.optional(),
});
export type EnergySource = z.infer<typeof energySource>;

/** By name; at most 32. */
export const labelsSchema = z.record(id, z.string().min(1).max(64)).refine((labels) => Object.keys(labels).length <= 32, { message: 'expected at most 32 labels' });

export const capsSchema = z.object({
  ...stamp,
  version: shortText,
  /** What its configuration says that it is, such as `ring: canary`: for choosing devices. */
  labels: labelsSchema.optional(),
  machine: z.object({
    arch: shortText,
    os: shortText,
    kernel: shortText,
    model: shortText,
    cpu: shortText,
    cores: count,
    memory_bytes: bytes,
  }),
  /** Null when the native kernels are not installed. */
  compute: z.object({
    isa: shortText,
    isas: z.array(z.object({ isa: shortText, built: z.boolean(), runnable: z.boolean(), reason: shortText })).max(32),
    features: z.array(shortText).max(256),
  }).nullable(),
  slots: count,
  energy: z.array(energySource).max(32),
  thermal_zones: z.array(shortText).max(64),
  /** Temperature zones and similar sensors whose newest reading is invalid. */
  sensors_invalid: z.array(z.object({ sensor: shortText, reason: shortText })).max(64).optional(),
  commands: z.array(shortText).max(64),
  limits: z.object({
    package_bytes: bytes,
    block_bytes: bytes,
    window: count,
    outbox_bytes: bytes,
  }),
});
export type Caps = z.infer<typeof capsSchema>;
