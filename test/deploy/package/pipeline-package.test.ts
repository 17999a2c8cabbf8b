import { describe, expect, it } from 'vitest';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { compressStages } from '../../../deploy/package/compress.js';
import { describePipeline, type StageModels } from '../../../deploy/package/describe.js';
import { calibrationFeeds, recordPattern, recordPictures } from '../../../deploy/package/record.js';
import type { Image } from '../../../runtime/frame.js';
import { openPackage, selfTest } from '../../../runtime/package/index.js';
import { referencePixels } from '../../runtime/vision/reference-pixels.js';
import { frameOf } from '../../runtime/pipeline/fakes.js';
import { tinyModels } from './tiny-models.js';

const models = tinyModels();
const kind = 'face-recognition';
const describeFaces = (given: StageModels, overrides?: unknown) => describePipeline(kind, given, overrides);
const pixels = referencePixels;
const pictures: Image[] = [frameOf([200, 30, 40]), frameOf([20, 190, 60]), frameOf([90, 90, 250])];

describe('describePipeline', () => {
  it('reads sizes and tensor names from the models', async () => {
    const settings = await describeFaces(models);
    expect(settings).toMatchObject({
      kind: 'face-recognition',
      stages: {
        detector: { input: { type: 'pixels', tensor: 'input', width: 32, height: 24, channels: 'rgb' }, outputs: ['scores', 'boxes'] },
        landmarks: { input: { width: 16, height: 16, channels: 'grey' } },
        embedder: { input: { width: 112, height: 112 } },
      },
      settings: { detector: { decoder: { type: 'boxes', scores: 'scores', boxes: 'boxes', class: 1 } }, embedder: { dimensions: 4 } },
    });
  });

  it('takes overrides field by field, and names one that is wrong', async () => {
    const settings = await describeFaces(models, { settings: { match_threshold: 0.6, detector: { score_threshold: 0.9 }, motion: { enabled: false } } });
    expect(settings).toMatchObject({ settings: { match_threshold: 0.6, detector: { score_threshold: 0.9, fit: 'letterbox' }, motion: { enabled: false, min_cells: 4 } } });
    await expect(describeFaces(models, { settings: { detector: { score_threshold: 7 } } })).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('detector.score_threshold') as string });
  });

  it('refuses models that have another shape', async () => {
    await expect(describeFaces({ ...models, detector: models.embedder })).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('scores [1, N, 2]') as string });
    await expect(describeFaces({ ...models, landmarks: models.embedder })).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('[1, 1, H, W]') as string });
    await expect(describeFaces({ detector: models.detector, embedder: models.embedder })).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('landmark model') as string });
  });
});

describe('recording', () => {
  it('records what each model is fed in the pipeline', async () => {
    const runs = await recordPictures(models, await describeFaces(models), pictures, { pixels });
    expect(runs.map(({ stage }) => stage)).toEqual(pictures.flatMap(() => ['detector', 'landmarks', 'embedder']));
    const embedded = runs.filter(({ stage }) => stage === 'embedder');
    expect(embedded.map(({ canvas }) => [...canvas.subarray(0, 3)])).toEqual([[200, 30, 40], [20, 190, 60], [90, 90, 250]]);
  });

  it('stops when it has enough', async () => {
    const runs = await recordPictures(models, await describeFaces(models), pictures, { pixels, enough: (known) => known.length >= 3 });
    expect(runs).toHaveLength(3);
  });

  it('makes float feeds in the layout and normalization of the model', async () => {
    const settings = await describeFaces(models);
    const runs = await recordPictures(models, settings, pictures.slice(0, 1), { pixels });
    const [feed] = await calibrationFeeds(models.embedder, 'embedder', settings, { runs });
    const { dims, data } = feed?.input ?? { dims: [], data: [] };
    expect(dims).toEqual([1, 3, 112, 112]);
    expect(data[0]).toBeCloseTo((200 - 127.5) / 128, 6);
    expect(data[112 * 112]).toBeCloseTo((30 - 127.5) / 128, 6);
  });

  it('paints the same pattern everywhere, with contrast', async () => {
    const [first, second] = await Promise.all([recordPattern(models, await describeFaces(models)), recordPattern(models, await describeFaces(models))]);
    expect(first.map(({ canvas }) => canvas)).toEqual(second.map(({ canvas }) => canvas));
    const { canvas = new Uint8Array(0) } = first[0] ?? {};
    expect(Math.max(...canvas) - Math.min(...canvas)).toBeGreaterThan(100);
  });
});

describe('buildPipelinePackage', () => {
  const options = { name: 'tiny', version: '1.0.0', pixels };

  it('packs what passes its own test, the same bytes each time', async () => {
    const first = await buildPipelinePackage(kind, models, { ...options, goldenPictures: pictures });
    const second = await buildPipelinePackage(kind, models, { ...options, goldenPictures: pictures });
    expect(first.sha256).toBe(second.sha256);
    expect(first.manifest.golden.map(({ stage }) => stage)).toEqual(['detector', 'landmarks', 'landmarks', 'embedder', 'embedder']);
    const report = await selfTest(await openPackage(first.bytes), { rounds: 2 });
    expect(report).toMatchObject({ passed: true, failures: [] });
    expect(report.memoryBytes).toBeGreaterThan(0);
  });

  it('needs nobody\'s picture', async () => {
    const { manifest } = await buildPipelinePackage(kind, models, options);
    expect(manifest.golden.map(({ stage }) => stage)).toEqual(['detector', 'landmarks', 'embedder']);
    expect(manifest.embedding_space_id).toMatch(/^sha256-[0-9a-f]{32}$/);
  });

  it('says when the golden pictures show no face', async () => {
    const blind = { ...options, goldenPictures: pictures, overrides: { settings: { detector: { score_threshold: 0.95 } } } };
    await expect(buildPipelinePackage(kind, models, blind)).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('nothing to see') as string });
  });
});

describe('compressStages', () => {
  it('quantizes detector and embedder on what the pipeline feeds them, and the result still packs and passes', async () => {
    const { models: small, reports, calibration } = await compressStages(kind, models, pictures, { record: { pixels } });
    expect(small.landmarks).toBe(models.landmarks);
    expect(small.embedder).not.toEqual(models.embedder);
    expect(Object.keys(reports)).toEqual(['detector', 'embedder']);
    expect(calibration).toMatchObject([{ stage: 'detector', images: 3 }, { stage: 'embedder', images: 3 }]);
    const { bytes } = await buildPipelinePackage(kind, small, { name: 'tiny', version: '1.0.1', pixels, calibration });
    const opened = await openPackage(bytes);
    expect(opened.manifest.calibration).toEqual(calibration);
    expect((await selfTest(opened, { rounds: 1 })).failures).toEqual([]);
  });

  it('says when there is nothing to calibrate on', async () => {
    await expect(compressStages(kind, models, [], { record: { pixels } })).rejects.toMatchObject({ code: 'E_USAGE' });
  });
});
