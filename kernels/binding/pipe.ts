import { loadAddon } from './load.js';

/** The two ends of a pipe, as descriptors of this process. No program that it starts inherits them, unless it is told to. */
export interface Pipe {
  readFd: number;
  writeFd: number;
}

/**
 * Opens a pipe (pipe(2)) that holds so many bytes, or as many as the system grants.
 * @returns null where the platform has none (all but Linux)
 * @throws KernelError E_NATIVE_MISSING; Error when the process has no descriptors left
 */
export function openPipe(bytes: number): Pipe | null {
  return loadAddon().openPipe(bytes);
}
