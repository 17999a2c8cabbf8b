import type { Command, Option } from 'commander';
import { randomBytes } from 'node:crypto';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { labelsOf, requireId } from '../../../agent/contracts/index.js';
import { DeployError } from '../../errors.js';
import { askHandover, handoverFolder, handOver } from '../../publish/handover.js';
import { desiredPackage, loadPackage } from '../../publish/packages.js';
import { chosenPipeline } from '../../publish/pipeline.js';
import { planRollout, type Plan, type PlanDevice } from '../../rollout/plan.js';
import { rolloutFile } from '../../rollout/server.js';
import { defaultSpec, hasLabels, parseLabels, parseWave, specSchema, waveName, type RolloutSpec } from '../../rollout/spec.js';
import { isFinished } from '../../rollout/state.js';
import { RolloutStore, type RequestKind, type Rollout } from '../../rollout/store.js';
import { deviceView, rolloutView } from '../../rollout/view.js';
import { addBrokerOptions, brokerLink, storeOption, type BrokerOptions } from '../broker-options.js';
import type { ReportGuard } from '../../repository/report-guard.js';
import { discovered, openFleet } from '../fleet/open.js';
import { reportGuard } from '../report-options.js';
import { interruptible } from '../interrupt.js';
import { integer, repeated } from '../options.js';
import { exitCodes, reporting, type Report } from '../output.js';
import { listText, planText, statusText } from '../rollout-text.js';

interface CreateOptions extends BrokerOptions {
  fleet: string;
  store?: string;
  id?: string;
  wave: string[];
  label: string[];
  pipeline?: string;
  minSuccess: number;
  maxErrors: number;
  minSamples: number;
  spread: number;
  soak: number;
  timeout: number;
  onHalt: string;
  seed?: string;
  dryRun: boolean;
}

const serverFolder = (): Option => storeOption('the folder of the server');
/** The server looks for requests once a second. */
const TAKEN_MS = 5000;
const LOOK_MS = 100;

export function register(program: Command): void {
  const group = program
    .command('rollout')
    .summary('bring a package to a fleet in waves that stop by themselves')
    .description('A roll-out tells devices to run a package, wave by wave. A wave passes when enough of its devices have succeeded; too many failures halt it, and it says which rule, which devices, and their error codes. `sterna fleet serve --repository FOLDER` carries it out, also after restarts.');
  registerCreate(group);
  group.command('list').summary('the roll-outs of this machine')
    .option('--fleet <name>', 'one fleet; default: all of them').addOption(serverFolder())
    .action(reporting((_self: Command, options: { fleet?: string; store?: string }) => Promise.resolve(withStore(options.store, (store) => {
      const views = store.list(options.fleet).map((rollout) => rolloutView(store, rollout));
      return { json: { rollouts: views }, text: listText(views) };
    }))));
  group.command('status').summary('how far it is, wave by wave, and why it halted').argument('[id]', 'default: the newest one')
    .addOption(serverFolder()).option('--devices', 'list the devices as well', false).option('--check', 'exit with 1 when it was halted or aborted', false)
    .action(reporting(status));
  const words: readonly [RequestKind, string, string][] = [
    ['pause', 'start no more devices', 'Devices that were told already go on. Their results count.'],
    ['resume', 'go on after a pause or a halt', 'After a halt the failures so far are accepted: only new ones can halt it again.'],
    ['abort', 'take the package back from every device', 'Devices that run the package are told to run their previous one, those that are installing it stop, and the others are left alone. A device that is away is told when it is back.'],
  ];
  for (const [kind, summary, description] of words) {
    group.command(kind).summary(summary).description(description).argument('[id]', 'default: the only one that is not finished').addOption(serverFolder())
      .action(reporting((_self: Command, id: string | undefined, options: { store?: string }) => change(kind, id, options.store)));
  }
}

