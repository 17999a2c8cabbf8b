import type { AudioChunk, Image } from '../../runtime/frame.js';
import type { DescribeHints } from '../../runtime/kinds/kind.js';
import { kindOf } from '../../runtime/kinds/registry.js';
import type { ManifestInput } from '../../runtime/package/manifest.js';
import type { OnQuantizeProgress } from '../../runtime/quantize/report/progress.js';
import { quantizeModel } from '../../runtime/quantize/quantize.js';
import type { QuantizeOptions, QuantizeReport } from '../../runtime/quantize/quantize.js';
import { DeployError } from '../errors.js';
import { agreementOfModel } from '../compress/box-agreement.js';
import { describePipeline } from './describe.js';
import type { StageModels } from './describe.js';
import { calibrationFeeds, recordPictures } from './record.js';
import type { RecordOptions } from './record.js';

export interface CompressStagesOptions {
  /** Stages to quantize. Default: those that the kind quantizes by default. */
  stages?: readonly string[];
  overrides?: unknown;
  /** What the user knows of a detector and its file does not say. */
  hints?: DescribeHints;
  quantize?: QuantizeOptions;
  record?: RecordOptions;
  /** Told how many pictures went through the pipeline. */
  onPicture?: (count: number) => void;
  /** Of the quantization of each stage. */
  onProgress?: (stage: string) => OnQuantizeProgress;
}

async function* counted(pictures: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>, onPicture: (count: number) => void): AsyncGenerator<Image | AudioChunk> {
  let count = 0;
  onPicture(count);
  for await (const picture of pictures) {
    yield picture;
    onPicture(++count);
  }
}

export interface CompressedStages {
  models: StageModels;
  reports: Readonly<Record<string, QuantizeReport>>;
  /** For the package's manifest. */
  calibration: NonNullable<ManifestInput['calibration']>;
}

/**
 * Quantizes the models of a pipeline, to int8 unless `quantize` says otherwise, each calibrated on what the pipeline itself feeds it for these pictures:
 * letterboxed frames for a detector, aligned faces for an embedder. A few dozen pictures are enough.
 * @throws DeployError E_USAGE when the pictures give a stage nothing to see, or the kind has no such stage; RuntimeError E_QUANTIZE, E_MODEL_*
 */
export async function compressStages(
  kind: string, models: StageModels, pictures: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>, options: CompressStagesOptions = {},
): Promise<CompressedStages> {
  const { stages = quantizedStages(kind), record = {}, quantize = {}, onPicture = () => undefined, onProgress } = options;
  const unknown = stages.filter((stage) => kindOf(kind).roles[stage] === undefined);
  if (unknown.length > 0) throw new DeployError('E_USAGE', `Expected stages of ${Object.keys(kindOf(kind).roles).join(', ')} but received ${unknown.join(', ')}`);
  const pipeline = await describePipeline(kind, models, options.overrides, record.engine, options.hints);
  const runs = await recordPictures(models, pipeline, counted(pictures, onPicture), record);
  const result = { models: { ...models } as Record<string, Uint8Array>, reports: {} as Record<string, QuantizeReport>, calibration: [] as CompressedStages['calibration'] };
  for (const stage of stages) {
    const model = models[stage];
    if (model === undefined) continue;
    const feeds = await calibrationFeeds(model, stage, pipeline, { runs, engine: record.engine });
    if (feeds.length === 0) throw new DeployError('E_USAGE', `The calibration pictures give the ${stage} nothing to see: nothing was found in them`);
    // Devices see people whom calibration did not: nothing that it saw is clipped.
    const agreement = agreementOfModel(model, {}, options.hints);
    const { model: quantized, report } = await quantizeModel(model, feeds, { method: 'minmax', ...(agreement === undefined ? {} : { agreement }), ...quantize, ...(onProgress === undefined ? {} : { onProgress: onProgress(stage) }) });
    result.models[stage] = quantized;
    result.reports[stage] = report;
    result.calibration.push({ stage, method: report.method, images: report.calibration_samples, output_cosine: report.output_cosine });
  }
  return result;
}

function quantizedStages(kind: string): string[] {
  return Object.entries(kindOf(kind).roles).filter(([, role]) => role.quantized).map(([name]) => name);
}
