import type { HostFiles } from './host-files.js';

/** Memory of the machine, bytes; null where the system does not say. */
export interface MachineMemory {
  total: number | null;
  /** What programs can still get without swapping. */
  available: number | null;
}

/** Reads /proc/meminfo (proc_meminfo(5)). */
export async function readMachineMemory(files: HostFiles): Promise<MachineMemory> {
  const info = (await files.text('proc/meminfo')) ?? '';
  const bytes = (name: string): number | null => {
    const kilobytes = new RegExp(`^${name}:\\s+(\\d{1,12}) kB$`, 'm').exec(info)?.[1];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  };
  return { total: bytes('MemTotal'), available: bytes('MemAvailable') };
}
