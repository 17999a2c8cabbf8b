import { afterEach, describe, expect, it } from 'vitest';
import { defaultLiveness, livenessSettings } from '../../../runtime/kinds/face-recognition/liveness.js';
import { openGallery } from '../../../runtime/pipeline/gallery.js';
import { detectionsOf } from '../../../runtime/stages/finding.js';
import { normalize } from '../../../runtime/vision/embedding.js';
import { fakePipeline, frameOf, settings } from './fakes.js';
import type { FakeFace } from './fakes.js';

const liveness = livenessSettings.parse({ ...defaultLiveness, classes: 2, activation: 'none' });
const face: FakeFace = { box: [0.25, 0.25, 0.75, 0.75], score: 0.875 };
// The fake embedder tells colours apart; the fake liveness model takes what is blue for a picture.
const red = [200, 10, 10] as const, green = [10, 200, 10] as const;
const redPicture = [200, 10, 200] as const;

const open: { close(): unknown }[] = [];
afterEach(async () => { for (const it of open.splice(0)) await it.close(); });

function setUp({ tracking = true } = {}) {
  const gallery = openGallery(':memory:');
  const embeddingOf = (colour: readonly number[]): Float32Array => normalize(Float32Array.from([...colour, 0])) ?? new Float32Array(4);
  gallery.enrol('Red', [embeddingOf(red), embeddingOf(redPicture)], 'colours');
  gallery.enrol('Green', [embeddingOf(green)], 'colours');
  const parts = fakePipeline({
    faces: [face], gallery,
    change: { liveness, motion: { ...settings.motion, enabled: false }, tracking: { ...settings.tracking, enabled: tracking } },
  });
  open.push(parts.pipeline, gallery);
  let atMs = 0;
  /** Shows a colour for so many frames of 100 ms; what the last one says. */
  const show = async (colour: readonly [number, number, number], frames = 1) => {
    let found: ReturnType<typeof detectionsOf>[number] | undefined;
    for (let i = 0; i < frames; i++) {
      [found] = detectionsOf((await parts.pipeline.process(frameOf(colour, { capturedMs: atMs }))).findings);
      atMs += 100;
    }
    return found;
  };
  return { ...parts, show };
}

describe('a pipeline with a liveness model', () => {
  it('says who a live face is, and how live it looks', async () => {
    const { show } = setUp();
    const found = await show(red, 3);
    expect(found).toMatchObject({ identity: { name: 'Red' }, liveness: { live: true } });
    expect(found?.liveness?.score).toBeCloseTo(1 - 10 / 255, 2);
  });

  it('takes a picture for nobody, and does not embed it', async () => {
    const { show, embedder } = setUp();
    expect(await show(redPicture, 5)).toMatchObject({ identity: null, liveness: { live: false } });
    expect(embedder.runs).toBe(0);
  });

  it('does not take a live face for the person of a picture that was shown in its place', async () => {
    const { show } = setUp();
    await show(redPicture, 5);
    const seen = [];
    for (let i = 0; i < 40; i++) seen.push((await show(green))?.identity?.name ?? null);
    expect(seen).not.toContain('Red');
    expect(seen.at(-1)).toBe('Green');
  });

  it('does not take a picture for its person because the face before it was live', async () => {
    const { show } = setUp();
    expect(await show(green, 5)).toMatchObject({ identity: { name: 'Green' } });
    const seen = [];
    for (let i = 0; i < 40; i++) seen.push((await show(redPicture))?.identity?.name ?? null);
    expect(seen).not.toContain('Red');
    expect(seen.at(-1)).toBeNull();
  });

  it('looks at a picture a few times, then when it is due', async () => {
    const { show, liveness: model } = setUp();
    await show(redPicture, 31);
    // Three first sights, then one a second of the 2.8 that remain.
    expect(model.runs).toBe(settings.recognition.new_samples + 2);
  });

  it('judges one picture by itself where nothing is followed', async () => {
    const { show, embedder } = setUp({ tracking: false });
    expect(await show(red)).toMatchObject({ identity: { name: 'Red' }, liveness: { live: true } });
    expect(await show(redPicture)).toMatchObject({ identity: null, liveness: { live: false } });
    expect(embedder.runs).toBe(1);
  });

  it('enrols from photos, which are no live faces', async () => {
    const { pipeline, liveness: model } = setUp();
    expect(await pipeline.embed(frameOf(redPicture))).toHaveLength(1);
    expect(model.runs).toBe(0);
  });

  it('rehearses the model with the others', async () => {
    const { pipeline, liveness: model, embedder } = setUp();
    await pipeline.rehearse(frameOf(red));
    expect([model.runs, embedder.runs]).toEqual([1, 1]);
  });
});
