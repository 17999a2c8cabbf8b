import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectorsBars } from '../../../deploy/bench/pipeline/detectors.js';
import { faceBars } from '../../../deploy/bench/pipeline/faces.js';
import { galleryBars } from '../../../deploy/bench/pipeline/gallery.js';
import { incrementalBars } from '../../../deploy/bench/pipeline/incremental.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { captureCli } from '../cli/capture.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { openPackage } from '../../../runtime/package/index.js';
import { createPipeline, openGallery } from '../../../runtime/pipeline/index.js';
import { boxesModel } from '../cli/single-model.js';
import { tinyModels } from '../package/tiny-models.js';

describe('sterna bench-pipeline', () => {
  it('names a section whose model and film are absent', async () => {
    const { code, out } = await captureCli(['--json', 'bench-pipeline', '--only', 'incremental', 'detectors']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ bars: [], absent: { detectors: 'it needs --models FOLDER and --samples FOLDER', incremental: 'it needs --detector FILE and --footage FILE' } });
    const anchors = await captureCli(['--json', 'bench-pipeline', '--only', 'incremental', '--detector', import.meta.filename, '--footage', '.', '--anchors', 'nowhere.json']);
    expect([anchors.code, anchors.out + anchors.err]).toEqual([3, expect.stringContaining('nowhere.json') as string]);
  });

  it('refuses a section that does not exist', async () => {
    const { code, err } = await captureCli(['bench-pipeline', '--only', 'nothing']);
    expect(code).not.toBe(0);
    expect(err).toContain('gates, faces, daemon, gallery, cameras, detectors, incremental but received nothing');
  });
});

describe.skipIf(nativeMissing !== undefined)('the figures of incremental runs', () => {
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-bench-'));
    for (let i = 0; i < 3; i++) await sharp({ create: { width: 64, height: 64, channels: 3, background: '#f00' } }).png().toFile(join(folder, `${i}.png`));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('are measured against full runs of the same frames', { timeout: 60_000 }, async () => {
    const options = { model: boxesModel([[0, 0, 0.5, 0.5]], [1, 3, 64, 64]), video: folder, name: 'red' };
    expect(await incrementalBars({ ...options, label: 'nothing' })).toEqual({ absent: 'the detector finds no nothing in red (3 frames), so there are no boxes to keep' });
    const bars = await incrementalBars({ ...options, label: 'class 0' });
    if ('absent' in bars) throw new Error(bars.absent);
    expect(bars.map(({ id, unit }) => [id, unit])).toEqual([['incremental.red.kept', '%'], ['incremental.red.below-noise', 'points'], ['incremental.red.kept-low', '%'], ['incremental.red.cost', 'x']]);
    expect(bars[0]).toMatchObject({ value: 100, met: true });
    expect(bars[0]?.what).toContain('(3 of 3, 3 frames of red)');
    // A box that is always there survives noise; of the three frames one is seen with it.
    expect(bars[1]).toMatchObject({ value: 0, met: true });
    expect(bars[1]?.what).toContain('(100.00 %: 1 of 1, every 3rd frame)');
  });
});

describe.skipIf(nativeMissing !== undefined)('what int8 loses of a detector', () => {
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-bench-'));
    const [images, labels] = [join(folder, 'coco128', 'images'), join(folder, 'coco128', 'labels')];
    await Promise.all([images, labels].map((path) => mkdir(path, { recursive: true })));
    await writeFile(join(folder, 'boxes.onnx'), boxesModel([[0, 0, 0.5, 0.5]], [1, 3, 64, 64]));
    for (let i = 0; i < 12; i++) {
      await sharp({ create: { width: 64, height: 64, channels: 3, background: ['#f00', '#0f0', '#00f'][i % 3] ?? '' } }).png().toFile(join(images, `${i}.png`));
      // Of every fourth picture in either half the label is another one: the model is right in three quarters of them.
      await writeFile(join(labels, `${i}.txt`), `${(i + (i >> 1) % 4 === 3 ? 1 : 0) % 3} 0.25 0.25 0.5 0.5\n`);
    }
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('is judged by the labels, or by the sure boxes of the float model, on the half that it was not calibrated on', { timeout: 120_000 }, async () => {
    const lines: string[] = [];
    const options = { models: folder, samples: folder, signal: new AbortController().signal, progress: (line: string) => void lines.push(line) };
    const bars = await detectorsBars(options, [{ id: 'labelled', file: 'boxes.onnx', labelled: true }, { id: 'faces', file: 'boxes.onnx', labelled: false }]);
    if ('absent' in bars) throw new Error(bars.absent);
    expect(bars.map(({ id, met }) => [id, met])).toEqual([['pipeline.detector_labelled_int8', true], ['pipeline.detector_faces_int8', true]]);
    expect(bars[1]?.what).toContain('(float 1.0000, int8 1.0000; by half 0.0000, 0.0000)');
    expect(Number(/float ([\d.]+),/.exec(bars[0]?.what ?? '')?.[1])).toBeLessThan(0.9);
    expect(lines.map((line) => line.replace(/ in [\d.]+ s$/, ''))).toEqual(['labelled', 'faces'].flatMap((id) => [`${id}: 12 pictures read, float model run`, `${id}: quantized twice`, `${id}: int8 judged (loses 0.0000)`]));
    expect(await detectorsBars(options, [{ id: 'none', file: 'none.onnx', labelled: false }])).toEqual({ absent: `there is no ${join(folder, 'none.onnx')}` });
  });
});

describe.skipIf(nativeMissing !== undefined)('the figures of faces', () => {
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sterna-bench-'));
    // Nobody for two pictures, then a red one, which the tiny embedder knows.
    for (const [i, background] of ['#000', '#000', '#f00', '#f00'].entries()) await sharp({ create: { width: 64, height: 48, channels: 3, background } }).png().toFile(join(folder, `${i}.png`));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('say the cost with and without gates, and which visits were missed and confused', { timeout: 60_000 }, async () => {
    const modelPackage = await openPackage((await buildPipelinePackage('face-recognition', tinyModels(), { name: 'tiny', version: '1.0.0', embeddingSpaceId: 'tiny' })).bytes);
    const gallery = openGallery(':memory:');
    const pipeline = await createPipeline(modelPackage, { gallery });
    const [face] = await pipeline.embed({ width: 64, height: 48, data: new Uint8Array(64 * 48 * 3).map((_, i) => (i % 3 === 0 ? 255 : 0)) });
    gallery.enrol('Rosa', [face?.embedding ?? new Float32Array(0)], 'tiny');
    await pipeline.close();
    const bars = await faceBars({ modelPackage, gallery, video: folder, cacheFolder: join(folder, 'programs'), rounds: 2, visits: [{ name: 'Rosa', fromS: 0, toS: 1 }, { name: 'Ruth', fromS: 100, toS: 101 }] });
    gallery.close();
    expect(bars.map(({ id, bar }) => [id, bar])).toEqual([['faces.gates', '<= 0.3'], ['faces.missed', '0'], ['faces.confused', '0']]);
    expect(bars[0]?.value).toBeGreaterThan(0);
    expect(bars.slice(1)).toMatchObject([{ value: 1, met: false }, { value: 0, met: true }]);
  });

  it('say what a gallery takes', async () => {
    const [bar] = await galleryBars({ people: 20, samples: 2, dimensions: 64, queries: 4 });
    expect(bar).toMatchObject({ id: 'gallery.match', unit: 'ms', bar: '<= 2 ms' });
    expect(bar?.what).toContain('a face among 40 embeddings of 64 values');
    expect(bar?.value).toBeGreaterThanOrEqual(0);
  });
});
