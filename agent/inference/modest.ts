/** How processes beside the daemon begin: those that test, compare and adapt packages. */
import { dieWithParent } from '../../kernels/binding/process.js';
import { useLittleMemory } from '../platform/frugal.js';
import { volunteerForOom } from './candidate-protocol.js';

/** Makes this process the first to be killed when memory runs out, ends it with the daemon, and lets it take little memory. */
export function beginModestly(): void {
  volunteerForOom();
  outliveNobody();
  useLittleMemory();
}

function outliveNobody(): void {
  try {
    dieWithParent();
  } catch {
    // Without the addon the package cannot be opened either, and that error is reported. This process also ends when its channel to the daemon ends.
  }
}
