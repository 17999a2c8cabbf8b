#!/usr/bin/env node
/** `sterna energy calibrate` measures what a busy core, a multiply-add and rest take on this device, and writes it into the configuration. */
import { realpathSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMap, parseDocument } from 'yaml';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { messageOf } from '../../runtime/errors.js';
import { loadConfig } from '../config/load.js';
import { bestMeter, findMeters } from '../energy/monitor.js';
import type { EnergyMeter } from '../energy/types.js';
import { AgentError, toCodedError } from '../errors.js';
import { hostFiles, type HostFiles } from '../platform/host-files.js';
import { readPmic } from '../platform/vcgencmd.js';
import { calibrate, calibrationSeconds, type Calibration, type Rig } from './calibrate.js';
import type { Estimate } from './least-squares.js';
import { withLoads, type Load } from './loads.js';

const USAGE = `Usage: sterna energy calibrate [--config FILE] [--write] [--seconds N] [--json]
Runs small networks at several loads while it reads the power sensor of this device. Stop the daemon before.
--write puts the result into FILE; --seconds is the time of each of the 13 steps (default 8, 1 to 600).
Exit codes: 0 done, 1 the device could not be calibrated, 2 wrong command line.
`;

/** Parts that tests replace. */
export interface CalibrationDeps {
  files?: HostFiles;
  rig?: Rig;
  withLoads?: typeof withLoads;
  env?: NodeJS.ProcessEnv;
}

const systemRig: Rig = {
  nowMs: () => performance.now(),
  sleep: (ms) => sleep(ms),
  every: (ms, work) => { const timer = setInterval(work, ms); return () => clearInterval(timer); },
  cpuSeconds: () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6; },
};

/** What the daemon reads. */
export interface EnergyKeys {
  watts_per_core: number;
  idle_watts: number;
}

const keysOf = ({ watts_per_core, idle_watts }: Calibration): EnergyKeys => ({ watts_per_core: rounded(watts_per_core.value), idle_watts: Math.max(0, rounded(idle_watts.value)) });
const rounded = (value: number): number => Number(value.toPrecision(4));

/** The best meter that measures or estimates. @throws AgentError E_ENERGY_SOURCE */
async function meterOf(files: HostFiles): Promise<EnergyMeter> {
  const meter = bestMeter((await findMeters(files, { wattsPerCore: 1, readPmic })).filter(({ quality }) => quality !== 'modelled'));
  if (meter !== null) return meter;
  const hidden = (await files.list('sys/class/powercap')).some((name) => /^intel-rapl:\d+$/.test(name));
  throw new AgentError('E_ENERGY_SOURCE', hidden
    ? 'The energy counters of the processor (RAPL) cannot be read. Run this command as root, or install 60-sterna.rules and join the group sterna-energy'
    : 'This device has no sensor of power, battery or energy counter. Fit one (INA219, INA226, INA3221), or calibrate a board of the same kind that has one, and set its energy.watts_per_core here');
}

/** The configuration with the keys in it; comments and everything else stay. @throws AgentError E_CONFIG when `energy` holds something else than keys */
export function withEnergyKeys(text: string, keys: EnergyKeys): string {
  const document = parseDocument(text);
  const [problem] = document.errors;
  const energy = document.get('energy');
  if (problem !== undefined) throw new AgentError('E_CONFIG', `The configuration is not valid YAML: ${problem.message}`);
  if (energy !== undefined && energy !== null && !isMap(energy)) throw new AgentError('E_CONFIG', 'Expected a mapping of keys in energy');
  if (isMap(energy)) for (const [key, value] of Object.entries(keys)) document.setIn(['energy', key], value);
  else document.set('energy', document.createNode(keys));
  return document.toString({ lineWidth: 0 });
}

