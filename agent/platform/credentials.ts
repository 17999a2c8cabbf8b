import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The file of a credential that systemd hands to this service (LoadCredential=, systemd.exec(5)), or null when it hands none of that name. */
export function credentialFile(env: NodeJS.ProcessEnv, name: string): string | null {
  const folder = env['CREDENTIALS_DIRECTORY'];
  if (folder === undefined || folder === '') return null;
  const path = join(folder, name);
  return existsSync(path) ? path : null;
}
