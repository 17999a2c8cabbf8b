// `npm run bench:governor [-- options]`: the governor against simulated devices, i.e. `sterna bench-governor [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-governor');
