/**
 * Does the face pipeline recognize the right people, with int8 detector and embedder on our own kernels? On real footage of two people:
 * whoever is enrolled from one clip must be recognized in the other clip of the same person and never in a clip of somebody else.
 *
 * `STERNA_RECOGNITION_FPS=25 npx vitest run test/e2e/recognition.test.ts` looks at every frame (minutes); by default it is one a second.
 */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compressStages } from '../../deploy/package/compress.js';
import { buildPipelinePackage } from '../../deploy/package/build.js';
import type { StageModels } from '../../deploy/package/describe.js';
import type { Frame } from '../../runtime/frame.js';
import { openPackage, selfTest } from '../../runtime/package/index.js';
import type { ModelPackage } from '../../runtime/package/index.js';
import type { Pipeline } from '../../runtime/pipeline/types.js';
import type { EngineName } from '../../runtime/session-types.js';
import { cosineSimilarity } from '../../runtime/vision/embedding.js';
import { clips, faceModels, frames, galleryOf, missingForRecognition, openPipeline, Panel, photoEmbeddings, photos, recognize } from './recognition.js';
import type { Recognition } from './recognition.js';

const fps = Number(process.env.STERNA_RECOGNITION_FPS ?? 1);
const engine: EngineName = process.env.STERNA_RECOGNITION_ENGINE === 'onnxruntime' ? 'onnxruntime' : 'native';
const space = 'fr-feature-1';
const minutes = 60_000;

/** franck.mp4 is the only clip of its person: its first 40 seconds serve enrolment and calibration, the rest is for the test. */
const franckEnrolmentS = 40;

async function* calibrationFrames(): AsyncGenerator<Frame, void, undefined> {
  yield* frames(clips.franck ?? '', { fps: 0.4, toS: franckEnrolmentS });
  yield* frames(clips.cap12 ?? '', { fps: 0.4 });
}

async function pack(models: StageModels): Promise<ModelPackage> {
  const { bytes } = await buildPipelinePackage('face-recognition', models, { name: 'faces', version: '1.0.0', embeddingSpaceId: space, engine: { engine } });
  return openPackage(bytes);
}

const missing = missingForRecognition();

describe.skipIf(missing !== '')(`recognition of two people${missing === '' ? '' : ` (skipped: ${missing})`}`, () => {
  let float: Pipeline;
  let int8: Pipeline;
  let int8Package: ModelPackage;
  let panel: Panel;
  let threshold: number;
  const inClip: Partial<Record<keyof typeof clips, Recognition>> = {};

  beforeAll(async () => {
    const models = faceModels();
    if (models === undefined) throw new Error('the models disappeared');
    const compressed = await compressStages('face-recognition', models, calibrationFrames(), { record: { engine }, quantize: { engine } });
    int8Package = await pack(compressed.models);
    float = await openPipeline(await pack(models), undefined, engine);
    const enroller = await openPipeline(int8Package, undefined, engine);
    panel = new Panel({
      franck: await galleryOf(enroller, 'franck', frames(clips.franck ?? '', { fps: 0.2, toS: franckEnrolmentS })),
      cap: await galleryOf(enroller, 'cap', frames(clips.cap12 ?? '', { fps: 0.15 })),
    });
    await enroller.close();
    int8 = await openPipeline(int8Package, panel, engine);
    threshold = Number(int8Package.manifest.pipeline.settings['match_threshold']);
    inClip.cap13 = await recognize(int8, panel, threshold, frames(clips.cap13 ?? '', { fps }));
    inClip.cap12 = await recognize(int8, panel, threshold, frames(clips.cap12 ?? '', { fps }));
    inClip.franck = await recognize(int8, panel, threshold, frames(clips.franck ?? '', { fps, fromS: franckEnrolmentS }));
    console.log(JSON.stringify({ fps, engine, threshold, ...inClip }));
  }, 20 * minutes);

  afterAll(async () => {
    await int8.close();
    await float.close();
    panel.close();
  });

  it('recognizes the man of cap12 in at least 99 % of the frames of cap13', () => {
    expect((inClip.cap13?.people.cap?.recognized ?? 0) / (inClip.cap13?.frames ?? 0)).toBeGreaterThanOrEqual(0.99);
  });

  it('never takes the man of franck for the man of cap12', () => {
    expect(inClip.franck?.people.cap?.recognized).toBe(0);
  });

  it('recognizes the man of franck in at least 99 % of the frames that he was not enrolled from', () => {
    expect((inClip.franck?.people.franck?.recognized ?? 0) / (inClip.franck?.frames ?? 0)).toBeGreaterThanOrEqual(0.99);
  });

  it('never takes the man of cap12 and cap13 for the man of franck', () => {
    expect(inClip.cap12?.people.franck?.recognized).toBe(0);
    expect(inClip.cap13?.people.franck?.recognized).toBe(0);
  });

  it('keeps the embeddings of the float model: mean cosine of at least 0.99', async () => {
    const cosines: number[] = [];
    for await (const frame of frames(clips.cap13 ?? '', { fps: 0.6 })) cosines.push(...await compareEmbeddings(float, int8, frame));
    for await (const frame of frames(clips.franck ?? '', { fps: 0.12, fromS: franckEnrolmentS })) cosines.push(...await compareEmbeddings(float, int8, frame));
    const mean = cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
    console.log(JSON.stringify({ embeddings: cosines.length, meanCosineInt8Float: mean, lowest: Math.min(...cosines) }));
    expect(mean).toBeGreaterThanOrEqual(0.99);
  }, minutes);

  it('passes its own golden vectors', async () => {
    const report = await selfTest(int8Package, { engine, rounds: 3 });
    expect(report.failures).toEqual([]);
  }, minutes);

  it.skipIf(!existsSync(photos))(`tells the people of the sample photos apart${existsSync(photos) ? '' : ' (skipped: no sample photos)'}`, async () => {
    const faces = await photoEmbeddings(int8);
    const pairs = faces.flatMap((a, i) => faces.slice(i + 1).map((b) => ({ same: a.person === b.person, cosine: cosineSimilarity(a.embedding, b.embedding) })));
    const same = pairs.filter((pair) => pair.same).map((pair) => pair.cosine);
    const different = pairs.filter((pair) => !pair.same).map((pair) => pair.cosine);
    console.log(JSON.stringify({ photos: faces.length, lowestSame: Math.min(...same), highestDifferent: Math.max(...different) }));
    expect(Math.min(...same)).toBeGreaterThan(Math.max(...different));
  }, minutes);
});

/** Cosine of the embeddings that both pipelines make of the frame's largest face, found and aligned by each itself. */
async function compareEmbeddings(float: Pipeline, int8: Pipeline, frame: Frame): Promise<number[]> {
  const [a] = await float.embed(frame);
  const [b] = await int8.embed(frame);
  return a === undefined || b === undefined ? [] : [cosineSimilarity(a.embedding, b.embedding)];
}
