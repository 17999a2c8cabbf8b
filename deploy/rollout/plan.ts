/** Which device is in which wave, and when it starts. Pure: the same devices and seed give the same plan. */
import { createHash } from 'node:crypto';
import { hasLabels, shareOf, type RolloutSpec } from './spec.js';

/** A device as far as a plan needs it. */
export interface PlanDevice {
  device: string;
  /** The pipeline that shall run the package. */
  pipeline: string;
  labels: Readonly<Record<string, string>>;
  /** SHA-256 of the package that it runs; null: none. */
  active: string | null;
}

export interface PlannedDevice {
  device: string;
  pipeline: string;
  /** Index of its wave. */
  wave: number;
  /** From the opening of the wave to its start. */
  offset_ms: number;
}

export interface Plan {
  /** By wave, then by start. */
  devices: PlannedDevice[];
  /** They run the package already. */
  already: string[];
  /** No wave takes them. */
  left_out: string[];
}

/** Where a device is in an order by hash, from 0 to 1. Another `purpose` gives another, independent order. */
export function position(seed: string, purpose: 'wave' | 'start', device: string): number {
  return createHash('sha256').update(`${seed}\0${purpose}\0${device}`).digest().readUIntBE(0, 6) / 2 ** 48;
}

/**
 * Each wave takes the first `percent` (rounded up) of the devices with its labels, in the order by hash, less those that an earlier wave has. So
 * `5%`, `25%`, `100%` are shares of the whole fleet, and a device is never in two waves.
 */
export function planRollout(spec: RolloutSpec, devices: readonly PlanDevice[], digest: string): Plan {
  const ordered = devices.filter(({ active }) => active !== digest).map((device) => ({ ...device, at: position(spec.seed, 'wave', device.device) }))
    .sort((a, b) => a.at - b.at || (a.device < b.device ? -1 : 1));
  const waves = new Map<string, number>();
  spec.waves.forEach(({ labels, percent }, wave) => {
    const matching = ordered.filter((device) => hasLabels(device.labels, labels));
    for (const { device } of matching.slice(0, shareOf(matching.length, percent))) if (!waves.has(device)) waves.set(device, wave);
  });
  const planned = ordered.flatMap(({ device, pipeline }) => {
    const wave = waves.get(device);
    return wave === undefined ? [] : [{ device, pipeline, wave, offset_ms: Math.floor(position(spec.seed, 'start', device) * spec.spread_ms) }];
  });
  return {
    devices: planned.sort((a, b) => a.wave - b.wave || a.offset_ms - b.offset_ms || (a.device < b.device ? -1 : 1)),
    already: devices.filter(({ active }) => active === digest).map(({ device }) => device).sort(),
    left_out: ordered.filter(({ device }) => !waves.has(device)).map(({ device }) => device).sort(),
  };
}
