import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { rekeyGallery } from '../../../runtime/pipeline/gallery-maintenance.js';
import { createGalleryKey, readGalleryKey } from '../../../runtime/pipeline/gallery-key.js';
import { log, reporting } from '../output.js';

interface RekeyOptions {
  gallery: string;
  keyFile: string;
  newKeyFile: string;
}

export function register(program: Command): void {
  program
    .command('gallery')
    .summary('change the key of an encrypted gallery')
    .description('Works on the file of an encrypted gallery, such as gallery.db in the state folder of a device. Stop the daemon first.')
    .command('rekey')
    .summary('encrypt a gallery with a new key')
    .description('Encrypts every record with a new key, in one transaction: if it is interrupted, the old key is still valid, and the command can be run again. Then put the new key where the daemon reads its key.')
    .requiredOption('--gallery <file>', 'the database of enrolled people; no other program may have it open')
    .requiredOption('--key-file <file>', 'the current key: 64 hexadecimal digits')
    .requiredOption('--new-key-file <file>', 'the new key; the file is created (mode 0600) if it does not exist')
    .action(reporting((self, { gallery, keyFile, newKeyFile }: RekeyOptions) => {
      const from = readGalleryKey(keyFile);
      const made = !existsSync(newKeyFile);
      const to = made ? createGalleryKey(newKeyFile) : readGalleryKey(newKeyFile);
      if (made) log(self, `sterna: made the new key ${newKeyFile}; keep a copy where the device is not`);
      const { people, samples } = rekeyGallery(gallery, { from, to });
      const already = people + samples === 0;
      const text = already ? `Nothing to do: ${gallery} is encrypted with the key ${to.id}` : `Encrypted ${people} names and ${samples} embeddings with the key ${to.id}`;
      return Promise.resolve({ json: { gallery, key_id: to.id, people, samples }, text });
    }));
}
