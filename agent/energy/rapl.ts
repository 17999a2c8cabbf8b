/**
 * Intel and AMD running-average power limit counters (kernel Documentation/power/powercap). Microjoules that wrap at
 * `max_energy_range_uj`; readable by root only since CVE-2020-8694, hence the udev rule in systemd/.
 */
import type { HostFiles } from '../platform/host-files.js';
import { MAX_WATTS, StuckDetector } from '../platform/plausible.js';
import type { EnergyMeter, Reading } from './types.js';

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
  const stuck = new StuckDetector();
  let last: { microjoules: number; atMs: number } | null = null;
  return {
    source: 'rapl',
    scope,
    quality: 'measured',
    sample: async (nowMs): Promise<Reading> => {
      const now = await files.number(`${FOLDER}/${zone}/energy_uj`);
      if (now === null) return { invalid: 'unreadable' };
      if (now < 0) return { invalid: 'out_of_range' };
      const before = last;
      last = { microjoules: now, atMs: nowMs };
      // Parts of a package may sleep for long; the whole of one never uses nothing.
      if (stuck.isStuck(String(now), nowMs) && /^(package|psys)/.test(scope)) return { invalid: 'stuck' };
      if (before === null) return { joules: null };
      const range = (await files.number(`${FOLDER}/${zone}/max_energy_range_uj`)) ?? 0;
      return counted({ before: before.microjoules, after: now, range, seconds: (nowMs - before.atMs) / 1000 });
    },
  };
}

/** Shorter intervals than this are jitter of the timer; the bound of power must not be divided by them. */
const SHORTEST_SECONDS = 0.1;

/**
 * A counter that went down has wrapped at its range or begun anew. It wrapped when the power that this means is one that a
 * machine can draw; otherwise nobody knows what it counted. Sample more often than it wraps.
 */
function counted({ before, after, range, seconds }: { before: number; after: number; range: number; seconds: number }): Reading {
  const joules = wrappedDifference(before, after, range) / 1e6;
  const possible = joules <= (MAX_WATTS['rapl'] ?? 0) * Math.max(seconds, SHORTEST_SECONDS);
  if (after < before) return possible && range >= before ? { joules } : { invalid: 'reset' };
  return possible ? { joules } : { invalid: 'out_of_range' };
}

/** How far a counter went that jumps back to 0 after `range`. One wrap at most. */
export function wrappedDifference(before: number, after: number, range: number): number {
  return after >= before ? after - before : Math.max(0, range - before) + after;
}
