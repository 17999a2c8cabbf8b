import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** The file of a credential that systemd hands to this service (LoadCredential=, systemd.exec(5)), or null when it hands none of that name. */
export function credentialFile(env: NodeJS.ProcessEnv, name: string): string | null {
  const folder = env['CREDENTIALS_DIRECTORY'];
  if (folder === undefined || folder === '') return null;
  const path = join(folder, name);
  return existsSync(path) ? path : null;
}

/**
 * Reads a secret file. A file that only root may read, such as a key in /etc/sterna, is also handed to this service as a systemd credential with the
 * same name (systemd/sternad.service).
 * @throws errors of the file system
 */
export function readSecret(path: string, env: NodeJS.ProcessEnv = process.env): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const credential = error instanceof Error && 'code' in error && error.code === 'EACCES' ? credentialFile(env, basename(path)) : null;
    if (credential === null) throw error;
    return readFileSync(credential);
  }
}
