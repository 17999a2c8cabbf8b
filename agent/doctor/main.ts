#!/usr/bin/env node
/** `sterna doctor` tells what works on this device, what does not, and what to do. It changes nothing, so it may run beside the daemon. */
import { realpathSync, statSync } from 'node:fs';
import { availableParallelism, machine } from 'node:os';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../runtime/errors.js';
import { loadConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { systemClock, type Clock } from '../platform/clock.js';
import { hostFiles, type HostFiles } from '../platform/host-files.js';
import { readPmic } from '../platform/vcgencmd.js';
import { checkBroker } from './broker.js';
import { checkFfmpeg, checkInputs } from './camera.js';
import { checksOf, formatChecks, passed, type Check } from './check.js';
import { checkDaemon } from './daemon.js';
import { checkKernels, type Runner } from './kernels.js';
import { checkKeys } from './keys.js';
import { checkClock, checkEnergy, checkMemory, checkProcessor, checkTemperatures } from './machine.js';
import { checkDisk, checkPackages } from './storage.js';

const USAGE = 'Usage: sterna doctor [--config FILE] [--json]\nExit codes: 0 everything works (warnings do not count), 1 something does not, 2 wrong command line.\n';

/** Parts that tests replace. */
export interface DoctorDeps {
  files?: HostFiles;
  clock?: Clock;
  env?: NodeJS.ProcessEnv;
  runKernels?: Runner;
}

/** Runs all checks, in the order in which a person would repair things. `config` is undefined when it could not be read. */
export async function examine(config: Config | undefined, deps: DoctorDeps = {}): Promise<Check[]> {
  const { files = hostFiles(), clock = systemClock(), env = process.env } = deps;
  const builtMs = statSync(fileURLToPath(import.meta.url)).mtimeMs;
  const hardware = [
    ...await checkProcessor(files, { arch: machine(), cores: availableParallelism() }),
    ...await checkKernels(deps.runKernels),
    ...await checkMemory(files),
    ...await checkTemperatures(files),
    ...await checkEnergy(files, { wattsPerCore: config?.energy.watts_per_core ?? 2.5, readPmic }),
    ...checkFfmpeg(env),
  ];
  if (config === undefined) return [...hardware, ...checkClock(clock, { signedMs: null, builtMs })];
  const { checks: daemon, runs } = await checkDaemon(config);
  const { checks: broker, signedMs } = await checkBroker(config);
  return [
    ...hardware, ...checkDisk(config), ...daemon, ...await checkInputs(config, { files, daemonRuns: runs }), ...broker,
    ...checkClock(clock, { signedMs, builtMs }), ...checkKeys(config, env), ...await checkPackages(config),
  ];
}

function readConfig(path: string | undefined, env: NodeJS.ProcessEnv): { config?: Config; check: Check } {
  const report = checksOf('configuration');
  try {
    const config = loadConfig({ env, ...(path === undefined ? {} : { path }) });
    return { config, check: report.ok(`${path ?? 'defaults'}; device ${config.device_id} of fleet ${config.fleet}`) };
  } catch (error) {
    return { check: report.failed(messageOf(error), { remedy: 'correct these keys; what needs the configuration was not checked' }) };
  }
}

/** @returns the exit code */
export async function runDoctor(args: readonly string[], out: (text: string) => void, deps: DoctorDeps = {}): Promise<number> {
  let values: { config?: string | undefined; json?: boolean | undefined; help?: boolean | undefined };
  try {
    ({ values } = parseArgs({ args: [...args], options: { config: { type: 'string', short: 'c' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } }));
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n${USAGE}`);
    return 2;
  }
  if (values.help === true) {
    out(USAGE);
    return 0;
  }
  const { config, check } = readConfig(values.config, deps.env ?? process.env);
  const checks = [check, ...await examine(config, deps)];
  const good = passed(checks);
  const count = (status: Check['status']): number => checks.filter((one) => one.status === status).length;
  out(values.json === true ? `${JSON.stringify({ passed: good, checks })}\n` : `${formatChecks(checks)}\n\n${good ? 'This device can work' : 'This device cannot work'}: ${count('failed')} failed, ${count('warning')} warnings.\n`);
  return good ? 0 : 1;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await runDoctor(process.argv.slice(2), (text) => void process.stdout.write(text));
}
