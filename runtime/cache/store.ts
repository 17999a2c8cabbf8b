/** Cached programs in a folder: one file for each key, written atomically, the least recently used ones removed first. */
import { closeSync, fstatSync, futimesSync, openSync, readSync } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { temporarySuffix, writeFileAtomic } from '../atomic-file.js';
import { RuntimeError } from '../errors.js';
import { encodeHead, headBytes, readDescription, readLayout, type CacheLayout, type ProgramDescription } from './format.js';

const suffix = '.program';
/** The use of a file is noted to the day: flash wears. */
const usedToMs = 24 * 3600_000;
/** Nobody writes a file for longer than this: what is left of it is of a process that died. */
const staleMs = 3600_000;
/** Heads of common models are read at once. */
const firstRead = 64 * 1024;

/** A cached program, open for reading. Whoever gets one closes it. */
export interface CachedProgram {
  readonly fd: number;
  readonly layout: CacheLayout;
  readonly description: ProgramDescription;
}

export const closeProgram = ({ fd }: CachedProgram): void => closeSync(fd);

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class ProgramStore {
  constructor(private readonly folder: string, private readonly maximumBytes: number) {}

  private path(key: string): string {
    return join(this.folder, `${key}${suffix}`);
  }

  /** What a warning says about a damaged file. */
  damaged(key: string, reason: string, cause?: unknown): RuntimeError {
    const path = this.path(key);
    return new RuntimeError('E_CACHE_DAMAGED', `The cached program ${path} is damaged: ${reason}; it is compiled again`, { cause, details: { path } });
  }

  private unusable(what: string, cause: unknown): RuntimeError {
    return new RuntimeError('E_CACHE_UNUSABLE', `The cache ${this.folder} cannot be ${what}: ${reasonOf(cause)}; models are compiled at every start`, {
      cause, details: { path: this.folder },
    });
  }

  /**
   * Opens the program of a key; undefined when there is none. The program's own bytes are not checked yet.
   * @throws RuntimeError E_CACHE_DAMAGED, E_CACHE_UNUSABLE: neither is a reason not to compile
   */
  open(key: string): CachedProgram | undefined {
    let fd: number;
    try {
      fd = openSync(this.path(key), 'r');
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw this.unusable('read', error);
    }
    try {
      return { fd, ...this.read(key, fd) };
    } catch (error) {
      closeSync(fd);
      throw error instanceof RuntimeError ? error : this.unusable('read', error);
    }
  }

  private read(key: string, fd: number): Omit<CachedProgram, 'fd'> {
    const { size, mtimeMs } = fstatSync(fd);
    let head = readStart(fd, Math.min(firstRead, size));
    const layout = readLayout(head, key, size);
    if (typeof layout === 'string') throw this.damaged(key, layout);
    if (head.length < layout.programOffset) head = readStart(fd, layout.programOffset);
    const description = head.length < Math.max(headBytes, layout.programOffset) ? 'it cannot be read to its end' : readDescription(head, layout);
    if (typeof description === 'string') throw this.damaged(key, description);
    noteUse(fd, mtimeMs);
    return { layout, description };
  }

  /** Keeps a program, and removes old ones beyond the bound. @throws RuntimeError E_CACHE_UNUSABLE */
  async keep(key: string, description: ProgramDescription, program: Uint8Array): Promise<void> {
    const head = encodeHead(key, description, program);
    if (head.length + program.length > this.maximumBytes) return;
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      await writeFileAtomic(this.path(key), [head, program]);
      await this.removeOldest(key);
    } catch (error) {
      throw this.unusable('written', error);
    }
  }

  /** Another process may remove the same files at the same time: whatever is gone already is fine. */
  private async removeOldest(newest: string): Promise<void> {
    const files = (await Promise.all((await readdir(this.folder)).map((name) => this.entry(name)))).filter((file) => file !== undefined);
    const programs = files.filter(({ name }) => name.endsWith(suffix)).sort((a, b) => b.usedMs - a.usedMs);
    let left = this.maximumBytes - (programs.find(({ name }) => name === `${newest}${suffix}`)?.bytes ?? 0);
    const surplus = programs.filter(({ name, bytes }) => name !== `${newest}${suffix}` && (left -= bytes) < 0);
    const abandoned = files.filter(({ name, usedMs }) => name.endsWith(temporarySuffix) && Date.now() - usedMs > staleMs);
    await Promise.all([...surplus, ...abandoned].map(({ name }) => rm(join(this.folder, name), { force: true })));
  }

  private async entry(name: string): Promise<{ name: string; bytes: number; usedMs: number } | undefined> {
    try {
      const { size, mtimeMs } = await stat(join(this.folder, name));
      return { name, bytes: size, usedMs: mtimeMs };
    } catch {
      return undefined; // removed in between
    }
  }
}

/** The first bytes of a file, fewer when it ends before. */
function readStart(fd: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  let filled = 0;
  while (filled < bytes) {
    const read = readSync(fd, buffer, filled, bytes - filled, filled);
    if (read === 0) break;
    filled += read;
  }
  return buffer.subarray(0, filled);
}

/** The time of modification is that of the last use. In a folder that is read-only it stays as it is. */
function noteUse(fd: number, mtimeMs: number): void {
  const nowMs = Date.now();
  if (nowMs - mtimeMs < usedToMs) return;
  try {
    futimesSync(fd, nowMs / 1000, nowMs / 1000);
  } catch {
    // Not ours to change.
  }
}
