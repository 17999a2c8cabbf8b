// `npm run bench:pipeline [-- options]`: whole pipelines against their bars, i.e. `sterna bench-pipeline [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-pipeline');