function describe(result: Calibration, { source, scope, quality }: EnergyMeter): string {
  const line = (title: string, { value, plus_minus }: Estimate, unit: string, scale = 1): string => `${title.padEnd(22)}${(value * scale).toPrecision(4).padStart(10)} ± ${(plus_minus * scale).toPrecision(2)} ${unit}`;
  const { joules_per_mac: macs } = result;
  return [
    `Measured by ${source} ${scope} (${quality}), ${result.steps} steps${result.steps_left_out > 0 ? `, ${result.steps_left_out} left out because of impossible readings` : ''}; 95 % intervals of confidence`,
    line('at rest', result.idle_watts, 'W'), line('a busy core', result.watts_per_core, 'W'),
    ...(macs === undefined ? [] : [line('a multiply-add, int8', macs.int8, 'pJ', 1e12), line('a multiply-add, float32', macs.float32, 'pJ', 1e12)]),
    line('drift at rest', result.drift_watts_per_minute, 'W a minute'),
    `Unexplained: ${result.residual_watts.toPrecision(3)} W by cores${result.residual_watts_of_macs === undefined ? '' : `, ${result.residual_watts_of_macs.toPrecision(3)} W by multiply-adds`}; cores explain ${(result.r_squared * 100).toFixed(1)} % of the variance`,
  ].join('\n');
}

interface Wishes { config?: string | undefined; write?: boolean | undefined; json?: boolean | undefined; secondsPerStep: number }

async function run({ config, write, json, secondsPerStep }: Wishes, out: (text: string) => void, deps: CalibrationDeps): Promise<void> {
  const { files = hostFiles(), rig = systemRig, env = process.env } = deps;
  if (config !== undefined) loadConfig({ path: config, env }); // A file that cannot be read is told before the measurement.
  const meter = await meterOf(files);
  if (json !== true) out(`Calibrating with ${meter.source} ${meter.scope}, for about ${Math.ceil(calibrationSeconds(secondsPerStep))} s ...\n`);
  const onStep = (done: number, all: number): void => { if (json !== true) process.stderr.write(`step ${done} of ${all}\n`); };
  const result = await (deps.withLoads ?? withLoads)((loads: readonly Load[]) => calibrate({ meter, loads, rig, secondsPerStep, onStep }));
  const keys = keysOf(result);
  if (write === true && config !== undefined) await writeFileAtomic(config, withEnergyKeys(await readFile(config, 'utf8'), keys), statSync(config).mode & 0o777);
  const { source, scope, quality } = meter;
  if (json === true) return out(`${JSON.stringify({ source, scope, quality, ...result, config: { energy: keys }, written: write === true ? config : null })}\n`);
  const advice = write === true ? `Written to ${config}. Restart the daemon: systemctl restart sternad` : `For sterna.yaml:\n\nenergy:\n  watts_per_core: ${keys.watts_per_core}\n  idle_watts: ${keys.idle_watts}`;
  out(`${describe(result, meter)}\n\n${advice}\n`);
}

function readWishes(args: readonly string[]): Wishes | 'help' {
  const { values, positionals } = parseArgs({
    args: [...args], allowPositionals: true,
    options: { config: { type: 'string', short: 'c' }, write: { type: 'boolean' }, seconds: { type: 'string', default: '8' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true) return 'help';
  if (positionals.length !== 1 || positionals[0] !== 'calibrate') throw new Error(`Expected "calibrate" but received "${positionals.join(' ')}"`);
  const secondsPerStep = Number(values.seconds);
  if (!(secondsPerStep >= 1 && secondsPerStep <= 600)) throw new Error(`Expected 1 to 600 seconds but received "${values.seconds}"`);
  if (values.write === true && values.config === undefined) throw new Error('--write needs --config FILE');
  return { config: values.config, write: values.write, json: values.json, secondsPerStep };
}

/** @returns the exit code */
export async function runEnergy(args: readonly string[], out: (text: string) => void, deps: CalibrationDeps = {}): Promise<number> {
  let wishes: Wishes | 'help';
  try {
    wishes = readWishes(args);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n${USAGE}`);
    return 2;
  }
  if (wishes === 'help') {
    out(USAGE);
    return 0;
  }
  try {
    await run(wishes, out, deps);
    return 0;
  } catch (error) {
    const { code, message } = toCodedError(error);
    if (wishes.json === true) out(`${JSON.stringify({ error: { code, message } })}\n`);
    else process.stderr.write(`sterna: ${code}: ${message}\n`);
    return 1;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await runEnergy(process.argv.slice(2), (text) => void process.stdout.write(text));
}