function registerCreate(group: Command): void {
  const seconds = (ms: number): number => ms / 1000;
  addBrokerOptions(group
    .command('create')
    .summary('begin a roll-out, or say what it would do')
    .description('Divides the devices that have reported to the broker into waves, and hands package and plan to a running `sterna fleet serve --repository FOLDER`. The order is by a hash of the name, so the same seed gives the same waves. With --dry-run it only says which device would start when.')
    .argument('<package>', 'a .sterna file')
    .requiredOption('--fleet <name>', 'the fleet')
    .option('--wave <wave>', 'a share of the devices so far (25%), devices with a label (ring=canary), or both (ring=canary:50%); may be repeated; default: 5%, 25%, 100%', repeated, [])
    .option('--label <name=value>', 'only devices with this label; may be repeated', repeated, [])
    .option('--pipeline <name>', 'the pipeline of each device that shall run it; default: its only one, or main')
    .option('--min-success <percent>', 'a wave passes when so many of its devices have succeeded', percentage, defaultSpec.min_success_percent)
    .option('--max-errors <percent>', 'halt when more of the results of a wave are failures', percentage, defaultSpec.max_error_percent)
    .option('--min-samples <n>', 'judge no wave by fewer results', integer(1), defaultSpec.min_samples)
    .option('--spread <seconds>', 'spread the starts of a wave over this time', integer(0), seconds(defaultSpec.spread_ms))
    .option('--soak <seconds>', 'wait so long after a wave has passed', integer(0), seconds(defaultSpec.soak_ms))
    .option('--timeout <seconds>', 'a device that has not finished then has failed; one that is away does not count', integer(1), seconds(defaultSpec.timeout_ms))
    .option('--on-halt <what>', 'wait: for an operator; abort: take everything back', defaultSpec.on_halt)
    .option('--id <name>', 'its name; default: package, version and a random number')
    .option('--seed <text>', 'order the devices by a hash of this text and their names; default: the id')
    .addOption(serverFolder())
    .option('--dry-run', 'say which device would start when, and change nothing', false))
    .action(reporting(create));
}

const percentage = (text: string): number => {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0 && value <= 100 && text.trim() !== '') return value;
  throw new DeployError('E_USAGE', `Expected a percentage from 0 to 100 but received ${text}`);
};

async function create(self: Command, path: string, options: CreateOptions): Promise<Report> {
  const held = await loadPackage(path);
  const id = requireId('roll-out id', options.id ?? `${held.name}-${held.version}-${randomBytes(2).toString('hex')}`.replace(/[^A-Za-z0-9_.-]/g, '-').slice(-64));
  const spec = specOf(options, id);
  const devices = await interruptible('Interrupted before the roll-out began', (signal) => candidates(options, reportGuard(self, options), signal));
  const plan = planRollout(spec, devices, held.digest);
  const wanted = desiredPackage(held);
  const what = { id, fleet: options.fleet, package: { name: held.name, version: held.version, digest: held.digest, size_bytes: held.bytes.byteLength } };
  const json = { ...what, dry_run: options.dryRun, spec, ...planJson(spec, plan, devices) };
  if (options.dryRun) return { json, text: planText(what, spec, plan) };
  if (plan.devices.length === 0) throw new DeployError('E_ROLLOUT', `No device is left for the waves: of ${devices.length}, ${plan.already.length} run ${held.name} ${held.version} already`, { details: json });
  const folder = options.store ?? handoverFolder();
  await handOver(folder, { ...options, rollouts: true }, held);
  withStore(folder, (store) => store.create({ id, fleet: options.fleet, package: wanted, spec, created_ms: Date.now(), created_by: userName() }, plan.devices));
  return { json, text: `${planText(what, spec, plan)}\n\nBegun. sterna rollout status ${id}` };
}

