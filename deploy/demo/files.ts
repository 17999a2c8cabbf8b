import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';

/** SHA-256 of a file, lower-case hex; null when there is none. */
export async function sha256OfFile(path: string): Promise<string | null> {
  try {
    return sha256(await readFile(path));
  } catch (error) {
    if (isMissing(error)) return null;
    throw new DeployError('E_ASSET', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

export function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Hash of the files of a folder whose names `keep` matches: names and contents. */
export async function hashFolder(folder: string, keep: RegExp): Promise<string> {
  const names = (await readdir(folder)).filter((name) => keep.test(name)).sort();
  const hashes = await Promise.all(names.map(async (name) => `${name} ${sha256(await readFile(join(folder, name)))}`));
  return sha256(hashes.join('\n'));
}

/**
 * Hash of the modules of folders, given from the module at `from`: it tells two states of a checkout apart. In an installed package, whose
 * modules are joined, its version does; the hash is that of nothing.
 */
export async function hashModules(from: string, folders: readonly string[]): Promise<string> {
  const paths = folders.map((folder) => fileURLToPath(new URL(folder, from))).filter((path) => existsSync(path));
  return sha256((await Promise.all(paths.map((path) => hashFolder(path, /\.[jt]s$/)))).join('\n'));
}

/** A name beside `path` that no other process uses. */
export function temporaryName(path: string): string {
  return `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
}

/**
 * Writes a file of the cache: complete or not at all, also when two processes do it at the same time.
 * @throws DeployError E_ASSET
 */
export async function writeCached(path: string, data: Uint8Array | string, mode = 0o644): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, data, mode);
  } catch (cause) {
    throw new DeployError('E_ASSET', `${path} cannot be written: ${messageOf(cause)}`, { cause });
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
