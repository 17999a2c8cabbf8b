/** How both processes of a candidate begin: the one that tests it, and the one that runs it beside the serving package. */
import { z } from 'zod';
import { dieWithParent } from '../../kernels/binding/process.js';
import { configSchema } from '../config/schema.js';
import { useLittleMemory } from '../platform/frugal.js';
import { volunteerForOom } from './candidate-protocol.js';

/** The configuration from which such a process makes its runtime port. */
export const engineSchema = z.object({ pipeline: configSchema.shape.pipeline, cache_dir: z.string(), cache_max_bytes: z.number(), energy: configSchema.shape.energy });

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