/** @throws DeployError E_USAGE */
function specOf(options: CreateOptions, id: string): RolloutSpec {
  const spec = specSchema.safeParse({
    waves: options.wave.length === 0 ? defaultSpec.waves : options.wave.map(parseWave),
    min_success_percent: options.minSuccess, max_error_percent: options.maxErrors, min_samples: options.minSamples,
    spread_ms: options.spread * 1000, soak_ms: options.soak * 1000, timeout_ms: options.timeout * 1000, on_halt: options.onHalt, seed: options.seed ?? id,
  });
  if (spec.success) return spec.data;
  const issue = spec.error.issues[0];
  throw new DeployError('E_USAGE', `The roll-out cannot be read: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

/** @throws DeployError E_BROKER_CONNECT, E_DEVICE_UNKNOWN, E_DEVICE_PIPELINE */
async function candidates(options: CreateOptions, guard: ReportGuard, signal: AbortSignal): Promise<PlanDevice[]> {
  const labels = parseLabels(options.label);
  const fleet = await openFleet(brokerLink(options), options.fleet, { guard });
  try {
    const records = (await discovered(fleet, signal)).filter(({ reported }) => reported !== null);
    const chosen = records.filter((record) => hasLabels(labelsOf(record), labels));
    if (chosen.length === 0) throw new DeployError('E_DEVICE_UNKNOWN', `No device of fleet ${options.fleet} ${options.label.length === 0 ? 'has reported to this broker' : 'that has reported has these labels'}`, { details: { fleet: options.fleet, reported: records.length } });
    return chosen.map(({ device, reported, caps }) => {
      const pipeline = chosenPipeline(device, reported?.pipelines.map(({ name }) => name) ?? [], options.pipeline);
      return { device, pipeline, labels: labelsOf({ reported, caps }), active: reported?.pipelines.find(({ name }) => name === pipeline)?.slots.active?.digest ?? null };
    });
  } finally {
    await fleet.close();
  }
}

function planJson(spec: RolloutSpec, { devices, already, left_out }: Plan, known: readonly PlanDevice[]): Record<string, unknown> {
  const waves = spec.waves.map((wave, index) => ({
    name: waveName(wave), earliest_s: (index * spec.soak_ms) / 1000,
    devices: devices.filter((device) => device.wave === index).map(({ device, pipeline, offset_ms }) => ({ device, pipeline, start_s: offset_ms / 1000 })),
  }));
  return { devices: known.length, waves, already, left_out };
}

function status(_self: Command, id: string | undefined, options: { store?: string; devices: boolean; check: boolean }): Promise<Report> {
  return Promise.resolve(withStore(options.store, (store): Report => {
    const newest = id === undefined ? store.list()[0] : store.require(id);
    if (newest === undefined) throw new DeployError('E_ROLLOUT', 'There is no roll-out here. Begin one: sterna rollout create');
    const view = rolloutView(store, newest);
    const devices = options.devices ? store.devices(newest.id).map(deviceView) : null;
    const bad = view.halt !== null || view.phase === 'aborting' || view.phase === 'aborted';
    return { json: { ...view, ...(devices === null ? {} : { devices }) }, text: statusText(view, devices), ...(options.check && bad ? { exitCode: exitCodes.failed } : {}) };
  }));
}

async function change(kind: RequestKind, id: string | undefined, folder: string | undefined): Promise<Report> {
  const place = folder ?? handoverFolder();
  const store = new RolloutStore(rolloutFile(place));
  try {
    const rollout = id === undefined ? onlyUnfinished(store, kind) : store.require(id);
    store.request(rollout.id, { kind, by: userName() }, Date.now());
    const taken = await isTaken(store, rollout.id);
    const now = rolloutView(store, store.require(rollout.id));
    const server = taken ? null : await askHandover(place, rollout.fleet);
    const text = taken ? `${rollout.id}: ${now.phase}` : `${rollout.id}: noted. ${server?.rollouts === true ? 'The server is busy and will do it' : 'No server carries out its roll-outs; it is done when one runs: sterna fleet serve --repository FOLDER'}`;
    return { json: { id: rollout.id, request: kind, done: taken, phase: now.phase }, text };
  } finally {
    store.close();
  }
}

async function isTaken(store: RolloutStore, id: string): Promise<boolean> {
  for (let waited = 0; waited < TAKEN_MS; waited += LOOK_MS) {
    if (store.nextRequest(id) === null) return true;
    await sleep(LOOK_MS);
  }
  return store.nextRequest(id) === null;
}

function onlyUnfinished(store: RolloutStore, kind: RequestKind): Rollout {
  const open = store.list().filter(({ state }) => !isFinished(state));
  const [only] = open;
  if (only !== undefined && open.length === 1) return only;
  throw new DeployError('E_ROLLOUT', open.length === 0 ? `There is no unfinished roll-out to ${kind}` : `There are ${open.length} unfinished roll-outs: name one of ${open.map(({ id }) => id).join(', ')}`);
}

function withStore<T>(folder: string | undefined, work: (store: RolloutStore) => T): T {
  const store = new RolloutStore(rolloutFile(folder ?? handoverFolder()));
  try {
    return work(store);
  } finally {
    store.close();
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown'); // a user without an entry in the system's list
  }
}
