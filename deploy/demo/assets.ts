import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { unpackTar } from 'modern-tar';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { sha256, sha256OfFile, temporaryName, writeCached } from './files.js';
import type { PinnedFile, PinnedPackage } from './pins.js';

export interface FetchOptions {
  /** Where files are kept. */
  folder: string;
  /** Program that fetches a tarball, `npm` by default. */
  npm?: readonly string[];
  signal?: AbortSignal;
  /** Called once when something has to be fetched. */
  onFetch?: (name: string) => void;
}

/** No tarball of ours unpacks to more. */
const MAX_UNPACKED_BYTES = 512 * 2 ** 20;
const NPM_TIMEOUT_MS = 180_000;

/**
 * Makes sure that the files of a pinned package are in the cache, and returns their paths by name. What is there and has
 * the right hash is not fetched again; a fetch that fails leaves nothing half done.
 * @throws DeployError E_NPM when npm cannot fetch it, E_ASSET when it is not what was pinned or the cache cannot be written
 */
export async function fetchPackage(pinned: PinnedPackage, options: FetchOptions): Promise<Record<string, string>> {
  const folder = packageFolder(pinned, options.folder);
  const paths = Object.fromEntries(pinned.files.map((file) => [file.name, join(folder, file.name)]));
  if (await isCached(pinned, options.folder)) return paths;
  options.onFetch?.(`${pinned.name}@${pinned.version}`);
  const tarball = await download(pinned, options);
  const files = await unpack(pinned, tarball);
  for (const file of pinned.files) {
    const data = files.get(file.path);
    checkFile(pinned, file, data);
    await writeCached(join(folder, file.name), data, file.executable === true ? 0o755 : 0o644);
  }
  return paths;
}

/** Whether every file of it is there, and is the pinned one. */
export async function isCached(pinned: PinnedPackage, cacheFolder: string): Promise<boolean> {
  const folder = packageFolder(pinned, cacheFolder);
  const hashes = await Promise.all(pinned.files.map((file) => sha256OfFile(join(folder, file.name))));
  return hashes.every((hash, i) => hash === pinned.files[i]?.sha256);
}

function packageFolder(pinned: PinnedPackage, cacheFolder: string): string {
  return join(cacheFolder, `${pinned.name.replace(/^@/, '').replace(/\//g, '-')}-${pinned.version}`);
}

function checkFile(pinned: PinnedPackage, file: PinnedFile, data: Uint8Array | undefined): asserts data is Uint8Array {
  if (data === undefined) throw new DeployError('E_ASSET', `${pinned.name}@${pinned.version} has no file ${file.path}`);
  const actual = sha256(data);
  if (actual !== file.sha256) {
    throw new DeployError('E_ASSET', `Expected SHA-256 ${file.sha256} for ${file.path} of ${pinned.name}@${pinned.version} but received ${actual}`);
  }
}

/** The tarball, checked against its pinned integrity. */
async function download(pinned: PinnedPackage, options: FetchOptions): Promise<Buffer> {
  const spec = `${pinned.name}@${pinned.version}`;
  const scratch = temporaryName(join(options.folder, 'npm-pack'));
  try {
    await mkdir(scratch, { recursive: true }).catch((cause: unknown) => {
      throw new DeployError('E_ASSET', `The cache ${options.folder} cannot be written: ${messageOf(cause)}`, { cause });
    });
    await npmPack(spec, scratch, options);
    const name = (await readdir(scratch)).find((entry) => entry.endsWith('.tgz'));
    if (name === undefined) throw new DeployError('E_NPM', `npm pack ${spec} wrote no file`);
    const tarball = await readFile(join(scratch, name));
    const actual = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
    if (actual !== pinned.integrity) {
      throw new DeployError('E_ASSET', `Expected ${spec} with integrity ${pinned.integrity} but received ${actual}; is the registry a mirror that changes packages?`);
    }
    return tarball;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function npmPack(spec: string, folder: string, options: FetchOptions): Promise<void> {
  const [command = 'npm', ...fixed] = options.npm ?? defaultNpm();
  const args = [...fixed, 'pack', spec, '--pack-destination', folder, '--ignore-scripts', '--loglevel=error', '--fetch-retries=2'];
  const signals = [AbortSignal.timeout(NPM_TIMEOUT_MS), ...(options.signal === undefined ? [] : [options.signal])];
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], signal: AbortSignal.any(signals) });
  const log: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => log.push(text.slice(0, 4096)));
  const failure = await new Promise<string | null>((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ENOENT' ? `${command} was not found` : error.message));
    child.once('close', (code) => resolve(code === 0 ? null : npmReason(log.join(''), code)));
  });
  if (failure !== null) {
    throw new DeployError('E_NPM', `npm cannot fetch ${spec}: ${failure}. Check the network or the registry (npm config get registry), then run the same command again.`, {
      details: { package: spec },
    });
  }
}

/** The npm that started us, when one did: it need not be the first in PATH. */
function defaultNpm(): readonly string[] {
  const script = process.env.npm_execpath;
  return script !== undefined && /npm-cli\.[cm]?js$/.test(script) ? [process.execPath, script] : ['npm'];
}

function npmReason(log: string, code: number | null): string {
  const lines = log.split('\n').map((line) => line.replace(/^npm (error|ERR!) ?/, '').trim());
  const telling = lines.filter((line) => line !== '' && !/^A complete log|^code |^errno |^syscall |^npm warn/i.test(line));
  return telling[0] ?? `it ended with exit code ${code}`;
}

async function unpack(pinned: PinnedPackage, tarball: Buffer): Promise<Map<string, Uint8Array>> {
  const wanted = new Set(pinned.files.map((file) => file.path));
  // The first folder's name is the packer's choice; it is "package" almost always.
  const inside = (name: string): string => name.slice(name.indexOf('/') + 1);
  try {
    const tar = await promisify(gunzip)(tarball, { maxOutputLength: MAX_UNPACKED_BYTES });
    const entries = await unpackTar(tar, { filter: (header) => header.type === 'file' && wanted.has(inside(header.name)) });
    return new Map(entries.map(({ header, data }) => [inside(header.name), data ?? new Uint8Array(0)]));
  } catch (cause) {
    throw new DeployError('E_ASSET', `${pinned.name}@${pinned.version} cannot be unpacked: ${messageOf(cause)}`, { cause });
  }
}
