import type { Image } from '../../runtime/frame.js';
import type { ManifestInput } from '../../runtime/package/manifest.js';
import { quantiseModel } from '../../runtime/quantise/quantise.js';
import type { QuantiseOptions, QuantiseReport } from '../../runtime/quantise/quantise.js';
import { DeployError } from '../errors.js';
import { calibrationFeeds, recordPictures } from './record.js';
import type { RecordOptions, StageName } from './record.js';
import { faceSettings } from './settings.js';
import type { FaceModels } from './settings.js';

export interface CompressFaceOptions {
  /** Stages to quantize. Default: detector and embedder; the landmark model is small, and its points are what alignment rests on. */
  stages?: readonly StageName[];
  overrides?: unknown;
  quantise?: QuantiseOptions;
  record?: RecordOptions;
}

export interface CompressedFaceModels {
  models: FaceModels;
  reports: Partial<Record<StageName, QuantiseReport>>;
  /** For the package's manifest. */
  calibration: NonNullable<ManifestInput['calibration']>;
}

/**
 * Quantizes the models of a face pipeline, to int8 unless `quantise` says otherwise, each calibrated on what the pipeline itself feeds it for these pictures:
 * letterboxed frames for the detector, aligned faces for the embedder. A few dozen pictures with faces are enough.
 * @throws DeployError E_USAGE when the pictures show no face, RuntimeError E_QUANTIZE, E_MODEL_*
 */
export async function compressFaceModels(
  models: FaceModels, pictures: AsyncIterable<Image> | Iterable<Image>, options: CompressFaceOptions = {},
): Promise<CompressedFaceModels> {
  const { stages = ['detector', 'embedder'], record = {}, quantise = {} } = options;
  const settings = await faceSettings(models, options.overrides, record.engine);
  const runs = await recordPictures(models, settings, pictures, record);
  const result: CompressedFaceModels = { models: { ...models }, reports: {}, calibration: [] };
  for (const stage of stages) {
    const model = models[stage];
    if (model === undefined) continue;
    const feeds = await calibrationFeeds(model, stage, settings, runs, record.engine);
    if (feeds.length === 0) throw new DeployError('E_USAGE', `The calibration pictures give the ${stage} nothing to see: no face was found in them`);
    // Devices see people whom calibration did not: nothing that it saw is clipped.
    const { model: quantised, report } = await quantiseModel(model, feeds, { method: 'minmax', ...quantise });
    result.models[stage] = quantised;
    result.reports[stage] = report;
    result.calibration.push({ stage, method: report.method, images: report.calibration_samples, output_cosine: report.output_cosine });
  }
  return result;
}
