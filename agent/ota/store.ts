/**
 * Stores package files by their content: `packages/{digest}.sterna`, and while one is downloaded, `{digest}.part` and its list of chunks,
 * `{digest}.chunks`.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../runtime/errors.js';
import { AgentError } from '../errors.js';
import { syncFolder, writeFileAtomic } from '../../runtime/atomic-file.js';
import { overlayNamed } from '../ground/overlay-name.js';
import { faultPoint } from '../platform/fault.js';
import { diskCodes, failure } from './failure.js';

/** Bytes that are left free for the databases and the log. */
const SPARE_BYTES = 8 * 1024 * 1024;

export interface StoredPackage {
  digest: string;
  sizeBytes: number;
}

export class PackageStore {
  readonly #folder: string;
  /** A package outside of the store, which is only ever read. */
  #factory: { digest: string; path: string } | null = null;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Creates the folder. On a disk that cannot be written, a store without packages is as good as an empty one, so the error is ignored. */
  async open(): Promise<void> {
    await this.#ensureFolder().catch(() => undefined);
  }

  /** Whoever writes a file calls this first, because the disk may have been full when the store was opened. @throws errors of the file system */
  async #ensureFolder(): Promise<void> {
    faultPoint('store.folder');
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
  }

  /** Complete packages by name, newest first. Use `verify` to find out whether they are sound. */
  async list(): Promise<StoredPackage[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const digests = names.flatMap((name) => /^([0-9a-f]{64})\.sterna$/.exec(name)?.[1] ?? []);
    const found = await Promise.all(digests.map(async (digest) => ({ digest, info: await stat(this.#ownPath(digest)).catch(() => null) })));
    return found.flatMap(({ digest, info }) => (info?.isFile() === true ? [{ digest, sizeBytes: info.size, changedMs: info.mtimeMs }] : []))
      .sort((a, b) => b.changedMs - a.changedMs)
      .map(({ digest, sizeBytes }) => ({ digest, sizeBytes }));
  }

  /**
   * Takes a file outside of the store as one of its packages. It is never changed and never deleted.
   * @throws errors of the file system
   */
  async adoptFactory(path: string): Promise<StoredPackage> {
    faultPoint('store.factory');
    const digest = await sha256OfFile(path);
    this.#factory = { digest, path };
    return { digest, sizeBytes: (await stat(path)).size };
  }

  /** Files of all complete packages, newest first, and the factory package last. */
  async paths(): Promise<string[]> {
    const paths = (await this.list()).map(({ digest }) => this.path(digest));
    return this.#factory === null ? paths : [...new Set([...paths, this.#factory.path])];
  }

  path(digest: string): string {
    return this.#factory?.digest === digest ? this.#factory.path : this.#ownPath(digest);
  }

  #ownPath(digest: string): string {
    return join(this.#folder, `${digest}.sterna`);
  }

  partialPath(digest: string): string {
    return join(this.#folder, `${digest}.part`);
  }

  /** Whether the complete file is there, judged by its name and size. */
  async has(digest: string, sizeBytes: number): Promise<boolean> {
    return (await sizeOf(this.path(digest))) === sizeBytes;
  }

  async hasPartial(digest: string): Promise<boolean> {
    return (await sizeOf(this.partialPath(digest))) !== null;
  }

  /**
   * Makes sure that a package of that size fits. What its partial file has already is not needed again. If the space does not suffice, the partial
   * files of other packages, which nobody downloads now, are deleted.
   * @throws AgentError E_DISK_FULL; errors of the file system
   */
  async requireSpace(digest: string, sizeBytes: number): Promise<void> {
    await this.#ensureFolder();
    const needed = Math.max(0, sizeBytes - (await occupiedBy(this.partialPath(digest)))) + SPARE_BYTES;
    if ((await this.#free()) < needed) await this.#deleteOtherPartials(digest);
    const free = await this.#free();
    if (free < needed) throw new AgentError('E_DISK_FULL', `Expected ${needed} free bytes for a package in ${this.#folder} but ${free} are left`);
  }

  async #free(): Promise<number> {
    faultPoint('store.space');
    const { bavail, bsize } = await statfs(this.#folder);
    return bavail * bsize;
  }

  async #deleteOtherPartials(digest: string): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (/\.(part|chunks)$/.test(name) && !name.startsWith(digest)) await rm(join(this.#folder, name), { force: true }).catch(() => undefined);
    }
  }

  async openPartial(digest: string): Promise<FileHandle> {
    const path = this.partialPath(digest);
    await this.#ensureFolder();
    faultPoint('store.partial');
    return open(path, (await sizeOf(path)) === null ? 'w+' : 'r+', 0o600);
  }

  /**
   * Hashes the file, whole or partial, and gives it its final name when it is right. Idempotent.
   * @throws AgentError E_OTA_SIZE, E_OTA_HASH: the file is deleted if it can never become right (a complete file whose hash matches its name stays,
   * whatever size was stated); E_OTA_PACKAGE when there is none
   */
  async verify(digest: string, sizeBytes: number, signal?: AbortSignal): Promise<void> {
    const final = this.path(digest);
    const path = (await sizeOf(final)) === null ? this.partialPath(digest) : final;
    const size = await sizeOf(path);
    if (size === null) throw new AgentError('E_OTA_PACKAGE', `The file of package ${digest} is missing`);
    const actual = size === sizeBytes || path === final ? await sha256OfFile(path, signal) : null;
    if (actual !== digest || size !== sizeBytes) {
      if (actual !== digest && path !== this.#factory?.path) await rm(path, { force: true }).catch(() => undefined);
      if (size !== sizeBytes) throw new AgentError('E_OTA_SIZE', `Expected a package of ${sizeBytes} bytes but received ${size}`);
      throw new AgentError('E_OTA_HASH', `Expected SHA-256 ${digest} but received ${actual}`);
    }
    if (path === final) return;
    await syncFile(path);
    faultPoint('store.before.rename');
    await rename(path, final);
    faultPoint('store.after.rename');
    await syncFolder(this.#folder);
  }

  /**
   * Copies a package from elsewhere on this device.
   * @returns its digest and size
   * @throws AgentError E_OTA_PACKAGE; E_DISK_FULL, E_STATE_READ_ONLY and E_STATE, which are no fault of the package
   */
  async import(path: string): Promise<{ digest: string; sizeBytes: number }> {
    const { digest, sizeBytes } = await this.#describe(path);
    if (await this.has(digest, sizeBytes)) return { digest, sizeBytes };
    try {
      await this.#copy(path, digest);
      await this.verify(digest, sizeBytes);
    } catch (cause) {
      await this.deletePartial(digest).catch(() => undefined);
      const { code, message } = failure(cause);
      throw new AgentError(diskCodes.find((known) => known === code) ?? 'E_OTA_PACKAGE', `The package ${path} cannot be installed: ${message}`, { cause });
    }
    return { digest, sizeBytes };
  }

  /** @throws AgentError E_OTA_PACKAGE when the file cannot be read */
  async #describe(path: string): Promise<StoredPackage> {
    try {
      return { digest: await sha256OfFile(path), sizeBytes: (await stat(path)).size };
    } catch (cause) {
      throw new AgentError('E_OTA_PACKAGE', `The package ${path} cannot be installed: ${messageOf(cause)}`, { cause });
    }
  }

  async #copy(path: string, digest: string): Promise<void> {
    await this.deletePartial(digest);
    const target = await this.openPartial(digest);
    try {
      faultPoint('store.import');
      for await (const piece of createReadStream(path)) await target.writeFile(piece as Buffer);
    } finally {
      await target.close();
    }
  }

  /** Deletes every file that is not named. If a file cannot be deleted, it is tried again the next time. */
  async collect(keep: readonly string[], keepPartial: string | null): Promise<void> {
    const wanted = new Set(keep.map((digest) => `${digest}.sterna`));
    if (keepPartial !== null) wanted.add(`${keepPartial}.part`).add(`${keepPartial}.chunks`);
    faultPoint('store.collect');
    for (const name of await readdir(this.#folder)) {
      // Thresholds that were adapted for a package are kept with it (agent/adapt), and go with it.
      const adapted = overlayNamed(name)?.digest;
      if (!wanted.has(name) && !(adapted !== undefined && keep.includes(adapted))) await rm(join(this.#folder, name), { force: true, recursive: true }).catch(() => undefined);
    }
  }

  /** The list of chunks of a package, if its file has this size. The caller must check the content. */
  async readList(digest: string, sizeBytes: number): Promise<Buffer | null> {
    return (await sizeOf(this.#listPath(digest))) === sizeBytes ? readFile(this.#listPath(digest)) : null;
  }

  async writeList(digest: string, bytes: Uint8Array): Promise<void> {
    await this.#ensureFolder();
    faultPoint('store.list');
    await writeFileAtomic(this.#listPath(digest), bytes, 0o600);
  }

  #listPath(digest: string): string {
    return join(this.#folder, `${digest}.chunks`);
  }

  async deletePartial(digest: string): Promise<void> {
    await rm(this.partialPath(digest), { force: true });
  }
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    const found = await stat(path);
    return found.isFile() ? found.size : null;
  } catch {
    return null;
  }
}

/** Bytes of the disk that a file takes; it may have holes. 0 when there is none. */
async function occupiedBy(path: string): Promise<number> {
  const found = await stat(path).catch(() => null);
  return found === null ? 0 : Math.min(found.size, found.blocks * 512);
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** SHA-256 of a file, lower-case hexadecimal. @throws errors of the file system; the reason of the signal */
export async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(path, signal === undefined ? {} : { signal });
  for await (const piece of stream) hash.update(piece as Buffer);
  return hash.digest('hex');
}
