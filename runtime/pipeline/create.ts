import type { FacePipelineSettings } from '../package/manifest.js';
import type { ModelPackage } from '../package/package.js';
import { nativePixels } from '../vision/pixels.js';
import { FacePipeline } from './face-pipeline.js';
import type { EngineOptions } from './model-stage.js';
import { openStages } from './stages.js';
import type { Gallery, Pipeline } from './types.js';

export interface PipelineOptions extends EngineOptions {
  /** Whom faces are compared with. Without one they are found but not embedded. It is not closed with the pipeline. */
  gallery?: Gallery;
  /** False switches the package's motion gate off: every frame runs in full. */
  motionGate?: boolean;
  /** Instead of the package's own match threshold, a cosine. */
  matchThreshold?: number;
  /** Instead of the package's own detector threshold, 0..1. */
  detectThreshold?: number;
}

/**
 * Builds the pipeline that a package describes. The package's bytes are not needed afterwards.
 * @throws RuntimeError E_MODEL_*, E_INPUT, E_ENGINE_MISSING
 */
export async function createPipeline(modelPackage: ModelPackage, options: PipelineOptions = {}): Promise<Pipeline> {
  const { gallery, engine, threads, affinity, isa, cache } = options;
  const { name, version, embedding_space_id: embeddingSpaceId, pipeline } = modelPackage.manifest;
  const stages = await openStages(pipeline, (path) => modelPackage.file(path), {
    sha256Of: (path) => modelPackage.manifest.files.find((file) => file.path === path)?.sha256,
    ...(cache === undefined ? {} : { cache }), ...(engine === undefined ? {} : { engine }), ...(threads === undefined ? {} : { threads }),
    ...(affinity === undefined ? {} : { affinity }), ...(isa === undefined ? {} : { isa }),
  });
  return new FacePipeline({ name, version, embeddingSpaceId, settings: override(pipeline, options), stages, pixels: nativePixels, gallery });
}

function override(settings: FacePipelineSettings, { motionGate, matchThreshold, detectThreshold }: PipelineOptions): FacePipelineSettings {
  return {
    ...settings,
    motion: { ...settings.motion, enabled: motionGate ?? settings.motion.enabled },
    match_threshold: matchThreshold ?? settings.match_threshold,
    detector: { ...settings.detector, score_threshold: detectThreshold ?? settings.detector.score_threshold },
  };
}
