/** The entry of the process that tests a candidate. `candidate-process.ts` starts it. */
import { engineSchema } from './candidate-entry.js';
import { serveCandidate } from './candidate-protocol.js';
import { beginModestly } from './modest.js';
import { testPackage } from './runtime-port.js';

beginModestly();

// Trouble with the cache of programs is not reported here, because the daemon opens the same programs next and reports it.
serveCandidate(({ path, engine }) => testPackage(path, engineSchema.parse(engine), () => undefined));
