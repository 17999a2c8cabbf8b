/**
 * Intel's and AMD's running-average power limit counters (kernel Documentation/power/powercap). They count microjoules and wrap at
 * `max_energy_range_uj`. Since CVE-2020-8694 only root may read them, which is why systemd/ has a udev rule.
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
      // Parts of a processor package may sleep for long, but the whole package always uses some energy. So only a whole one that stands still is
      // faulty.
      if (stuck.isStuck(String(now), nowMs) && /^(package|psys)/.test(scope)) return { invalid: 'stuck' };
      if (before === null) return { joules: null };
      const range = (await files.number(`${FOLDER}/${zone}/max_energy_range_uj`)) ?? 0;
      return counted({ before: before.microjoules, after: now, range, seconds: (nowMs - before.atMs) / 1000 });
    },
  };
}

/**
 * A shorter interval comes from jitter of the timer. The bound of the energy between two readings is the greatest power times the interval, so the
 * interval is taken to be at least this long.
 */
const SHORTEST_SECONDS = 0.1;

/**
 * A counter that went down has either wrapped at its range or begun anew. It counts as wrapped when the resulting power is one that a machine can
 * draw; otherwise the energy is unknown. Read the counter more often than it wraps.
 */
function counted({ before, after, range, seconds }: { before: number; after: number; range: number; seconds: number }): Reading {
  const joules = wrappedDifference(before, after, range) / 1e6;
  const possible = joules <= (MAX_WATTS['rapl'] ?? 0) * Math.max(seconds, SHORTEST_SECONDS);
  if (after < before) return possible && range >= before ? { joules } : { invalid: 'reset' };
  return possible ? { joules } : { invalid: 'out_of_range' };
}

/** How far a counter went that jumps back to 0 after `range`. The counter may have wrapped once at most. */
export function wrappedDifference(before: number, after: number, range: number): number {
  return after >= before ? after - before : Math.max(0, range - before) + after;
}
