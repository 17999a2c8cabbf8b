// `npm start [-- options]`: everything from a bare clone to a running device and its page, i.e. `sterna up [options]`.
import { runCli } from './lib/cli.mjs';
import { requireTools } from './lib/host.mjs';
import { log } from './lib/setup.mjs';

await runCli('up', () => requireTools(['ffmpeg'], log, { optional: true })); // without root, `sterna up` fetches npm's build of it
