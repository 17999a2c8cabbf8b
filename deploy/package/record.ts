import { pixelLayout, pixelsToFloats } from '../../runtime/engines/feeds.js';
import type { Image } from '../../runtime/frame.js';
import type { FacePipelineSettings } from '../../runtime/package/manifest.js';
import { FacePipeline } from '../../runtime/pipeline/face-pipeline.js';
import type { EngineOptions, ModelStage } from '../../runtime/pipeline/model-stage.js';
import { openStages, stageList } from '../../runtime/pipeline/stages.js';
import { createSession } from '../../runtime/session.js';
import type { EngineName } from '../../runtime/session-types.js';
import type { Tensor } from '../../runtime/tensor.js';
import { nativePixels } from '../../runtime/vision/pixels.js';
import type { Canvas, PixelOps } from '../../runtime/vision/pixels.js';
import { modelPaths } from './settings.js';
import type { FaceModels } from './settings.js';

export const stageNames = ['detector', 'landmarks', 'embedder'] as const;
export type StageName = (typeof stageNames)[number];

/** One inference of one stage, as it happened in a pipeline. */
export interface StageRun {
  stage: StageName;
  /** The canvas: RGB or grey, HWC. */
  canvas: Uint8Array;
  /** The same pixels in the model's own channel order. */
  pixels: Uint8Array;
  outputs: Record<string, Tensor>;
}

/** Engine settings, and other pixel operations than the native ones for tests. */
export type RecordOptions = EngineOptions & { pixels?: PixelOps };

/**
 * Runs pictures through the face pipeline and records what every model was fed and answered: the inputs are what it must be
 * calibrated with, the pairs are golden vectors. Stops at the end, or when there are `enough` runs.
 */
export async function recordPictures(
  models: FaceModels, settings: FacePipelineSettings, pictures: AsyncIterable<Image> | Iterable<Image>,
  options: RecordOptions & { enough?: (runs: readonly StageRun[]) => boolean } = {},
): Promise<StageRun[]> {
  const { enough = () => false, ...rest } = options;
  return recording(models, settings, rest, async (pipeline, runs) => {
    for await (const picture of pictures) {
      await pipeline.embed(picture);
      if (enough(runs)) return;
    }
  });
}

/** Records one run of every model on a generated pattern: golden vectors without anybody's face. */
export async function recordPattern(models: FaceModels, settings: FacePipelineSettings, options: RecordOptions = {}): Promise<StageRun[]> {
  return recording(models, settings, options, (pipeline) => pipeline.withStages(async (stages) => {
    for (const stage of stageList(stages)) {
      paintPattern(stage.canvas);
      await stage.run();
    }
  }));
}

async function recording(
  models: FaceModels, settings: FacePipelineSettings, options: RecordOptions, work: (pipeline: FacePipeline, runs: readonly StageRun[]) => Promise<void>,
): Promise<StageRun[]> {
  const { pixels = nativePixels, ...engine } = options;
  const stages = await openStages(settings, (path) => modelAt(models, path), engine);
  const runs: StageRun[] = [];
  observe('detector', stages.detector, runs);
  observe('landmarks', stages.landmarks, runs);
  observe('embedder', stages.embedder, runs);
  const pipeline = new FacePipeline({ name: 'recorder', version: '0.0.0', embeddingSpaceId: null, settings, stages, pixels, gallery: undefined });
  try {
    await work(pipeline, runs);
  } finally {
    await pipeline.close();
  }
  return runs;
}

function observe(stage: StageName, model: ModelStage | undefined, runs: StageRun[]): void {
  if (model === undefined) return;
  model.onRun = (fed, outputs) => {
    const copies = Object.entries(outputs).map(([name, { type, dims, data }]) => [name, { type, dims, data: data.slice() }] as const);
    runs.push({ stage, canvas: model.canvas.data.slice(), pixels: fed.slice(), outputs: Object.fromEntries(copies) });
  };
}

/** Waves of several lengths with grain: smooth and fine structure in every channel, the same on every machine. */
function paintPattern({ width, channels, data }: Canvas): void {
  let grain = 1;
  for (let i = 0; i < data.length; i++) {
    const pixel = Math.floor(i / channels);
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    grain = (Math.imul(grain, 1664525) + 1013904223) >>> 0;
    // Triangle waves, not sines: Math.sin may differ in the last bit between engines.
    const wave = triangle(x, 48) + triangle(y, 31) + triangle(x + y, 13 + 4 * (i % channels));
    data[i] = Math.min(255, 20 + wave * 70 + (grain >>> 28));
  }
}

/** 0..1..0 over a period. */
function triangle(position: number, period: number): number {
  const phase = (position % period) / period;
  return phase < 0.5 ? 2 * phase : 2 - 2 * phase;
}

/**
 * Feeds of a float model from the recorded pixels of its stage.
 * @throws RuntimeError E_INPUT when they do not fit
 */
export async function calibrationFeeds(
  model: Uint8Array, stage: StageName, settings: FacePipelineSettings, runs: readonly StageRun[], engine?: EngineName,
): Promise<Record<string, Tensor>[]> {
  const contract = settings[stage]?.input;
  if (contract === undefined) return [];
  const session = await createSession(model, engine === undefined ? {} : { engine });
  await session.close();
  const info = session.inputs.find((input) => input.name === contract.tensor);
  if (info === undefined) return [];
  const layout = pixelLayout(info, contract);
  return runs.filter((run) => run.stage === stage)
    .map((run) => ({ [info.name]: { type: 'float32' as const, dims: info.dims, data: pixelsToFloats(layout, run.pixels) } }));
}

export function modelAt(models: FaceModels, path: string): Uint8Array {
  const byPath: Record<string, Uint8Array | undefined> = {
    [modelPaths.detector]: models.detector, [modelPaths.landmarks]: models.landmarks, [modelPaths.embedder]: models.embedder,
  };
  return byPath[path] ?? new Uint8Array(0);
}
