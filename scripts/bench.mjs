// `npm run bench [-- options]`: everything from a bare clone to the report and README's table, i.e. `sterna bench-suite [options]`.
import { ensureSetup, log } from './lib/setup.mjs';

let ready = false;
try {
  ensureSetup();
  ready = true;
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
if (ready) {
  process.argv.splice(2, 0, 'bench-suite');
  await import('../dist/deploy/cli/main.js');
}
