import type { Command } from 'commander';
import { join } from 'node:path';
import { DeployError } from '../../errors.js';
import { loadPackage } from '../../publish/packages.js';
import { loadSettings } from '../../publish/settings.js';
import type { RepositoryName } from '../../repository/folder.js';
import { createKey, readKey, type PublicKey } from '../../repository/keys.js';
import { Repository, type Progress } from '../../repository/repository.js';
import type { InitKeys, RoleKeysInput } from '../../repository/roles.js';
import { repositoryStatus, statusText } from '../../repository/status.js';
import { integer, repeated } from '../options.js';
import { exitCodes, reporting, type Report } from '../output.js';
import { addKeyOptions, addRepositoryOption, openRepository, passphraseOf, type KeyOptions } from '../signing-options.js';
import { newPassphrase } from './keys.js';

type Options = KeyOptions & { repository?: string };

export function register(program: Command): void {
  const group = program
    .command('repository')
    .summary('sign packages, so that devices accept them')
    .description('A folder of TUF metadata (The Update Framework): which packages exist, signed by keys that can stay offline, and which keys may tell devices what to run. Any web server can host its folder image/. A change that lacks signatures is kept in staged/ until `sterna repository sign` completes it, on this or another machine.');
  registerInit(group);
  registerPackages(group);
  registerKeys(group);
  addRepositoryOption(group.command('status').summary('versions, expiries, keys, packages and missing signatures').description('Prints what the repository holds. Exits with 1 with --check if something has expired, expires within --within days, or lacks signatures.'))
    .option('--check', 'exit with 1 when something needs attention', false)
    .option('--within <days>', 'how early an expiry counts', integer(0), 7)
    .action(reporting((_self: Command, options: { repository?: string; check: boolean; within: number }) => {
      const status = repositoryStatus(openRepository({ ...options, signingKey: [] }), Date.now(), options.within);
      return Promise.resolve({ json: { ...status }, text: statusText(status), ...(options.check && status.attention.length > 0 ? { exitCode: exitCodes.failed } : {}) });
    }));
}

interface InitOptions {
  rootKeys: number;
  rootThreshold?: number;
  targetsKeys: number;
  targetsThreshold?: number;
  rootKey: string[];
  passphrase: boolean;
  passphraseFile?: string;
}

function registerInit(group: Command): void {
  group
    .command('init')
    .summary('make a repository and its keys')
    .description('Makes the keys of every role in FOLDER/keys, and signs the first metadata. The keys of root and targets belong offline: move their files away, and name them with --signing-key when you need them. The keys of snapshot, timestamp and director are used at every publication.')
    .argument('<folder>', 'the new repository')
    .option('--root-keys <n>', 'keys of the role root', integer(1), 1)
    .option('--root-threshold <n>', 'how many of them must sign; default: more than half', integer(1))
    .option('--root-key <file>', 'an existing key file for root, instead of new ones; may be repeated', repeated, [])
    .option('--targets-keys <n>', 'keys of the role targets, which signs packages', integer(1), 1)
    .option('--targets-threshold <n>', 'how many of them must sign; default: more than half', integer(1))
    .option('--passphrase-file <file>', 'file that holds the passphrase of the new keys; default: the variable STERNA_PASSPHRASE')
    .option('--no-passphrase', 'do not encrypt the keys')
    .action(reporting((_self: Command, folder: string, options: InitOptions) => {
      const passphrase = newPassphrase(options);
      const make = (role: string, count: number, threshold = Math.floor(count / 2) + 1): RoleKeysInput =>
        ({ keys: Array.from({ length: count }, (_, i) => createKey(join(folder, 'keys', count === 1 ? `${role}.json` : `${role}-${i + 1}.json`), passphrase)), threshold });
      const given = options.rootKey.map((file) => readKey(file));
      const root = given.length === 0 ? make('root', options.rootKeys, options.rootThreshold) : { keys: given, threshold: options.rootThreshold ?? Math.floor(given.length / 2) + 1 };
      const keys: InitKeys = { root, targets: make('targets', options.targetsKeys, options.targetsThreshold), snapshot: make('snapshot', 1), timestamp: make('timestamp', 1), director: make('director', 1), operator: make('operator', 1) };
      const { progress } = Repository.init(folder, keys, { passphrase: () => passphrase ?? passphraseOf(options)(), keyFiles: options.rootKey });
      return Promise.resolve(progressReport(progress, `${folder}: a repository without packages. Add one: sterna repository add PACKAGE --repository ${folder}`));
    }));
}

