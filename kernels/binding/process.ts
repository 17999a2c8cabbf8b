import { loadAddon } from './load.js';

/**
 * From now on the kernel ends this process with SIGKILL when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG), also when this process
 * never comes back to its event loop. A parent that ended before the call is not noticed: look at `process.ppid` afterwards.
 * @returns whether the platform can do that (Linux can)
 * @throws KernelError E_NATIVE_MISSING
 */
export function dieWithParent(): boolean {
  return loadAddon().dieWithParent();
}
