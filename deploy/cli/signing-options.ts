import type { Command } from 'commander';
import { DeployError } from '../errors.js';
import { Director } from '../repository/director.js';
import type { Passphrase } from '../repository/keys.js';
import { Repository } from '../repository/repository.js';
import { readSmallFile } from './files.js';
import { repeated } from './options.js';

/** Where keys come from. */
export interface KeyOptions {
  signingKey: string[];
  passphraseFile?: string;
}

export interface SigningOptions extends KeyOptions {
  repository?: string;
  unsigned: boolean;
}

export function addKeyOptions(command: Command): Command {
  return command
    .option('--signing-key <file>', 'a key file besides those in the repository; may be repeated', repeated, [])
    .option('--passphrase-file <file>', 'file that holds the passphrase of encrypted keys; default: the variable STERNA_PASSPHRASE');
}

export function addRepositoryOption(command: Command): Command {
  return command.option('--repository <folder>', 'the repository (sterna repository init); default: the variable STERNA_REPOSITORY');
}

/** Of commands that change a device. */
export function addSigningOptions(command: Command): Command {
  return addKeyOptions(addRepositoryOption(command))
    .option('--unsigned', 'send without signatures: only devices in the unsigned mode of development accept it', false);
}

/** @throws DeployError E_FILE */
export function passphraseOf({ passphraseFile }: Pick<KeyOptions, 'passphraseFile'>): Passphrase {
  return () => {
    if (passphraseFile === undefined) return process.env['STERNA_PASSPHRASE'];
    return readSmallFile(passphraseFile).toString('utf8').replace(/\r?\n$/, '');
  };
}

/** @throws DeployError E_USAGE, E_REPOSITORY */
export function openRepository(options: KeyOptions & { repository?: string }): Repository {
  const path = options.repository ?? process.env['STERNA_REPOSITORY'];
  if (path === undefined) throw new DeployError('E_USAGE', 'Expected --repository FOLDER, or the variable STERNA_REPOSITORY');
  return Repository.open(path, { passphrase: passphraseOf(options), keyFiles: options.signingKey });
}

/** What signs for devices; null with --unsigned. @throws DeployError E_USAGE, E_REPOSITORY */
export function directorOf(options: SigningOptions): Director | null {
  if (options.unsigned && options.repository !== undefined) throw new DeployError('E_USAGE', 'Expected --repository or --unsigned, not both');
  if (options.unsigned) return null;
  if (options.repository === undefined && process.env['STERNA_REPOSITORY'] === undefined) {
    throw new DeployError('E_USAGE', 'Devices accept only what is signed: expected --repository FOLDER (sterna repository init makes one), or --unsigned for devices in the unsigned mode of development');
  }
  return new Director(openRepository(options));
}
