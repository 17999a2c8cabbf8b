/** Enrols somebody from pictures, and keeps the pictures where the configuration says so. */
import type { Enrolment } from '../../runtime/pipeline/index.js';
import type { Gallery, Image, Pipeline, RuntimePort } from '../ground/runtime.js';
import type { EnrolmentPictures } from './pictures.js';

export interface EnrolParts {
  runtime: Pick<RuntimePort, 'enrol' | 'encodeJpeg'>;
  gallery: Gallery;
  /** Where pictures are kept; null when the configuration keeps none. */
  pictures: EnrolmentPictures | null;
  /** Called when the pictures cannot be kept. The person is enrolled all the same. */
  onNotKept: (error: unknown) => void;
}

/** @throws what `RuntimePort.enrol` throws */
export async function enrol({ runtime, gallery, pictures: store, onNotKept }: EnrolParts, pipeline: Pipeline, name: string, pictures: AsyncIterable<Image> | Iterable<Image>): Promise<Enrolment> {
  if (store === null) return runtime.enrol(pipeline, gallery, name, pictures);
  const kept: Uint8Array[] = [];
  const seen = async function* (): AsyncGenerator<Image, void, undefined> {
    for await (const picture of pictures) {
      kept.push(await runtime.encodeJpeg(picture));
      yield picture;
    }
  };
  const enrolled = await runtime.enrol(pipeline, gallery, name, seen());
  await store.keep(enrolled.person, kept).catch(onNotKept);
  return enrolled;
}
