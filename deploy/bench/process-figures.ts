/** Memory and CPU of other processes, as Linux tells them in /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** Resident memory: now, at most so far, or now and of the process alone. */
export type MemoryField = 'VmRSS' | 'VmHWM' | 'RssAnon';

/** Bytes. @param status text of /proc/PID/status @returns null when it does not tell, as that of a process that has ended */
export function memoryIn(status: string, field: MemoryField): number | null {
  const [, kibibytes] = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status) ?? [];
  return kibibytes === undefined ? null : Number(kibibytes) * 1024;
}

/** Bytes. @throws when there is no such process */
export const memoryOf = (pid: number, field: MemoryField): number => memoryIn(readFileSync(`/proc/${pid}/status`, 'utf8'), field) ?? 0;

/** Of /proc/PID/stat, from the state on, which is the first. @throws when there is no such process */
const statOf = (pid: number): string[] => readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');

/** In the kernel's USER_HZ. */
const secondsOf = (...ticks: (string | undefined)[]): number => ticks.reduce((sum, field) => sum + Number(field), 0) / 100;

/** User and system time. @throws when there is no such process */
export function cpuSecondsOf(pid: number): number {
  const fields = statOf(pid);
  return secondsOf(fields[11], fields[12]);
}

/** User and system time of a process, of its children that live, and of those that have ended. @throws when there is no such process */
export function familyCpuSecondsOf(pid: number): number {
  const fields = statOf(pid);
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).reduce((sum, child) => {
    try {
      const [, parent, ...rest] = statOf(Number(child));
      return Number(parent) === pid ? sum + secondsOf(rest[9], rest[10]) : sum;
    } catch {
      return sum; // it has ended meanwhile
    }
  }, 0);
  return children + secondsOf(...fields.slice(11, 15));
}
