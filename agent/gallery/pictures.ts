/**
 * The pictures from which people were enrolled, sealed with the key of the gallery. With them a new embedder can enrol the same people again. They
 * are kept only where the configuration says so (`gallery.keep_pictures`).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { readGalleryKey } from '../../runtime/pipeline/gallery-key.js';
import type { Person } from '../../runtime/pipeline/types.js';

/** Most pictures of one person; the gallery keeps no more embeddings of one person either. */
const MAX_PICTURES = 12;

type Key = Pick<Person, 'id' | 'createdMs'>;

export class EnrolmentPictures {
  readonly #folder: string;
  readonly #keyFile: string;

  /** @param keyFile file of the gallery's key; it is read when it is needed */
  constructor(folder: string, keyFile: string) {
    this.#folder = folder;
    this.#keyFile = keyFile;
  }

  /**
   * Keeps these pictures of a person in place of earlier ones.
   * @param pictures JPEG
   * @throws RuntimeError E_GALLERY_KEY; errors of the file system
   */
  async keep(person: Key, pictures: readonly Uint8Array[]): Promise<void> {
    const key = readGalleryKey(this.#keyFile);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.forget(person.id);
    for (const [i, picture] of pictures.slice(0, MAX_PICTURES).entries()) {
      const name = nameOf(person, i);
      await writeFileAtomic(join(this.#folder, name), key.seal(name, picture));
    }
  }

  /** The JPEG pictures of a person; an empty list when none were kept. @throws RuntimeError E_GALLERY_KEY, E_GALLERY_TAMPERED */
  of(person: Key): Uint8Array[] {
    const names = this.#names().filter((name) => name.startsWith(`${person.id}-${person.createdMs}-`)).sort();
    if (names.length === 0) return [];
    const key = readGalleryKey(this.#keyFile);
    return names.map((name) => key.open(name, readFileSync(join(this.#folder, name))));
  }

  /** Deletes the pictures of a person. */
  forget(personId: number): void {
    for (const name of this.#names()) if (name.startsWith(`${personId}-`)) rmSync(join(this.#folder, name), { force: true });
  }

  #names(): string[] {
    return existsSync(this.#folder) ? readdirSync(this.#folder) : [];
  }
}

/** File name of a picture. It contains the time of the enrolment, because the number of somebody who was deleted may be given to another person. */
function nameOf({ id, createdMs }: Key, index: number): string {
  return `${id}-${createdMs}-${String(index).padStart(2, '0')}.sealed`;
}
