import type { Image } from '../../frame.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Classification, Detection, Finding } from '../../stages/types.js';
import { NoveltyDetector } from '../../novelty/novelty-detector.js';
import { onlyOutput } from '../../vision/detector.js';
import { normalize } from '../../vision/embedding.js';
import { defaultMotion, gated } from '../../vision/settings.js';
import { defineKind } from '../kind.js';
import type { ModelInfo, PipelineParts } from '../kind.js';
import { describeStage, modelOf, onlyVector } from '../pixel-input.js';
import { VisionPipeline } from '../vision-pipeline.js';
import { inFull } from '../vision-work.js';
import type { VisionWork, Worked } from '../vision-work.js';
import { embeddingSettings } from './settings.js';
import type { EmbeddingSettings } from './settings.js';

/** Which enrolled thing the whole frame resembles, and on request whether it resembles nothing seen before: one model with one vector, compared with a gallery and with what was learned. */
export const embedding = defineKind({
  name: 'embedding',
  roles: { embedder: { what: 'model with one output [1, N] that is compared by its cosine', goldenVectors: 2, quantized: true, embeds: true } },
  settings: embeddingSettings,
  describe: describeEmbedder,
  override: (settings, { matchThreshold, motionGate }) => ({
    ...settings,
    motion: gated(settings.motion, motionGate),
    match_threshold: matchThreshold ?? settings.match_threshold,
  }),
  conflict: (_stages, { novelty, dimensions }) => (novelty !== undefined && (dimensions < 100 || dimensions > 32_768) ? `novelty needs embeddings of 100 to 32768 values, and these have ${dimensions}` : null),
  create: (parts, settings) => new VisionPipeline(parts, settings, new EmbeddingWork(parts, settings)),
});

class EmbeddingWork implements VisionWork {
  readonly #parts: PipelineParts;
  readonly #settings: EmbeddingSettings;
  readonly #novelty: NoveltyDetector | null;

  constructor(parts: PipelineParts, settings: EmbeddingSettings) {
    this.#parts = parts;
    this.#settings = settings;
    const { novelty, dimensions } = settings;
    this.#novelty = novelty === undefined ? null : new NoveltyDetector(dimensions, { neurons: novelty.neurons, learnFirst: novelty.learn_first, deviations: novelty.deviations, seed: 1 });
  }

  async process(image: Image, stages: Stages, clock: StageClock): Promise<Worked> {
    const vector = await this.#embed(image, stages, clock);
    return inFull(vector === null ? [] : [...this.#resemble(vector, clock), ...this.#novel(vector, clock)]);
  }

  #novel(vector: Float32Array, clock: StageClock): Finding[] {
    const detector = this.#novelty;
    if (detector === null) return [];
    const { novel, score } = clock.measure('novelty', () => detector.observe(vector));
    return novel ? [{ type: 'class', label: 'novel', score }] : [];
  }

  /** Nothing without a gallery that somebody is in: then there is nothing to resemble. */
  #resemble(vector: Float32Array, clock: StageClock): Finding[] {
    const { gallery, embeddingSpaceId: space } = this.#parts;
    if (gallery === undefined || space === null) return [];
    const best = clock.measure('match', () => gallery.match(vector, space));
    if (best === null || best.similarity < this.#settings.match_threshold) return [];
    const finding: Classification = { type: 'class', label: best.name, score: Math.max(0, best.similarity) };
    return [finding];
  }

  async rehearse(image: Image, stages: Stages): Promise<void> {
    await this.#embed(image, stages, new StageClock());
  }

  async embed(image: Image, stages: Stages): Promise<{ detection: Detection; embedding: Float32Array }[]> {
    const vector = await this.#embed(image, stages, new StageClock());
    const whole: Detection = { type: 'detection', box: [0, 0, image.width, image.height], score: 1, label: 'picture' };
    return vector === null ? [] : [{ detection: whole, embedding: vector }];
  }

  /** Null when the model gives no direction. */
  async #embed(image: Image, stages: Stages, clock: StageClock): Promise<Float32Array | null> {
    const stage = stageOf(stages, 'embedder');
    clock.measure('letterbox', () => this.#parts.pixels.fit(image, stage.canvas, this.#settings.fit));
    return clock.measureAsync('embed', async () => normalize(onlyOutput(await stage.run(), this.#settings.dimensions, 'embedder')));
  }
}

/** The input's normalization is that of ArcFace's and Keras's models, nearly -1..1. */
function describeEmbedder(models: Readonly<Record<string, ModelInfo>>): { stages: object; settings: object } {
  const model = modelOf(models, 'embedder');
  const dimensions = onlyVector(model, 'embedder');
  return {
    stages: { embedder: describeStage('embedder', model, 'embedder', { channels: 'rgb', mean: 127.5, std: 128 }) },
    settings: { motion: defaultMotion, fit: 'stretch', dimensions, match_threshold: 0.42 },
  };
}