function registerPackages(group: Command): void {
  withKeys(group.command('add').summary('sign packages and settings').description('Adds packages, and signs that devices may run them. A .json file is a release of settings: its name is that of the file, and its counter grows by one with each change.').argument('<files...>', '.sterna files, or .json files of settings'))
    .option('--fleet <name>', 'only devices of this fleet may run them; default: all')
    .option('--hardware <id>', 'hardware that they are for (trust.hardware_id of the devices); may be repeated; default: x64 and arm64', repeated, [])
    .action(reporting(async (_self: Command, files: string[], options: Options & { fleet?: string; hardware: string[] }) => {
      const repository = openRepository(options);
      const hardwareIds = options.hardware.length === 0 ? ['x64', 'arm64'] : options.hardware;
      const of = options.fleet === undefined ? {} : { fleet: options.fleet };
      const held = await Promise.all(files.map((file) => (file.endsWith('.json') ? loadSettings(file) : loadPackage(file))));
      const done = held.map((one) => ('settings' in one ? repository.addSettings(one, options.fleet) : repository.add(one, { hardwareIds, releaseCounter: one.releaseCounter, ...of })));
      const progress = { published: done.flatMap(({ progress: { published } }) => published), pending: repository.pending() };
      return progressReport(progress, done.map(({ path }) => path).join('\n'), { packages: done.map(({ path }) => path) });
    }));
  withKeys(group.command('remove').summary('withdraw a package').description('Takes a package out of the repository. Devices that run it keep it; no device installs it any more.').argument('<path>', 'its path, as `status` shows it'))
    .action(reporting((_self: Command, path: string, options: Options) => Promise.resolve(progressReport(openRepository(options).remove(path), `${path} was removed`))));
  withKeys(group.command('sign').summary('sign what is staged, with the keys at hand').description('Signs every staged file with the keys in the repository and those of --signing-key, and publishes what has enough signatures.'))
    .action(reporting((_self: Command, options: Options) => Promise.resolve(progressReport(openRepository(options).sign(), 'signed'))));
  withKeys(group.command('refresh').summary('prolong expiries').description('Signs the timestamp again, and whatever else has passed half of its lifetime. Run it regularly, for example every week: devices install nothing new once metadata has expired.'))
    .action(reporting((_self: Command, options: Options) => Promise.resolve(progressReport(openRepository(options).refresh(), 'refreshed'))));
}

interface RotateOptions extends Options { add: string[]; remove: string[]; threshold?: number; of: RepositoryName }

function registerKeys(group: Command): void {
  withKeys(group.command('rotate').summary('exchange keys of a role').description('Makes a new root in which a role has other keys or another threshold. It needs the signatures of the old root keys and of the new ones. Devices follow it at the next publication.').argument('<role>', 'root, targets, snapshot or timestamp; with --of director: root or director'))
    .option('--of <repository>', 'image or director', (text: string): RepositoryName => {
      if (text !== 'image' && text !== 'director') throw new DeployError('E_USAGE', `Expected --of image or director but received ${text}`);
      return text;
    }, 'image')
    .option('--add <file>', 'key file to add; may be repeated', repeated, [])
    .option('--remove <id>', 'id of a key to remove; may be repeated', repeated, [])
    .option('--threshold <n>', 'how many keys must sign from now on', integer(1))
    .action(reporting((_self: Command, role: string, options: RotateOptions) => {
      const repository = openRepository({ ...options, signingKey: [...options.signingKey, ...options.add] });
      const progress = repository.rotate(options.of, role, { add: options.add.map(readKey), remove: options.remove, ...(options.threshold === undefined ? {} : { threshold: options.threshold }) });
      return Promise.resolve(progressReport(progress, `${role} of ${options.of} has other keys`));
    }));
  withKeys(group.command('delegate').summary('give a fleet keys of its own').description('Packages of this fleet are signed by these keys from now on, which can sign nothing for other fleets.').argument('<fleet>', 'name of the fleet'))
    .requiredOption('--add <file>', 'key file; may be repeated', repeated, [])
    .option('--threshold <n>', 'how many of them must sign', integer(1), 1)
    .action(reporting((_self: Command, fleet: string, options: Options & { add: string[]; threshold: number }) => {
      const repository = openRepository({ ...options, signingKey: [...options.signingKey, ...options.add] });
      return Promise.resolve(progressReport(repository.delegate(fleet, { keys: options.add.map(readKey), threshold: options.threshold }), `fleet ${fleet} has keys of its own`));
    }));
  withKeys(group.command('commands').summary('say who may give which commands').description('Sets a role whose keys may give commands to devices, in a new root of the director. Without --add the role is removed.').argument('<role>', 'name of the role, such as operator'))
    .option('--add <file>', 'key file; may be repeated', repeated, [])
    .option('--allow <command>', 'a command that it may give, or * for all; may be repeated', repeated, [])
    .option('--threshold <n>', 'how many of them must sign', integer(1), 1)
    .action(reporting((_self: Command, name: string, options: Options & { add: string[]; allow: string[]; threshold: number }) => {
      const keys: PublicKey[] = options.add.map(readKey);
      if (keys.length > 0 && options.allow.length === 0) throw new DeployError('E_USAGE', 'Expected at least one --allow COMMAND');
      return Promise.resolve(progressReport(openRepository(options).commandRole(name, { keys, threshold: options.threshold, commands: options.allow }), `${name} ${keys.length === 0 ? 'may give no commands any more' : `may give ${options.allow.join(', ')}`}`));
    }));
}

function withKeys(command: Command): Command {
  return addKeyOptions(addRepositoryOption(command));
}

function progressReport({ published, pending }: Progress, text: string, more: Record<string, unknown> = {}): Report {
  const waiting = pending.map(({ repository, role, version, signatures, threshold, missing }) =>
    `staged: ${repository} ${role} ${version} has ${signatures} of ${threshold} signatures; ${missing.map((id) => id.slice(0, 8)).join(', ')} can sign`);
  return { json: { ...more, published, pending }, text: [text, ...waiting].join('\n') };
}
