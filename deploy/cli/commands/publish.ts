import type { Command } from 'commander';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeployError } from '../../errors.js';
import { loadPackage } from '../../publish/packages.js';
import { Publisher, type Outcome } from '../../publish/publisher.js';
import { integer } from '../options.js';
import { log, reporting, type Report } from '../output.js';
import { formatBytes } from '../table.js';

interface PublishOptions {
  broker: string;
  fleet: string;
  device: string[];
  all: boolean;
  wait: boolean;
  timeout: number;
  username?: string;
  passwordEnv?: string;
  ca?: string;
  rate: number;
}

/** Retained reports of a fleet arrive at once after subscribing; nothing says which was the last. */
const DISCOVERY_MS = 1500;

interface DeviceResult {
  device: string;
  generation: number;
  state: string;
  error: { code: string; message: string } | null;
}

export function register(program: Command): void {
  program
    .command('publish')
    .summary('tell devices to run a package, and send it to them')
    .description('States that devices should run a package (retained on the broker), and answers their requests for its blocks until all are done. Without --wait it only states it: a device gets the blocks when any publisher holds the package. Exits with 1 when a device refuses it.')
    .argument('<package>', 'a .sterna file')
    .requiredOption('--broker <url>', 'mqtt://host:1883, mqtts://..., ws://... or wss://...')
    .requiredOption('--fleet <name>', 'the fleet of the devices')
    .option('--device <name>', 'a device; may be repeated', (text: string, previous: string[]) => [...previous, text], [])
    .option('--all', 'every device of the fleet that has reported to this broker', false)
    .option('--wait', 'serve the blocks until every device has committed or refused it', false)
    .option('--timeout <seconds>', 'give up waiting after so long', integer(1), 600)
    .option('--username <name>', 'for the broker')
    .option('--password-env <variable>', "environment variable with the broker's password")
    .option('--ca <pem>', "authority of the broker's certificate")
    .option('--rate <blocks>', 'blocks a second, at most', integer(1), 80)
    .action(reporting(publish));
}

async function publish(self: Command, path: string, options: PublishOptions): Promise<Report> {
  if (options.all === (options.device.length > 0)) throw new DeployError('E_USAGE', 'Expected either --all or --device NAME');
  const held = await loadPackage(path);
  const publisher = new Publisher(publisherOptions(options));
  await publisher.start();
  const stop = new AbortController();
  const interrupt = (): void => stop.abort(new DeployError('E_DEVICE_TIMEOUT', 'Interrupted before every device was done'));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    await sleep(DISCOVERY_MS, undefined, { signal: stop.signal }).catch(() => stop.signal.throwIfAborted());
    const devices = options.all ? publisher.devices() : options.device;
    if (devices.length === 0) throw new DeployError('E_PUBLISH', `No device of fleet ${options.fleet} has reported to this broker`);
    const progress = progressLog(self, publisher, held.digest);
    publisher.on('reported', progress);
    const results: DeviceResult[] = await Promise.all(devices.map(async (device) => {
      const generation = await publisher.publish(device, held);
      log(self, `sterna: ${device}: asked to run ${held.name} ${held.version} (generation ${generation})`);
      if (!options.wait) return { device, generation, state: 'asked', error: null };
      return resultOf(generation, await publisher.outcome(device, held.digest, generation, { timeoutMs: options.timeout * 1000, signal: stop.signal }));
    }));
    const json = { name: held.name, version: held.version, sha256: held.digest, bytes: held.bytes.byteLength, devices: results, sent: { ...publisher.stats } };
    const refused = results.filter(({ error }) => error !== null);
    if (refused.length > 0) throw new DeployError('E_DEVICE_REJECTED', refused.map(resultText).join('; '), { details: json });
    return {
      json,
      text: [`${held.name} ${held.version}, ${formatBytes(held.bytes.byteLength)}, ${held.digest}`, ...results.map(resultText)].join('\n'),
    };
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    await publisher.stop();
  }
}

function publisherOptions({ broker, fleet, username, passwordEnv, ca, rate }: PublishOptions): ConstructorParameters<typeof Publisher>[0] {
  const password = passwordEnv === undefined ? undefined : process.env[passwordEnv];
  if (passwordEnv !== undefined && password === undefined) throw new DeployError('E_USAGE', `The environment variable ${passwordEnv} is not set`);
  return {
    url: broker, fleet, blocksPerSecond: rate,
    ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }), ...(ca === undefined ? {} : { caFile: ca }),
  };
}

function resultOf(generation: number, { address, state, reported }: Outcome): DeviceResult {
  const error = state === 'committed' ? null : reported.ota.error ?? { code: 'E_DEVICE_REJECTED', message: state };
  return { device: address.device, generation, state, error };
}

function resultText({ device, state, error }: DeviceResult): string {
  return `${device}: ${state}${error === null ? '' : ` (${error.code}: ${error.message})`}`;
}

/** One line a state of a device, and one at every quarter of a transfer. */
function progressLog(self: Command, publisher: Publisher, digest: string): (address: { device: string }) => void {
  const last = new Map<string, string>();
  return ({ device }) => {
    const ota = publisher.reported(device)?.ota;
    if (ota === undefined || ota.package?.digest !== digest) return;
    const quarter = ota.blocks_total === 0 ? 0 : Math.floor((4 * ota.blocks_done) / ota.blocks_total);
    const line = `${ota.state}${ota.state === 'downloading' ? ` ${quarter * 25} %` : ''}`;
    if (last.get(device) === line) return;
    last.set(device, line);
    log(self, `sterna: ${device}: ${line}`);
  };
}
