import { pixelLayout, pixelsToFloats } from '../../runtime/engines/feeds.js';
import type { AudioChunk, Image } from '../../runtime/frame.js';
import { parsePipeline } from '../../runtime/kinds/registry.js';
import { createSession } from '../../runtime/session.js';
import type { EngineName } from '../../runtime/session-types.js';
import type { PipelineDescription } from '../../runtime/stages/contract.js';
import { soundValues } from '../../runtime/stages/contract.js';
import { ModelStage } from '../../runtime/stages/model-stage.js';
import type { EngineOptions } from '../../runtime/stages/model-stage.js';
import { openStages } from '../../runtime/stages/open-stages.js';
import { SoundStage } from '../../runtime/stages/sound-stage.js';
import type { Stage } from '../../runtime/stages/stage.js';
import type { Pipeline } from '../../runtime/stages/types.js';
import type { Tensor, TensorInfo } from '../../runtime/tensor.js';
import { nativePixels } from '../../runtime/vision/pixels.js';
import type { Canvas, PixelOps } from '../../runtime/vision/pixels.js';
import type { StageModels } from './describe.js';
import { noise } from '../../runtime/noise.js';

/** One inference of one stage, as it happened in a pipeline. */
export interface StageRun {
  stage: string;
  /** The canvas: RGB or grey, HWC. Of sound, what the model was fed. */
  canvas: Uint8Array;
  /** The same pixels in the model's own channel order. */
  pixels: Uint8Array;
  outputs: Record<string, Tensor>;
}

/** Engine settings, and other pixel operations than the native ones for tests. */
export type RecordOptions = EngineOptions & { pixels?: PixelOps };

/**
 * Runs pictures through a pipeline and records what every model was fed and answered: the inputs are what it must be
 * calibrated with, the pairs are golden vectors. Stops at the end, or when there are `enough` runs.
 */
export async function recordPictures(
  models: StageModels, pipeline: PipelineDescription, pictures: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>,
  options: RecordOptions & { enough?: (runs: readonly StageRun[]) => boolean } = {},
): Promise<StageRun[]> {
  const { enough = () => false, ...rest } = options;
  return recording(models, pipeline, rest, async (opened, runs) => {
    for await (const picture of pictures) {
      await opened.rehearse(picture);
      if (enough(runs)) return;
    }
  });
}

/** Records one run of every model on a generated pattern: golden vectors without anybody's face. */
export async function recordPattern(models: StageModels, pipeline: PipelineDescription, options: RecordOptions = {}): Promise<StageRun[]> {
  return recording(models, pipeline, options, (opened) => opened.withStages(async (stages) => {
    for (const stage of Object.values(stages)) {
      if (stage instanceof ModelStage) paintPattern(stage.canvas);
      if (stage instanceof SoundStage) stage.loadPattern();
      await stage.run();
    }
  }));
}

async function recording(
  models: StageModels, description: PipelineDescription, options: RecordOptions, work: (pipeline: Pipeline, runs: readonly StageRun[]) => Promise<void>,
): Promise<StageRun[]> {
  const { pixels = nativePixels, ...engine } = options;
  const blueprint = parsePipeline(description);
  const stages = await openStages(blueprint.stages, (path) => modelAt(models, description, path), engine);
  const runs: StageRun[] = [];
  for (const [name, stage] of Object.entries(stages)) observe(name, stage, runs);
  const pipeline = blueprint.create({ name: 'recorder', version: '0.0.0', embeddingSpaceId: null, stages, pixels, gallery: undefined });
  try {
    await work(pipeline, runs);
  } finally {
    await pipeline.close();
  }
  return runs;
}

function observe(stage: string, model: Stage, runs: StageRun[]): void {
  model.onRun = (fed, outputs) => {
    const copies = Object.entries(outputs).map(([name, { type, dims, data }]) => [name, { type, dims, data: data.slice() }] as const);
    runs.push({ stage, canvas: model instanceof ModelStage ? model.canvas.data.slice() : fed.slice(), pixels: fed.slice(), outputs: Object.fromEntries(copies) });
  };
}

/** Waves of several lengths with grain: smooth and fine structure in every channel, the same on every machine. */
function paintPattern({ width, channels, data }: Canvas): void {
  const grain = noise();
  for (let i = 0; i < data.length; i++) {
    const pixel = Math.floor(i / channels);
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    // Triangle waves, not sines: Math.sin may differ in the last bit between engines.
    const wave = triangle(x, 48) + triangle(y, 31) + triangle(x + y, 13 + 4 * (i % channels));
    data[i] = Math.min(255, 20 + wave * 70 + (grain() >>> 28));
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
  model: Uint8Array, stage: string, { stages }: PipelineDescription, { runs, engine }: { runs: readonly StageRun[]; engine?: EngineName | undefined },
): Promise<Record<string, Tensor>[]> {
  const contract = stages[stage]?.input;
  if (contract === undefined) return [];
  const session = await createSession(model, { floats: 'float32', ...(engine === undefined ? {} : { engine }) });
  await session.close();
  const info = session.inputs.find((input) => input.name === contract.tensor);
  if (info === undefined) return [];
  if (contract.type !== 'pixels') return soundFeeds(info, soundValues(contract), runs.filter((run) => run.stage === stage));
  const layout = pixelLayout(info, contract);
  return runs.filter((run) => run.stage === stage)
    .map((run) => ({ [info.name]: { type: 'float32' as const, dims: info.dims, data: pixelsToFloats(layout, run.pixels) } }));
}

/** A float model of sound was recorded as it is: its floats are its feeds. */
function soundFeeds({ name, dims }: TensorInfo, values: number, runs: readonly StageRun[]): Record<string, Tensor>[] {
  return runs.filter(({ pixels }) => pixels.length === 4 * values)
    .map(({ pixels }) => ({ [name]: { type: 'float32' as const, dims, data: new Float32Array(pixels.slice().buffer) } }));
}

/** The bytes of a path of the description. */
export function modelAt(models: StageModels, { stages }: PipelineDescription, path: string): Uint8Array {
  const stage = Object.keys(stages).find((name) => stages[name]?.model === path) ?? '';
  return models[stage] ?? new Uint8Array(0);
}
