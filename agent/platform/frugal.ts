import { setFlagsFromString } from 'node:v8';
import { frugalMemory } from '../../kernels/binding/memory.js';

/**
 * Small memory before a little speed: for the daemon's own process, not for programs that embed it. Call it first.
 * Measured with the face package and a 640x480 camera at 15 frames a second, resident: about 178 MB without, 130 MB with V8's
 * flags, 95 to 112 MB with both (it moves with the garbage of frames), 155 MB for a moment while a package is compiled.
 */
export function useLittleMemory(): void {
  // The young generation stays at its first megabyte. Frames are external to it, and are freed when it is collected; a
  // larger one is collected so rarely that dozens of dead frames wait.
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--optimize-for-size');
  try {
    frugalMemory();
  } catch {
    // Without the addon there is nothing to run either; whoever needs it says so.
  }
}
