// `npm run bench [-- options]`: everything from a bare clone to the report and README's table, i.e. `sterna bench-suite [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-suite');
