import type { EnergyMeter } from './types.js';

/** For machines without a sensor: CPU time of this process times the watts of a busy core. Modelled, and it says so. */
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
