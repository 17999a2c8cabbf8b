import { setFlagsFromString } from 'node:v8';
import { frugalMemory } from '../../kernels/binding/memory.js';

/**
 * Reduces memory at the price of a little speed. It is meant for the daemon's own process, not for programs that embed it. Call it first. Resident
 * memory, measured with the face package and a 640x480 camera at 15 frames a second: about 178 MB without it, 130 MB with V8's flags, 95 to 112 MB
 * with both (it varies with the frames that wait to be collected), 155 MB for a moment while a package is compiled.
 */
export function useLittleMemory(): void {
  // The young generation stays at its first megabyte. Frames are outside of it, and are freed when it is collected; a larger one is collected so
  // rarely that dozens of unused frames occupy memory.
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--optimize-for-size');
  try {
    frugalMemory();
  } catch {
    // Without the addon nothing else can run either; whoever needs it reports that.
  }
}
