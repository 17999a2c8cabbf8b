/** What applications may do with the file of a gallery. Apart from `gallery-file.ts`, so that declarations of the library name no database. */
import * as file from './gallery-file.js';
import type { GalleryKey } from './gallery-key.js';

/**
 * Id of the key that encrypts the gallery in this file; null for a plain gallery, an empty file, or if there is no file. Changes nothing.
 * @throws RuntimeError E_DEPENDENCY, E_GALLERY for what is no gallery
 */
export function galleryKeyId(path: string): string | null {
  return file.galleryKeyId(path);
}

/**
 * Encrypts every record of a gallery with another key, in one transaction. Nobody may have the gallery open. If the process is killed, the
 * whole file is encrypted with either the old key or the new one. A file that already has the new key is not changed.
 * @returns the number of people and samples that were sealed anew
 * @throws RuntimeError E_DEPENDENCY, E_GALLERY, E_GALLERY_KEY, E_GALLERY_TAMPERED; then nothing is changed
 */
export function rekeyGallery(path: string, keys: { from: GalleryKey; to: GalleryKey }): { people: number; samples: number } {
  return file.rekeyGallery(path, keys);
}
