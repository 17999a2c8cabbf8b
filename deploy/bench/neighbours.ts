import { cpus } from 'node:os';
import { performance } from 'node:perf_hooks';

/** Milliseconds since the start of each: CPU time of the whole machine, CPU time of this process, and the clock. */
export interface CpuSample {
  machineMs: number;
  ownMs: number;
  atMs: number;
}

export function sampleCpu(): CpuSample {
  const { user, system } = process.cpuUsage();
  const machineMs = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
  return { machineMs, ownMs: (user + system) / 1000, atMs: performance.now() };
}

/** Cores that other processes kept busy between two samples, on average. The machine counts in ticks of 10 ms: a second is enough to be meant. */
export function coresOfOthers(before: CpuSample, after: CpuSample): number {
  const others = after.machineMs - before.machineMs - (after.ownMs - before.ownMs);
  return Math.max(0, others / (after.atMs - before.atMs));
}
