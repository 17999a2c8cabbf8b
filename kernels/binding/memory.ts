import { loadAddon } from './load.js';

/**
 * For processes that run for months on little memory: the C allocator keeps one arena and returns free blocks of 32 KiB and
 * more at once (mallopt(3)), at the price of page faults when they are needed again.
 * @returns whether the platform's allocator takes such advice (glibc does)
 */
export function frugalMemory(): boolean {
  return loadAddon().frugalMemory();
}

/**
 * Takes what this process has not written to of its programs and libraries out of its memory: most of it ran only at the start. What it uses again
 * comes back from the system's cache of files, which may drop the rest when memory is short (madvise(2), MADV_DONTNEED).
 * @returns bytes that were resident, when they are released; 0 where the system does not tell (it is read from /proc/self/smaps)
 */
export function releaseProgramPages(): Promise<number> {
  return loadAddon().releaseProgramPages();
}

/**
 * Copies the bytes of one view into another one of as many. `set` of typed arrays copies memory that threads share word by word, or byte by byte
 * where it is not aligned, which takes two to four times as long; nothing may write to it meanwhile.
 * @throws KernelError E_NATIVE_MISSING, E_ARGUMENT
 */
export function copyBytes(target: ArrayBufferView, source: ArrayBufferView): void {
  loadAddon().copyBytes(target, source);
}

/**
 * Whether no element is NaN or infinite.
 * @throws KernelError E_NATIVE_MISSING, E_ARGUMENT
 */
export function allFinite(data: Float32Array): boolean {
  return loadAddon().allFinite(data);
}
