/**
 * The pictures from which people were enrolled, sealed with the key of the gallery: what a new embedder needs to know them again. Kept only where the
 * configuration says so (`gallery.keep_pictures`).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { readGalleryKey } from '../../runtime/pipeline/gallery-key.js';
import type { Person } from '../../runtime/pipeline/types.js';

/** Of one person; embeddings of more are not kept either. */
const MAX_PICTURES = 12;

type Key = Pick<Person, 'id' | 'createdMs'>;

export class EnrolmentPictures {
  readonly #folder: string;
  readonly #keyFile: string;

  /** @param keyFile of the gallery; it is read when it is needed */
  constructor(folder: string, keyFile: string) {
    this.#folder = folder;
    this.#keyFile = keyFile;
  }

  /**
   * Replaces those of this person.
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

  /** JPEG pictures; none for somebody of whom none were kept. @throws RuntimeError E_GALLERY_KEY, E_GALLERY_TAMPERED */
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

/** With the time of the enrolment, because the number of somebody who was deleted may be given again. */
function nameOf({ id, createdMs }: Key, index: number): string {
  return `${id}-${createdMs}-${String(index).padStart(2, '0')}.sealed`;
}
