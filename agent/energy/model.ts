import type { EnergyMeter } from './types.js';

/**
 * A stand-in for machines without a sensor: it multiplies the CPU time of this process by the watts of a busy core. Its readings are marked as
 * modelled.
 */
export function cpuModelMeter(wattsPerCore: number, cpuUsage: () => { user: number; system: number } = () => process.cpuUsage()): EnergyMeter {
  let last: number | null = null;
  return {
    source: 'cpu_model',
    scope: 'process',
    quality: 'modelled',
    sample: () => {
      const { user, system } = cpuUsage();
      const seconds = (user + system) / 1e6;
      const joules = last === null ? null : Math.max(0, seconds - last) * wattsPerCore;
      last = seconds;
      return Promise.resolve({ joules });
    },
  };
}
