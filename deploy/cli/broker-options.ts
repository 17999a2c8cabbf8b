import { Option, type Command } from 'commander';
import { DeployError } from '../errors.js';
import type { LinkOptions } from '../mqtt/link.js';
import { readSmallFile } from './files.js';
import { integer } from './options.js';
import { addReportOptions, type ReportOptions } from './report-options.js';

/** How every command that talks to a broker reaches it. The same as in the `broker` part of sterna.yaml. */
export interface BrokerOptions extends Pick<ReportOptions, 'access' | 'unsignedReports'> {
  broker: string;
  username?: string;
  passwordEnv?: string;
  passwordFile?: string;
  ca?: string;
  cert?: string;
  key?: string;
  serverName?: string;
}

export function addBrokerOptions(command: Command): Command {
  return addReportOptions(command
    .requiredOption('--broker <url>', 'mqtt://host:1883, mqtts://host:8883, ws://... or wss://...')
    .option('--username <name>', 'user name for the broker')
    .option('--password-env <variable>', "environment variable that holds the broker's password")
    .option('--password-file <file>', "file that holds the broker's password")
    .option('--ca <pem>', "certificate authority of the broker; default: the public authorities")
    .option('--cert <pem>', 'client certificate, if the broker requires one (mutual TLS)')
    .option('--key <pem>', 'private key of --cert')
    .option('--server-name <name>', "name in the broker's certificate, if it is not the host of --broker"));
}

/** The folder that commands share with the server of a fleet: `handoverFolder()` when it is not stated. @param what the folder is for this command */
export const storeOption = (what: string): Option => new Option('--store <folder>', `${what}; default: STERNA_FLEET_DIR, else ~/.local/state/sterna/fleet`);

/** Of commands that send blocks. */
export const rateOption = (): Option => new Option('--rate <blocks>', 'at most this many messages with blocks per second; AWS IoT Core takes 100').argParser(integer(1)).default(4000);

/**
 * The options as a link. Options of TLS with an address that does not encrypt are refused, not ignored.
 * @throws DeployError E_USAGE, E_FILE
 */
export function brokerLink(options: BrokerOptions): Omit<LinkOptions, 'clientId'> {
  const { broker, username, ca, cert, key, serverName } = options;
  if (!/^(mqtts?|wss?|tcp|ssl):\/\/[^/\s]+/.test(broker)) {
    throw new DeployError('E_USAGE', `Expected --broker mqtt://host[:port], mqtts://..., ws://... or wss://... but received ${JSON.stringify(broker)}`);
  }
  const tls = Object.entries({ '--ca': ca, '--cert': cert, '--key': key, '--server-name': serverName }).filter(([, value]) => value !== undefined).map(([name]) => name);
  if (tls.length > 0 && !/^(mqtts|wss|ssl):/.test(broker)) {
    throw new DeployError('E_USAGE', `${tls.join(', ')} need an encrypted connection, but ${broker.split(':')[0] ?? ''}:// is not encrypted: use mqtts:// or wss://`);
  }
  if ((cert === undefined) !== (key === undefined)) throw new DeployError('E_USAGE', 'Expected both --cert and --key, or neither');
  const password = passwordOf(options);
  return {
    url: broker,
    ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }),
    ...(ca === undefined ? {} : { caFile: ca }), ...(cert === undefined ? {} : { certFile: cert }), ...(key === undefined ? {} : { keyFile: key }),
    ...(serverName === undefined ? {} : { serverName }),
  };
}

function passwordOf({ passwordEnv, passwordFile }: BrokerOptions): string | undefined {
  if (passwordEnv !== undefined && passwordFile !== undefined) throw new DeployError('E_USAGE', 'Expected --password-env or --password-file, not both');
  if (passwordFile !== undefined) return readSmallFile(passwordFile).toString('utf8').trimEnd();
  const password = passwordEnv === undefined ? undefined : process.env[passwordEnv];
  if (passwordEnv !== undefined && password === undefined) throw new DeployError('E_USAGE', `The environment variable ${passwordEnv} is not set`);
  return password;
}
