// `npm run bench:fleet [-- options]`: collectors with 10,000 simulated devices, against the bars, i.e. `sterna bench-fleet [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-fleet');
