import type { MemoryReport } from '../contracts/index.js';
import type { HostFiles } from '../platform/host-files.js';
import { readMachineMemory } from '../platform/meminfo.js';

/** Memory of this process and what the machine has left. */
export async function readMemory(files: HostFiles): Promise<MemoryReport> {
  const { rss, heapUsed } = process.memoryUsage();
  const { available, total } = await readMachineMemory(files);
  return {
    rss_bytes: rss,
    rss_peak_bytes: process.resourceUsage().maxRSS * 1024,
    heap_bytes: heapUsed,
    system_available_bytes: available === null || (total !== null && available > total) ? null : available,
  };
}
