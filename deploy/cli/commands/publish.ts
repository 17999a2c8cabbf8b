import type { Command } from 'commander';
import { DeployError } from '../../errors.js';
import { handoverFolder, handOver } from '../../publish/handover.js';
import type { Outcome } from '../../publish/outcome.js';
import { loadPackage, type HeldPackage } from '../../publish/packages.js';
import { chosenPipeline } from '../../publish/pipeline.js';
import { Publisher } from '../../publish/publisher.js';
import { isUpdating, loadSettings, type HeldSettings } from '../../publish/settings.js';
import { wantedDevices } from '../../publish/wanted.js';
import { addBrokerOptions, brokerLink, rateOption, storeOption, type BrokerOptions } from '../broker-options.js';
import { interruptible } from '../interrupt.js';
import { integer, repeated } from '../options.js';
import { reportGuard } from '../report-options.js';
import { addSigningOptions, directorOf, type SigningOptions } from '../signing-options.js';
import { Exit, emit, exitCodes, log, reporting, wantsJson, type Report } from '../output.js';
import { progressOf, progressOutput, ProgressView } from '../progress.js';
import { formatBytes } from '../table.js';

interface PublishOptions extends BrokerOptions, SigningOptions {
  fleet: string;
  device: string[];
  all: boolean;
  pipeline?: string;
  settings?: string;
  detach: boolean;
  store?: string;
  timeout: number;
  rate: number;
}

interface DeviceResult {
  device: string;
  /** Null when it was not chosen. */
  pipeline: string | null;
  /** Null when it was not asked. */
  generation: number | null;
  /** committed, rejected, rolled_back, superseded, asked (--detach), timeout or interrupted. */
  state: string;
  error: { code: string; message: string } | null;
}

export function register(program: Command): void {
  addSigningOptions(addBrokerOptions(program
    .command('publish')
    .summary('tell devices to run a package, and send it to them; or to change settings')
    .description('States that devices should run a package (retained on the broker), sends them its blocks, and ends when every device has settled: it runs the package, has rejected it, or has rolled back. Exits with 0 only if all of them run it, with 1 if one of them does not, and with 5 if one did not finish in time. An interrupted or late device continues when the package is published again. With --detach a running `sterna fleet serve` sends the blocks, and the command ends at once. With --settings the devices take other settings (thresholds, zones, rules), with the package or without one.')
    .argument('[package]', 'a .sterna file; may be absent with --settings')
    .requiredOption('--fleet <name>', 'the fleet of the devices')
    .option('--device <name>', 'a device; may be repeated', repeated, [])
    .option('--all', 'every device of the fleet that has reported to this broker', false)
    .option('--pipeline <name>', 'the pipeline of each device that shall run it; default: its only one, or main')
    .option('--settings <file>', 'a JSON file of settings, which sterna repository add has signed; it replaces those that the pipeline has')
    .option('--detach', 'hand the package over to a running `sterna fleet serve` and do not wait', false)
    .addOption(storeOption('with --detach: the folder of that server'))
    .option('--timeout <seconds>', 'stop waiting after this time', integer(1), 600)
    .addOption(rateOption())))
    .action(reporting(publish));
}

/** What devices shall have: a package, settings, or both. */
interface Subject {
  held: HeldPackage | null;
  settings: HeldSettings | null;
  /** In words, without the devices. */
  name: string;
}

async function publish(self: Command, path: string | undefined, options: PublishOptions): Promise<Report> {
  if (options.all === (options.device.length > 0)) throw new DeployError('E_USAGE', 'Expected either --all or --device NAME');
  const link = brokerLink(options);
  const director = directorOf(options);
  const subject = await subjectOf(path, options.settings);
  if (subject.settings !== null) director?.settingsVersion(subject.settings, options.fleet);
  if (options.detach) await handOver(options.store ?? handoverFolder(), options, packageOf(subject));
  const publisher = new Publisher({ ...link, fleet: options.fleet, guard: reportGuard(self, options), blocksPerSecond: options.rate, ...(director === null ? {} : { signer: director }) });
  return interruptible('Interrupted before every device was done. A device goes on when the package is published again', async (signal) => {
    publisher.once('refused', (_device, { code, message }) => log(self, `WARNING: a report was refused, perhaps not the only one (${code}): ${message}`));
    await publisher.start();
    try {
      const devices = await wantedDevices(publisher, { fleet: options.fleet, names: options.all ? null : options.device, signal });
      const view = new ProgressView(progressOutput((line) => log(self, line), wantsJson(self)));
      const results = await Promise.all(devices.map((device) => deploy({ publisher, subject, view, options, signal }, device)));
      return finish(self, { subject, results, sent: { ...publisher.stats } });
    } finally {
      await publisher.stop();
    }
  });
}

/** @throws DeployError E_USAGE, E_FILE, E_SETTINGS; RuntimeError E_PACKAGE */
async function subjectOf(path: string | undefined, settingsPath: string | undefined): Promise<Subject> {
  if (path === undefined && settingsPath === undefined) throw new DeployError('E_USAGE', 'Expected a package, --settings FILE, or both');
  const held = path === undefined ? null : await loadPackage(path);
  const settings = settingsPath === undefined ? null : await loadSettings(settingsPath);
  const names = [...(held === null ? [] : [`${held.name} ${held.version}`]), ...(settings === null ? [] : [`the settings ${settings.name}`])];
  return { held, settings, name: names.join(' with ') };
}

