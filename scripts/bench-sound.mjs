// `npm run bench:sound [-- options]`: hearing against its bars, i.e. `sterna bench-sound [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-sound');
