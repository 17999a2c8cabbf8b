import type { MemoryReport } from '../contracts/index.js';
import type { HostFiles } from '../platform/host-files.js';

/** Memory of this process and what the machine has left. */
export async function readMemory(files: HostFiles): Promise<MemoryReport> {
  const { rss, heapUsed } = process.memoryUsage();
  const info = (await files.text('proc/meminfo')) ?? '';
  const kilobytes = (name: string): number | null => {
    const value = new RegExp(`^${name}:\\s+(\\d{1,12}) kB$`, 'm').exec(info)?.[1];
    return value === undefined ? null : Number(value);
  };
  const [available, total] = [kilobytes('MemAvailable'), kilobytes('MemTotal')];
  return {
    rss_bytes: rss,
    rss_peak_bytes: process.resourceUsage().maxRSS * 1024,
    heap_bytes: heapUsed,
    system_available_bytes: available === null || (total !== null && available > total) ? null : available * 1024,
  };
}
