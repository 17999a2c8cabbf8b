/** The files of a repository, laid out so that any web server can host `image/` to any TUF client (consistent snapshots). */
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { DeployError } from '../errors.js';
import { documentText, parseDocument, type Document } from './document.js';

export type RepositoryName = 'image' | 'director';

const days = z.number().positive().max(3660);

/** `repository.json`. */
export const settingsSchema = z.strictObject({
  schema_version: z.literal(1),
  /** How long signatures of each role hold, in days. */
  lifetime_days: z.strictObject({ root: days, targets: days, snapshot: days, timestamp: days, director: days }),
});
export type RepositorySettings = z.infer<typeof settingsSchema>;

export const defaultLifetimes: RepositorySettings['lifetime_days'] = { root: 730, targets: 365, snapshot: 365, timestamp: 30, director: 90 };

export class RepositoryFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get keys(): string {
    return join(this.path, 'keys');
  }

  exists(): boolean {
    return existsSync(join(this.path, 'repository.json'));
  }

  /** @throws DeployError E_REPOSITORY */
  settings(): RepositorySettings {
    try {
      return settingsSchema.parse(JSON.parse(readFileSync(join(this.path, 'repository.json'), 'utf8')));
    } catch (cause) {
      throw new DeployError('E_REPOSITORY', `${this.path} is no repository (${cause instanceof Error ? cause.message.split('\n')[0] ?? '' : String(cause)}). Make one with sterna repository init ${this.path}`, { cause });
    }
  }

  writeSettings(settings: RepositorySettings): void {
    this.#write('repository.json', `${JSON.stringify(settings, null, 1)}\n`);
  }

  /** Paths of all key files in `keys/`. */
  keyFiles(): string[] {
    if (!existsSync(this.keys)) return [];
    return readdirSync(this.keys).filter((name) => name.endsWith('.json')).sort().map((name) => join(this.keys, name));
  }

  /** Text of a published root; the newest without a version. Null: there is none. */
  rootText(repository: RepositoryName, version?: number): string | null {
    return this.#read(`${repository}/${version === undefined ? '' : `${version}.`}root.json`);
  }

  /** Text of the published image metadata of a role, by version except for the timestamp. */
  imageText(role: string, version?: number): string | null {
    return this.#read(`image/${version === undefined ? '' : `${version}.`}${role}.json`);
  }

  staged(): { repository: RepositoryName; role: string; document: Document }[] {
    const folder = join(this.path, 'staged');
    if (!existsSync(folder)) return [];
    return readdirSync(folder).sort().flatMap((file) => {
      const [, repository, role] = /^(image|director)\.([A-Za-z0-9_.-]+)\.json$/.exec(file) ?? [];
      if (role === undefined) return [];
      return [{ repository: repository === 'director' ? 'director' as const : 'image' as const, role, document: parseDocument(readFileSync(join(folder, file), 'utf8'), `staged/${file}`) }];
    });
  }

  stage(repository: RepositoryName, role: string, document: Document): void {
    this.#write(`staged/${repository}.${role}.json`, documentText(document));
  }

  unstage(repository: RepositoryName, role: string): void {
    rmSync(join(this.path, 'staged', `${repository}.${role}.json`), { force: true });
  }

  /** Whatever names a file is written after that file, so that a reader at any moment finds a whole repository. */
  publish(repository: RepositoryName, role: string, document: Document): void {
    const text = documentText(document);
    if (role !== 'timestamp') this.#write(`${repository}/${document.signed.version}.${role}.json`, text);
    if (role === 'timestamp' || role === 'root') this.#write(`${repository}/${role}.json`, text);
    this.unstage(repository, role);
  }

  /** A package where TUF clients look for it, its hash before its name, and where devices look for it, by its hash alone. */
  writeTarget(path: string, digest: string, bytes: Uint8Array): void {
    this.#write(targetFile(path, digest), bytes);
    this.#writeOnce(`image/packages/${digest}.sterna`, this.targetFile(path, digest), bytes);
  }

  /** A list of chunks, for devices that fetch over HTTPS. */
  writeChunks(digest: string, bytes: Uint8Array): void {
    this.#write(`image/chunks/${digest}.chunks`, bytes);
  }

  targetFile(path: string, digest: string): string {
    return join(this.path, targetFile(path, digest));
  }

  /** A second name of a file; a copy where the file system has no links. */
  #writeOnce(name: string, file: string, bytes: Uint8Array): void {
    const path = join(this.path, name);
    if (existsSync(path)) return;
    try {
      mkdirSync(dirname(path), { recursive: true });
      linkSync(file, path);
    } catch {
      this.#write(name, bytes);
    }
  }

  #read(name: string): string | null {
    try {
      return readFileSync(join(this.path, name), 'utf8');
    } catch {
      return null;
    }
  }

  /** Whole or not at all: written beside its place, synced, renamed. @throws DeployError E_REPOSITORY */
  #write(name: string, data: string | Uint8Array): void {
    const path = join(this.path, name);
    const temporary = `${path}.${process.pid}.part`;
    try {
      mkdirSync(dirname(path), { recursive: true });
      const file = openSync(temporary, 'w', 0o644);
      try {
        const bytes = typeof data === 'string' ? Buffer.from(data) : data;
        for (let at = 0; at < bytes.byteLength;) at += writeSync(file, bytes, at);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
    } catch (cause) {
      rmSync(temporary, { force: true });
      throw new DeployError('E_REPOSITORY', `${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
}

function targetFile(path: string, digest: string): string {
  const at = path.lastIndexOf('/') + 1;
  return `image/targets/${path.slice(0, at)}${digest}.${path.slice(at)}`;
}
