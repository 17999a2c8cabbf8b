import type { Command } from 'commander';
import { createCommandKey, createKey, readKey, rewriteKey } from '../../repository/keys.js';
import { DeployError } from '../../errors.js';
import { reporting } from '../output.js';
import { passphraseOf } from '../signing-options.js';

interface CreateOptions {
  passphrase: boolean;
  passphraseFile?: string;
  public?: string;
}

export function register(program: Command): void {
  const keys = program
    .command('keys')
    .summary('make and encrypt the keys that sign updates')
    .description('Keys are Ed25519, one in each file. A file is encrypted with a passphrase, or names a command that signs, for example with a PKCS#11 token: then the private key never comes to this machine.');
  keys
    .command('create')
    .summary('make a key')
    .description('Writes a new key to FILE (mode 0600). It is encrypted with the passphrase of --passphrase-file or STERNA_PASSPHRASE, unless you give --no-passphrase. With --public and a command after "--", the file names that command instead: it reads the bytes to sign from standard input, and writes the signature to standard output.')
    .argument('<file>', 'the key file; it must not exist')
    .argument('[command...]', 'with --public: the program that signs, and its arguments')
    .option('--public <hex>', 'public key of a key that stays elsewhere: 64 hexadecimal digits')
    .option('--passphrase-file <file>', 'file that holds the passphrase; default: the variable STERNA_PASSPHRASE')
    .option('--no-passphrase', 'do not encrypt the key: whoever reads the file can sign')
    .action(reporting((_self: Command, file: string, command: string[], options: CreateOptions) => {
      if ((options.public !== undefined) !== (command.length > 0)) throw new DeployError('E_USAGE', 'Expected both --public and a command after "--", or neither');
      const made = options.public === undefined ? createKey(file, newPassphrase(options)) : createCommandKey(file, options.public, command);
      return Promise.resolve({ json: { file, id: made.id, public: made.public }, text: `${file}: key ${made.id}` });
    }));
  keys
    .command('show')
    .summary('print ids and public values')
    .description('Prints the id and the public value of each key, and how its private part is kept.')
    .argument('<files...>', 'key files')
    .action(reporting((_self: Command, files: string[]) => {
      const shown = files.map((file) => ({ file, ...readKey(file) }));
      return Promise.resolve({ json: { keys: shown }, text: shown.map(({ file, id, public: value, kept }) => `${file}: key ${id}\n  public ${value}, ${kept}`).join('\n') });
    }));
  keys
    .command('passphrase')
    .summary('change the passphrase of a key')
    .description('Encrypts a key file with another passphrase. The old passphrase comes from --passphrase-file or STERNA_PASSPHRASE.')
    .argument('<file>', 'the key file')
    .option('--passphrase-file <file>', 'file that holds the old passphrase')
    .option('--new-passphrase-file <file>', 'file that holds the new passphrase')
    .option('--remove', 'leave the key unencrypted', false)
    .action(reporting((_self: Command, file: string, options: { passphraseFile?: string; newPassphraseFile?: string; remove: boolean }) => {
      if (options.remove === (options.newPassphraseFile !== undefined)) throw new DeployError('E_USAGE', 'Expected either --new-passphrase-file FILE or --remove');
      const next = options.newPassphraseFile === undefined ? undefined : passphraseOf({ passphraseFile: options.newPassphraseFile })();
      const { id } = rewriteKey(file, passphraseOf(options), next);
      return Promise.resolve({ json: { file, id, encrypted: next !== undefined }, text: `${file}: key ${id} is ${next === undefined ? 'no longer encrypted' : 'encrypted with the new passphrase'}` });
    }));
}

/** Undefined with --no-passphrase. @throws DeployError E_USAGE without any statement */
export function newPassphrase(options: { passphrase: boolean; passphraseFile?: string }): string | undefined {
  if (!options.passphrase) return undefined;
  const given = passphraseOf(options)();
  if (given === undefined) throw new DeployError('E_USAGE', 'Expected a passphrase (--passphrase-file FILE, or the variable STERNA_PASSPHRASE), or --no-passphrase');
  return given;
}
