/**
 * A whole daemon on the fake runtime, in a process of its own: STATE_DIR [PACKAGE [PID_FILE]]. It says in a line of JSON where its API is, and stops
 * at SIGTERM. The gallery is the real one. PID_FILE receives the number of the process that tests the package.
 */
import { Agent } from '../../../agent/agent.js';
import { parseConfig } from '../../../agent/config/load.js';
import { runtimePort } from '../../../agent/inference/runtime-port.js';
import { createLog } from '../../../agent/platform/log.js';
import { FakeRuntime } from './fake-runtime.js';

const [stateDir = '', localPackage = '', pidFile = ''] = process.argv.slice(2);
const config = parseConfig({
  device_id: 'door', fleet: 'test', state_dir: stateDir, broker: { url: null }, camera: { input: '/camera', loop: true }, api: { port: 0 },
  pipeline: localPackage === '' ? {} : { package: localPackage },
});
const { openGallery } = runtimePort(config, () => undefined);
const runtime = Object.assign(new FakeRuntime(), { openGallery });
runtime.candidateEntry = new URL('../../test/agent/support/fake-candidate.mjs', import.meta.url);
runtime.candidatePidFile = pidFile;

const agent = await Agent.start(config, { runtime, env: {}, log: createLog('error', () => undefined) });
process.on('SIGTERM', () => void agent.stop());
process.stdout.write(`${JSON.stringify({ api: agent.apiUrl })}\n`);
