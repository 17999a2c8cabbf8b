// `npm run bench:lab [-- options]`: the lab against its bars, i.e. `sterna bench-lab [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-lab');
