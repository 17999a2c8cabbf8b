import { setFlagsFromString } from 'node:v8';
import { frugalMemory, releaseProgramPages } from '../../kernels/binding/memory.js';

/** Milliseconds between two releases of program pages. A package that is opened, or a picture that is decoded, runs much that a steady pipeline does not. */
const RELEASE_MS = 60_000;

/**
 * Reduces memory at the price of a little speed, and goes on to release program pages once a minute. It is meant for the daemon's own process, not for
 * programs that embed it. Call it first. What each part saves was measured: in agent/DECISIONS.md.
 */
export function useLittleMemory(): void {
  // The young generation stays at its first megabyte. Frames are outside of it, and are freed when it is collected; a larger one is collected so
  // rarely that dozens of unused frames occupy memory.
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--optimize-for-size');
  try {
    frugalMemory();
    setInterval(() => void releaseProgramPages().catch(() => undefined), RELEASE_MS).unref();
  } catch {
    // Without the addon nothing else can run either; whoever needs it reports that.
  }
}
