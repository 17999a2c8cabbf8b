// `npm run bench:transfer [-- options]`: how packages travel to devices, against the bars, i.e. `sterna bench-transfer [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-transfer');
