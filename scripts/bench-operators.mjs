// `npm run bench:operators [-- options]`: single operators on Sterna and onnxruntime, i.e. `sterna bench-operators [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('bench-operators');
