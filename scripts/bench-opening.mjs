// `npm run bench:opening [-- options]`: how long models take to open, i.e. `sterna bench-opening [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-opening');
