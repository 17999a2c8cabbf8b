import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readSamples } from '../../../deploy/compress/samples.js';
import { calibrationFeeds, recordPictures } from '../../../deploy/package/record.js';
import { describePipeline } from '../../../deploy/package/describe.js';
import type { Image } from '../../../runtime/frame.js';
import { readImage } from '../../../runtime/media/index.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import type { PipelineDescription } from '../../../runtime/stages/contract.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { cosineSimilarity } from '../../../runtime/vision/embedding.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { sharedFile } from '../../support/shared.js';

const available = existsSync(sharedFile('models/fr_feature.onnx')) && existsSync(sharedFile('samples/faces'));
const numbers = (tensor: Tensor | undefined): number[] => Array.from(tensor?.data ?? [], Number);
const modelFile = (name: string): Promise<Uint8Array> => readFile(sharedFile('models', name));

describe.skipIf(!available)('face models in int8 (needs shared/models and shared/samples)', () => {
  let models: Record<'detector' | 'landmarks' | 'embedder', Uint8Array>;
  let pipeline: PipelineDescription;
  let seen: Image[] = [];
  let unseen: Image[] = [];
  beforeAll(async () => {
    models = { detector: await modelFile('fr_detect.onnx'), landmarks: await modelFile('fr_landmark.onnx'), embedder: await modelFile('fr_feature.onnx') };
    pipeline = await describePipeline('face-recognition', models);
    const folder = sharedFile('samples/faces');
    const names = (await readdir(folder)).filter((name) => /\.(jpe?g|png)$/.test(name)).sort();
    const pictures = await Promise.all(names.map((name) => readImage(join(folder, name))));
    // Half to calibrate on, half to measure with.
    seen = pictures.filter((_, i) => i % 2 === 0);
    unseen = pictures.filter((_, i) => i % 2 === 1);
  });

  async function feeds(stage: 'detector' | 'embedder', pictures: Image[]): Promise<Record<string, Tensor>[]> {
    return calibrationFeeds(models[stage], stage, pipeline, { runs: await recordPictures(models, pipeline, pictures) });
  }

  it('embed faces that calibration never saw as the float model does', async () => {
    const { model, report } = await quantizeModel(models.embedder, await feeds('embedder', seen));
    expect(report.output_bytes).toBeLessThan(0.3 * report.input_bytes);
    expect(report.output_cosine).toBeGreaterThan(0.99);
    const [float, int8] = await Promise.all([createSession(models.embedder), createSession(model)]);
    const cosines: number[] = [];
    for (const feed of await feeds('embedder', unseen)) {
      const [expected, actual] = await Promise.all([float.run(feed), int8.run(feed)]);
      cosines.push(cosineSimilarity(numbers(actual['output']), numbers(expected['output'])));
    }
    expect(cosines.length).toBeGreaterThan(2);
    expect(cosines.reduce((sum, value) => sum + value, 0) / cosines.length).toBeGreaterThan(0.985);
    await Promise.all([float.close(), int8.close()]);
  }, 120_000);

  it('find the same faces in the same places', async () => {
    const { model } = await quantizeModel(models.detector, await feeds('detector', seen));
    const detections = async (detector: Uint8Array): Promise<Record<string, Tensor>[]> => {
      const runs = await recordPictures({ ...models, detector }, pipeline, unseen);
      return runs.filter(({ stage }) => stage === 'detector').map(({ outputs }) => outputs);
    };
    const [before, after] = [await detections(models.detector), await detections(model)];
    expect(after).toHaveLength(before.length);
    before.forEach((expected, i) => {
      const scores = numbers(expected['scores']).filter((_, j) => j % 2 === 1);
      const best = scores.indexOf(Math.max(...scores));
      expect(numbers(after[i]?.['scores'])[2 * best + 1]).toBeGreaterThan(0.9);
      // Corners as shares of the picture, at the prior of which the float model is surest.
      const box = (outputs: Record<string, Tensor> | undefined): number[] => numbers(outputs?.['boxes']).slice(4 * best, 4 * best + 4);
      box(expected).forEach((value, j) => expect(Math.abs((box(after[i])[j] ?? NaN) - value)).toBeLessThan(0.02));
    });
  }, 120_000);

  it.skipIf(oracleMissing !== undefined)(`run on both engines to the same bit${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, async () => {
    const bytes = await modelFile('vww_96_float.onnx');
    const { model } = await quantizeModel(bytes, readSamples(sharedFile('samples/images'), modelInputs(bytes), 8));
    const [ours, theirs] = [await createSession(model), await createSession(model, { engine: 'onnxruntime' })];
    for await (const feed of readSamples(sharedFile('samples/images'), modelInputs(bytes), 4)) {
      const a = Object.values(await ours.run(feed))[0]?.data ?? [];
      const b = Object.values(await theirs.run(feed))[0]?.data ?? [];
      a.forEach((value, i) => expect(Math.abs(Number(value) - Number(b[i]))).toBeLessThan(1e-5));
    }
    await Promise.all([ours.close(), theirs.close()]);
  }, 120_000);
});
