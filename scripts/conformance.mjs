// `npm run conformance [-- options]`: the ONNX project's node tests on this CPU, i.e. `sterna conformance [options]`.
import { runCli } from './lib/cli.mjs';

await runCli('conformance');
