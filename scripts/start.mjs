// `npm start [-- options]`: everything from a bare clone to a running device and its page, i.e. `sterna up [options]`.
import { ensureSetup, log } from './lib/setup.mjs';
import { requireTools } from './lib/host.mjs';

let ready = false;
try {
  ensureSetup();
  requireTools(['ffmpeg'], log, { optional: true }); // without root, `sterna up` fetches npm's build of it
  ready = true;
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
if (ready) {
  process.argv.splice(2, 0, 'up');
  await import('../dist/deploy/cli/main.js');
}