/** @throws DeployError E_USAGE */
function packageOf({ held }: Subject): HeldPackage {
  if (held !== null) return held;
  throw new DeployError('E_USAGE', '--detach hands a package over, and settings alone have none to send: leave it out');
}

interface Deployment {
  publisher: Publisher;
  subject: Subject;
  view: ProgressView;
  options: PublishOptions;
  signal: AbortSignal;
}

/** One device to its end; what went wrong is its result, so that the others go on. */
async function deploy({ publisher, subject, view, options, signal }: Deployment, device: string): Promise<DeviceResult> {
  let generation: number | null = null;
  let pipeline: string | null = null;
  const { held, settings } = subject;
  const show = (name: string): void => {
    if (name !== device || generation === null || pipeline === null || held === null) return;
    const text = progressOf(publisher.known(device, pipeline), held.digest, generation);
    if (text !== null) view.set(device, text);
  };
  publisher.on('changed', show);
  try {
    pipeline = chosenPipeline(device, publisher.pipelines(device), options.pipeline);
    if (held === null && isUpdating(publisher.known(device, pipeline))) throw new DeployError('E_DEVICE_UPDATING', `${device} is being updated, and settings alone would end that: publish them when it is done, or together with the package`);
    generation = await publisher.publish(device, held, settings?.settings, pipeline);
    if (options.detach) return { device, pipeline, generation, state: 'asked', error: null };
    show(device);
    const waiting = { timeoutMs: options.timeout * 1000, signal, pipeline };
    const outcome = held === null ? await publisher.settingsOutcome(device, settings?.settings ?? {}, generation, waiting) : await publisher.outcome(device, held.digest, generation, waiting);
    if (held === null) view.set(device, outcome.state.replace('_', ' '));
    return resultOf({ pipeline, generation }, outcome);
  } catch (error) {
    if (!(error instanceof DeployError)) throw error;
    const states: Partial<Record<typeof error.code, string>> = { E_DEVICE_TIMEOUT: 'timeout', E_INTERRUPTED: 'interrupted' };
    return { device, pipeline, generation, state: states[error.code] ?? 'failed', error: { code: error.code, message: error.message } };
  } finally {
    publisher.off('changed', show);
  }
}

function resultOf(asked: { pipeline: string; generation: number }, { address: { device }, state, reported, error: why }: Outcome): DeviceResult {
  if (state === 'committed') return { device, ...asked, state, error: null };
  if (state === 'superseded') {
    const other = reported.ota.package;
    return { device, ...asked, state, error: { code: 'E_DEVICE_SUPERSEDED', message: `Somebody else asked for ${other === null ? 'something else' : `${other.name} ${other.version}`} meanwhile` } };
  }
  return { device, ...asked, state, error: why ?? { code: 'E_DEVICE_REJECTED', message: 'the device gives no reason' } };
}

/** Devices that refused outweigh late ones, and those an interrupt: what is certain decides. */
function exitCodeOf(results: readonly DeviceResult[]): number {
  const failed = results.filter(({ error }) => error !== null);
  if (failed.length === 0) return exitCodes.ok;
  if (failed.some(({ state }) => state !== 'timeout' && state !== 'interrupted')) return exitCodes.failed;
  return failed.some(({ state }) => state === 'timeout') ? exitCodes.timeout : exitCodes.interrupted;
}

const errorCodes: Readonly<Record<number, DeployError['code']>> = { [exitCodes.failed]: 'E_DEVICE_REJECTED', [exitCodes.timeout]: 'E_DEVICE_TIMEOUT', [exitCodes.interrupted]: 'E_INTERRUPTED' };

function finish(self: Command, { subject, results, sent }: { subject: Subject; results: DeviceResult[]; sent: Publisher['stats'] }): Report {
  const { held, settings, name } = subject;
  const json = {
    ...(held === null ? {} : { name: held.name, version: held.version, sha256: held.digest, bytes: held.bytes.byteLength }),
    ...(settings === null ? {} : { settings: { name: settings.name, sha256: settings.digest } }), devices: results, sent,
  };
  const text = [held === null ? name : `${name}, ${formatBytes(held.bytes.byteLength)}, ${held.digest}`, ...results.map(resultText)].join('\n');
  const exit = exitCodeOf(results);
  if (exit === exitCodes.ok) return { json, text };
  const code = errorCodes[exit] ?? 'E_DEVICE_REJECTED';
  const failed = results.filter(({ error }) => error !== null);
  const lacking = `${results.length === 1 ? 'device does' : 'devices do'} not ${held === null ? 'have' : 'run'}`;
  const message = `${failed.length} of ${results.length} ${lacking} ${name}: ${failed.map(resultText).join('; ')}`;
  emit(self, { json: { error: { code, message, details: json } }, text });
  if (!wantsJson(self)) log(self, `sterna: ${code}: ${message}`);
  throw new Exit(exit);
}

function resultText({ device, state, error }: DeviceResult): string {
  return `${device}: ${state.replace('_', ' ')}${error === null ? '' : ` (${error.code}: ${error.message})`}`;
}
