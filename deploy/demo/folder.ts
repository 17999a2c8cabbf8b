import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout (or installed package) that this file belongs to: the first folder above it with our package.json. */
export function projectFolder(from: string = import.meta.url): string {
  for (let folder = dirname(fileURLToPath(from)); ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && /"name":\s*"sterna"/.test(readFileSync(manifest, 'utf8'))) return folder;
    if (folder === dirname(folder)) throw new Error(`No package.json of sterna above ${fileURLToPath(from)}`);
  }
}

/** Fetched and derived files: `STERNA_ASSETS`, else `.cache/assets` of the checkout, or the user's cache folder for an installed package. */
export function assetsFolder(env: NodeJS.ProcessEnv = process.env): string {
  const stated = env.STERNA_ASSETS;
  if (stated !== undefined && stated !== '') return stated;
  const project = projectFolder();
  if (existsSync(join(project, 'package-lock.json'))) return join(project, '.cache', 'assets');
  return join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sterna', 'assets');
}
