// Packages of the registry that a release needs and a checkout does not install: other architectures' parts, and Node.js itself. Each is pinned
// by its integrity, and kept unpacked in the cache.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.mjs';
import { root } from './setup.mjs';

/**
 * The folder of an unpacked package, from the cache or the registry.
 * @param integrity as package-lock.json has it, `sha512-...`
 */
export function unpackedPackage({ name, version, integrity }) {
  const cache = join(root, '.cache', 'npm');
  const folder = join(cache, `${name.replace('@', '').replace('/', '-')}-${version}`);
  if (existsSync(join(folder, 'package.json'))) return folder;
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(join(cache, 'fetch-'));
  try {
    run('npm', ['pack', `${name}@${version}`, '--pack-destination', scratch, '--ignore-scripts', '--loglevel=error'], { cwd: scratch });
    const tarball = join(scratch, readdirSync(scratch).find((file) => file.endsWith('.tgz')) ?? '');
    const actual = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
    if (actual !== integrity) throw new Error(`Expected ${name}@${version} with integrity ${integrity} but received ${actual}; is the registry a mirror that changes packages?`);
    run('tar', ['-xzf', tarball, '-C', scratch]);
    renameSync(join(scratch, 'package'), folder);
    return folder;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
