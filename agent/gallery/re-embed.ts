/** Enrols people again for another embedder, from the pictures that were kept of them. */
import { SternaError } from '../errors.js';
import type { Gallery, Image, Pipeline, RuntimePort } from '../ground/runtime.js';
import { diskTrouble } from '../platform/database.js';
import { faultPoint } from '../platform/fault.js';
import type { Person } from '../../runtime/pipeline/types.js';
import type { EnrolmentPictures } from './pictures.js';

/** Kept pictures were decoded once before, so they are within this limit, which is that of the local API. */
const MAX_PIXELS = 16_000_000;

export interface ReEmbedParts {
  runtime: Pick<RuntimePort, 'enrol' | 'decodeImage'>;
  gallery: Gallery;
  pictures: EnrolmentPictures;
  pipeline: Pipeline;
}

export interface ReEmbedded {
  done: number;
  /** Names of people of whom there is no usable picture. They must be enrolled again by hand. */
  missing: string[];
}

/**
 * Enrols for the new embedder everybody who is not enrolled for it yet, so it may be repeated. The entries of the old embedder stay, so that people
 * are still recognized after a roll-back.
 * @throws errors of a disk that takes nothing; whoever was enrolled until then stays
 */
export async function reEmbed({ runtime, gallery, pictures, pipeline }: ReEmbedParts): Promise<ReEmbedded> {
  const people = gallery.list();
  const known = new Set(people.filter(({ embeddingSpaceId }) => embeddingSpaceId === pipeline.embeddingSpaceId).map(({ name }) => name));
  const outcome: ReEmbedded = { done: 0, missing: [] };
  for (const person of people.filter(({ name }) => !known.has(name))) {
    known.add(person.name);
    try {
      const kept = pictures.of(person);
      if (kept.length === 0) {
        outcome.missing.push(person.name);
        continue;
      }
      faultPoint('gallery.enrol');
      const enrolled = await runtime.enrol(pipeline, gallery, person.name, decoded(runtime, kept));
      await keepPictures({ gallery, pictures }, enrolled.person, kept);
      outcome.done += 1;
    } catch (error) {
      if (!(error instanceof SternaError) || diskTrouble(error) !== null) throw error;
      outcome.missing.push(person.name);
    }
  }
  return outcome;
}

/** Without these pictures the next embedder could not enrol this person, so the person is enrolled with them or not at all. */
async function keepPictures({ gallery, pictures }: Pick<ReEmbedParts, 'gallery' | 'pictures'>, person: Person, kept: readonly Uint8Array[]): Promise<void> {
  try {
    faultPoint('gallery.picture');
    await pictures.keep(person, kept);
  } catch (error) {
    gallery.remove(person.id);
    throw error;
  }
}

/** Decodes the pictures one after another, so that only one at a time is in memory as pixels. */
async function* decoded(runtime: ReEmbedParts['runtime'], pictures: readonly Uint8Array[]): AsyncGenerator<Image, void, undefined> {
  for (const picture of pictures) yield await runtime.decodeImage(picture, { maxPixels: MAX_PIXELS });
}
