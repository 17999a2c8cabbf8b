import { loadAddon } from './load.js';

/**
 * For processes that run for months on little memory: the C allocator keeps one arena and returns free blocks of 32 KiB and
 * more at once (mallopt(3)), at the price of page faults when they are needed again.
 * @returns whether the platform's allocator takes such advice (glibc does)
 */
export function frugalMemory(): boolean {
  return loadAddon().frugalMemory();
}
