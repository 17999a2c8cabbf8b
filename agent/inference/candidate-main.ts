/** The process that tests a candidate; `candidate-process.ts` starts it. */
import { z } from 'zod';
import { dieWithParent } from '../../kernels/binding/process.js';
import { configSchema } from '../config/schema.js';
import { useLittleMemory } from '../platform/frugal.js';
import { serveCandidate, volunteerForOom } from './candidate-protocol.js';
import { testPackage } from './runtime-port.js';

const engineSchema = z.object({ pipeline: configSchema.shape.pipeline, cache_dir: z.string(), cache_max_bytes: z.number(), energy: configSchema.shape.energy });

function outliveNobody(): void {
  try {
    dieWithParent();
  } catch {
    // Without the addon the package cannot be opened either, and says so. The end of the channel ends this process too.
  }
}

volunteerForOom();
outliveNobody();
useLittleMemory();

// Trouble with the cache of programs is the daemon's to report: it opens the same programs next.
serveCandidate(({ path, engine }) => testPackage(path, engineSchema.parse(engine), () => undefined));
