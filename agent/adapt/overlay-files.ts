/** Overlays beside the packages of a pipeline: `packages/{package}.{overlay}.overlay`, both by SHA-256. A package has one at most, and it goes with it. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { overlayName, overlayNamed } from '../ground/overlay-name.js';
import { faultPoint } from '../platform/fault.js';

export interface StoredOverlay {
  hash: string;
  bytes: Uint8Array;
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export class OverlayFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async #names(digest: string): Promise<string[]> {
    const names = await readdir(this.#folder).catch(() => []);
    return names.filter((name) => name.startsWith(`${digest}.`) && name.endsWith('.overlay'));
  }

  /** The overlay of a package; null without one. A file whose content is not what its name says is deleted. */
  async read(digest: string): Promise<StoredOverlay | null> {
    const names = await this.#names(digest);
    // Two would mean that somebody else wrote here: the package's own thresholds are the safe ones.
    if (names.length !== 1) {
      if (names.length > 1) await this.remove(digest);
      return null;
    }
    const [name = ''] = names;
    const hash = overlayNamed(name)?.hash;
    const bytes = await readFile(join(this.#folder, name)).catch(() => null);
    if (hash !== undefined && bytes !== null && hashOf(bytes) === hash) return { hash, bytes };
    await this.remove(digest);
    return null;
  }

  /** Writes the overlay of a package in place of any other. A kill at any line leaves none, or this one. @returns its hash @throws errors of the file system */
  async write(digest: string, bytes: Uint8Array): Promise<string> {
    const hash = hashOf(bytes);
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await this.remove(digest);
    faultPoint('overlay.write');
    await writeFileAtomic(join(this.#folder, overlayName(digest, hash)), bytes);
    faultPoint('overlay.written');
    return hash;
  }

  /** @returns the hash that the deleted file was named by; null: there was none */
  async remove(digest: string): Promise<string | null> {
    const names = await this.#names(digest);
    for (const name of names) await rm(join(this.#folder, name), { force: true });
    return names.map((name) => overlayNamed(name)?.hash ?? null)[0] ?? null;
  }
}
