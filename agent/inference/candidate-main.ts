/** The entry of the process that tests a candidate. `candidate-process.ts` starts it. */
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
    // Without the addon the package cannot be opened either, and that error is reported. This process also ends when its channel to the daemon ends.
  }
}

volunteerForOom();
outliveNobody();
useLittleMemory();

// Trouble with the cache of programs is not reported here, because the daemon opens the same programs next and reports it.
serveCandidate(({ path, engine }) => testPackage(path, engineSchema.parse(engine), () => undefined));
