// `npm run build`: the set-up alone.
import { ensureSetup, log } from './lib/setup.mjs';

try {
  ensureSetup();
  log('ready');
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
