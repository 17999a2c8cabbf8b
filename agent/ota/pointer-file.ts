import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { temporarySuffix, writeFileAtomic } from '../../runtime/atomic-file.js';
import { faultPoint } from '../platform/fault.js';
import { decodePointer, encodePointer, type Pointer, type Stored } from './stored-state.js';

/** The second copy of the active pointer, `slots.json` in the state folder. */
export class PointerFile {
  readonly #path: string;
  /** The content that this run has written; '' when it has written none. */
  #written = '';

  constructor(path: string) {
    this.#path = path;
  }

  async read(): Promise<Stored<Pointer>> {
    try {
      return decodePointer(await readFile(this.#path, 'utf8'));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
      return code === 'ENOENT' ? { kind: 'none' } : { kind: 'unsound', problem: code };
    }
  }

  /**
   * Deletes the temporary files of writes that a kill cut off. Call this only before the first `write`, because it would also delete the file of a
   * write under way.
   */
  async removeAbandoned(): Promise<void> {
    const folder = dirname(this.#path);
    for (const name of await readdir(folder)) {
      if (name.startsWith(`${basename(this.#path)}.`) && name.endsWith(temporarySuffix)) await rm(join(folder, name), { force: true });
    }
  }

  /**
   * Writes the pointer. After a power cut the file holds the old pointer or the new one. If this run wrote the same content last, nothing is written.
   * @throws errors of the file system
   */
  async write(pointer: Pointer): Promise<void> {
    const content = encodePointer(pointer);
    if (content === this.#written) return;
    faultPoint('pointer.write');
    await writeFileAtomic(this.#path, content);
    this.#written = content;
  }
}
