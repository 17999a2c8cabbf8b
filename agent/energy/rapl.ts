/**
 * Intel and AMD running-average power limit counters (kernel Documentation/power/powercap). Microjoules that wrap at
 * `max_energy_range_uj`; readable by root only since CVE-2020-8694, hence the udev rule in systemd/.
 */
import type { HostFiles } from '../platform/host-files.js';
import type { EnergyMeter } from './types.js';

const FOLDER = 'sys/class/powercap';

export async function findRapl(files: HostFiles): Promise<EnergyMeter[]> {
  const zones = (await files.list(FOLDER)).filter((name) => /^intel-rapl:\d+(:\d+)?$/.test(name));
  const meters: EnergyMeter[] = [];
  for (const zone of zones) {
    if ((await files.number(`${FOLDER}/${zone}/energy_uj`)) === null) continue;
    const scope = (await files.text(`${FOLDER}/${zone}/name`)) ?? zone;
    meters.push(raplMeter(files, zone, scope));
  }
  return meters;
}

function raplMeter(files: HostFiles, zone: string, scope: string): EnergyMeter {
  let last: number | null = null;
  return {
    source: 'rapl',
    scope,
    quality: 'measured',
    sample: async () => {
      const now = await files.number(`${FOLDER}/${zone}/energy_uj`);
      if (now === null) return null;
      const range = (await files.number(`${FOLDER}/${zone}/max_energy_range_uj`)) ?? 0;
      const joules = last === null ? 0 : wrappedDifference(last, now, range) / 1e6;
      last = now;
      return joules;
    },
  };
}

/** How far a counter went that jumps back to 0 after `range`. One wrap at most: sample more often than it wraps. */
export function wrappedDifference(before: number, after: number, range: number): number {
  return after >= before ? after - before : Math.max(0, range - before) + after;
}
