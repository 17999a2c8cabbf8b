import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Image } from '../../../runtime/frame.js';
import { enrolPictures, selectDiverse } from '../../../runtime/pipeline/enrol.js';
import { openGallery } from '../../../runtime/pipeline/gallery.js';
import type { Detection, Pipeline } from '../../../runtime/pipeline/types.js';
import { cosineSimilarity, normalize } from '../../../runtime/vision/embedding.js';

const unit = (...values: number[]): Float32Array => normalize(Float32Array.from(values)) ?? new Float32Array(0);
type Face = { detection: Detection; embedding: Float32Array };

const face = (embedding: Float32Array, { side = 100, score = 0.95 } = {}): Face =>
  ({ detection: { type: 'detection', box: [0, 0, side, side], score, label: 'face' }, embedding });

/** A pipeline that finds the given faces, one list a picture. */
function pipelineOf(pictures: Face[][], space: string | null = 's'): { pipeline: Pipeline; images: Image[] } {
  const images: Image[] = pictures.map(() => ({ width: 1, height: 1, data: new Uint8Array(3) }));
  const pipeline: Pipeline = {
    name: 'fake', version: '1.0.0', embeddingSpaceId: space, memoryBytes: 0,
    process: () => Promise.reject(new Error('not used')),
    embed: (image) => Promise.resolve(pictures[images.indexOf(image)] ?? []),
    withStages: (work) => work({}),
    rehearse: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  return { pipeline, images };
}

describe('enrolPictures', () => {
  it('uses clear pictures and says why it skipped the others', async () => {
    const gallery = openGallery(':memory:');
    const { pipeline, images } = pipelineOf([
      [face(unit(1, 0, 0))], [face(unit(1, 0.8, 0))], [face(unit(1, 0, 0.8))],
      [], [face(unit(0, 0, 1), { side: 20 })], [face(unit(0, 0, 1), { score: 0.6 })], [face(unit(0, 0, 1)), face(unit(0, 1, 0), { side: 90 })],
    ]);
    const result = await enrolPictures(pipeline, gallery, 'Anna', images);
    expect(result).toMatchObject({
      pictures: 7, person: { name: 'Anna', samples: 3, embeddingSpaceId: 's' },
      skipped: { 'no face': 1, 'too small': 1, unsure: 1, 'several faces': 1 },
    });
    gallery.close();
  });

  it('ignores a small face in the background', async () => {
    const gallery = openGallery(':memory:');
    const { pipeline, images } = pipelineOf([[face(unit(1, 0)), face(unit(0, 1), { side: 40 })]]);
    expect((await enrolPictures(pipeline, gallery, 'Anna', images)).person.samples).toBe(1);
    expect(gallery.match(unit(0, 1), 's')?.similarity).toBeCloseTo(0, 6);
    gallery.close();
  });

  it('drops pictures of somebody else', async () => {
    const gallery = openGallery(':memory:');
    const { pipeline, images } = pipelineOf([[face(unit(1, 0.1, 0))], [face(unit(1, 0.6, 0))], [face(unit(0, 0, 1))], [face(unit(1, -0.4, 0))]]);
    const { person, skipped } = await enrolPictures(pipeline, gallery, 'Anna', images);
    expect(person.samples).toBe(3);
    expect(skipped).toEqual({ 'somebody else': 1 });
    expect(gallery.match(unit(0, 0, 1), 's')?.similarity).toBeLessThan(0.1);
    gallery.close();
  });

  it('refuses a face that is enrolled under another name, unless told otherwise', async () => {
    const gallery = openGallery(':memory:');
    const anna = pipelineOf([[face(unit(1, 0.1, 0))], [face(unit(1, 0, 0.1))]]);
    await enrolPictures(anna.pipeline, gallery, 'Anna', anna.images);
    const again = pipelineOf([[face(unit(1, 0.2, 0.1))]]);
    await expect(enrolPictures(again.pipeline, gallery, 'Ben', again.images)).rejects.toMatchObject({ code: 'E_GALLERY_DUPLICATE', message: expect.stringMatching(/face of Ben is enrolled as Anna already \(cosine 0\.9/) as string });
    expect(gallery.list().map(({ name }) => name)).toEqual(['Anna']);
    expect((await enrolPictures(again.pipeline, gallery, ' Anna', again.images)).person.name).toBe('Anna');
    await enrolPictures(again.pipeline, gallery, 'Ben', again.images, { samePersonCosine: 2 });
    expect(gallery.nearest(unit(1, 0, 0), 's', 2).map(({ name }) => name).sort()).toEqual(['Anna', 'Ben']);
    gallery.close();
  });

  it('says so when the only picture has five faces, or none', async () => {
    const gallery = openGallery(':memory:');
    const crowd = pipelineOf([Array.from({ length: 5 }, () => face(unit(1, 0)))]);
    await expect(enrolPictures(crowd.pipeline, gallery, 'Anna', crowd.images)).rejects.toMatchObject({ code: 'E_GALLERY', message: expect.stringContaining('several faces (1)') as string });
    const nobody = pipelineOf([[]]);
    await expect(enrolPictures(nobody.pipeline, gallery, 'Anna', nobody.images)).rejects.toMatchObject({ code: 'E_GALLERY', message: expect.stringContaining('no face (1)') as string });
    expect(gallery.list()).toEqual([]);
    gallery.close();
  });

  it('refuses when nothing is usable, and pipelines that do not embed', async () => {
    const gallery = openGallery(':memory:');
    const none = pipelineOf([[], []]);
    await expect(enrolPictures(none.pipeline, gallery, 'Anna', none.images)).rejects.toMatchObject({ code: 'E_GALLERY', message: expect.stringContaining('no face (2)') as string });
    await expect(enrolPictures(none.pipeline, gallery, 'Anna', [])).rejects.toMatchObject({ code: 'E_GALLERY' });
    const blind = pipelineOf([[face(unit(1, 0))]], null);
    await expect(enrolPictures(blind.pipeline, gallery, 'Anna', blind.images)).rejects.toMatchObject({ code: 'E_GALLERY' });
    expect(gallery.list()).toEqual([]);
    gallery.close();
  });
});

describe('selectDiverse', () => {
  const samples = fc.array(fc.tuple(fc.double({ min: 0.1, max: 1, noNaN: true }), fc.double({ min: -1, max: 1, noNaN: true }), fc.double({ min: -1, max: 1, noNaN: true })), { minLength: 1, maxLength: 30 })
    .map((list) => list.map((values) => unit(...values)));

  it('keeps no near-duplicates, no more than asked, and covers what it left out', () => {
    fc.assert(fc.property(samples, fc.integer({ min: 1, max: 8 }), (list, maxSamples) => {
      const duplicateCosine = 0.95;
      const kept = selectDiverse(list, { maxSamples, duplicateCosine });
      expect(kept.length).toBeGreaterThan(0);
      expect(kept.length).toBeLessThanOrEqual(maxSamples);
      kept.forEach((a, i) => kept.slice(i + 1).forEach((b) => expect(cosineSimilarity(a, b)).toBeLessThan(duplicateCosine)));
      if (kept.length < maxSamples) for (const sample of list) expect(Math.max(...kept.map((k) => cosineSimilarity(k, sample)))).toBeGreaterThanOrEqual(duplicateCosine - 1e-9);
    }));
  });
});
