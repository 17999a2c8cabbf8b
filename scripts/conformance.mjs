// `npm run conformance [-- options]`: the ONNX project's node tests on this CPU, i.e. `sterna conformance [options]`.
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
  process.argv.splice(2, 0, 'conformance');
  await import('../dist/deploy/cli/main.js');
}
