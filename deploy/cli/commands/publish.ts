import type { Command } from 'commander';
import { DeployError } from '../../errors.js';
import { handoverFolder, handOver } from '../../publish/handover.js';
import type { Outcome } from '../../publish/outcome.js';
import { loadPackage, type HeldPackage } from '../../publish/packages.js';
import { chosenPipeline } from '../../publish/pipeline.js';
import { Publisher } from '../../publish/publisher.js';
import { wantedDevices } from '../../publish/wanted.js';
import { addBrokerOptions, brokerLink, rateOption, storeOption, type BrokerOptions } from '../broker-options.js';
import { interruptible } from '../interrupt.js';
import { integer, repeated } from '../options.js';
import { addSigningOptions, directorOf, type SigningOptions } from '../signing-options.js';
import { Exit, emit, exitCodes, log, reporting, wantsJson, type Report } from '../output.js';
import { progressOf, progressOutput, ProgressView } from '../progress.js';
import { formatBytes } from '../table.js';

interface PublishOptions extends BrokerOptions, SigningOptions {
  fleet: string;
  device: string[];
  all: boolean;
  pipeline?: string;
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
    .summary('tell devices to run a package, and send it to them')
    .description('States that devices should run a package (retained on the broker), sends them its blocks, and ends when every device has settled: it runs the package, has rejected it, or has rolled back. Exits with 0 only if all of them run it, with 1 if one of them does not, and with 5 if one did not finish in time. An interrupted or late device continues when the package is published again. With --detach a running `sterna fleet serve` sends the blocks, and the command ends at once.')
    .argument('<package>', 'a .sterna file')
    .requiredOption('--fleet <name>', 'the fleet of the devices')
    .option('--device <name>', 'a device; may be repeated', repeated, [])
    .option('--all', 'every device of the fleet that has reported to this broker', false)
    .option('--pipeline <name>', 'the pipeline of each device that shall run it; default: its only one, or main')
    .option('--detach', 'hand the package over to a running `sterna fleet serve` and do not wait', false)
    .addOption(storeOption('with --detach: the folder of that server'))
    .option('--timeout <seconds>', 'stop waiting after this time', integer(1), 600)
    .addOption(rateOption())))
    .action(reporting(publish));
}

async function publish(self: Command, path: string, options: PublishOptions): Promise<Report> {
  if (options.all === (options.device.length > 0)) throw new DeployError('E_USAGE', 'Expected either --all or --device NAME');
  const link = brokerLink(options);
  const director = directorOf(options);
  const held = await loadPackage(path);
  if (options.detach) await handOver(options.store ?? handoverFolder(), options, held);
  const publisher = new Publisher({ ...link, fleet: options.fleet, blocksPerSecond: options.rate, ...(director === null ? {} : { signer: director }) });
  return interruptible('Interrupted before every device was done. A device goes on when the package is published again', async (signal) => {
    await publisher.start();
    try {
      const devices = await wantedDevices(publisher, { fleet: options.fleet, names: options.all ? null : options.device, signal });
      const view = new ProgressView(progressOutput((line) => log(self, line), wantsJson(self)));
      const results = await Promise.all(devices.map((device) => deploy({ publisher, held, view, options, signal }, device)));
      return finish(self, { held, results, sent: { ...publisher.stats } });
    } finally {
      await publisher.stop();
    }
  });
}

interface Deployment {
  publisher: Publisher;
  held: HeldPackage;
  view: ProgressView;
  options: PublishOptions;
  signal: AbortSignal;
}

/** One device to its end; what went wrong is its result, so that the others go on. */
async function deploy({ publisher, held, view, options, signal }: Deployment, device: string): Promise<DeviceResult> {
  let generation: number | null = null;
  let pipeline: string | null = null;
  const show = (name: string): void => {
    if (name !== device || generation === null || pipeline === null) return;
    const text = progressOf(publisher.known(device, pipeline), held.digest, generation);
    if (text !== null) view.set(device, text);
  };
  publisher.on('changed', show);
  try {
    pipeline = chosenPipeline(device, publisher.pipelines(device), options.pipeline);
    generation = await publisher.publish(device, held, undefined, pipeline);
    if (options.detach) return { device, pipeline, generation, state: 'asked', error: null };
    show(device);
    return resultOf({ pipeline, generation }, await publisher.outcome(device, held.digest, generation, { timeoutMs: options.timeout * 1000, signal, pipeline }));
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

function finish(self: Command, { held, results, sent }: { held: HeldPackage; results: DeviceResult[]; sent: Publisher['stats'] }): Report {
  const json = { name: held.name, version: held.version, sha256: held.digest, bytes: held.bytes.byteLength, devices: results, sent };
  const text = [`${held.name} ${held.version}, ${formatBytes(held.bytes.byteLength)}, ${held.digest}`, ...results.map(resultText)].join('\n');
  const exit = exitCodeOf(results);
  if (exit === exitCodes.ok) return { json, text };
  const code = errorCodes[exit] ?? 'E_DEVICE_REJECTED';
  const failed = results.filter(({ error }) => error !== null);
  const message = `${failed.length} of ${results.length} ${results.length === 1 ? 'device does' : 'devices do'} not run ${held.name} ${held.version}: ${failed.map(resultText).join('; ')}`;
  emit(self, { json: { error: { code, message, details: json } }, text });
  if (!wantsJson(self)) log(self, `sterna: ${code}: ${message}`);
  throw new Exit(exit);
}

function resultText({ device, state, error }: DeviceResult): string {
  return `${device}: ${state.replace('_', ' ')}${error === null ? '' : ` (${error.code}: ${error.message})`}`;
}
