import type { ModelPackage } from '../package/package.js';
import { referencePixels } from '../vision/pixels-reference.js';
import { FacePipeline } from './face-pipeline.js';
import { openModelStage } from './model-stage.js';
import type { EngineOptions, ModelStage } from './model-stage.js';
import type { Gallery, Pipeline } from './types.js';

export interface PipelineOptions extends EngineOptions {
  /** Whom faces are compared with. Without one they are found but not embedded. It is not closed with the pipeline. */
  gallery?: Gallery;
  /** False switches the package's motion gate off: every frame runs in full. */
  motionGate?: boolean;
}

/** The models of a face package, opened. */
export interface FaceStages {
  detector: ModelStage;
  landmarks: ModelStage;
  embedder: ModelStage;
}

/**
 * Opens all models of a package, or none.
 * @throws RuntimeError E_MODEL_*, E_INPUT, E_ENGINE_MISSING
 */
export async function openStages({ manifest, file }: Pick<ModelPackage, 'manifest' | 'file'>, options: EngineOptions = {}): Promise<FaceStages> {
  const opened: ModelStage[] = [];
  const open = async (name: 'detector' | 'landmarks' | 'embedder'): Promise<ModelStage> => {
    const { model, input } = manifest.pipeline[name];
    const stage = await openModelStage(name, file(model), input, options);
    opened.push(stage);
    return stage;
  };
  try {
    return { detector: await open('detector'), landmarks: await open('landmarks'), embedder: await open('embedder') };
  } catch (error) {
    await Promise.all(opened.map((stage) => stage.session.close()));
    throw error;
  }
}

/**
 * Builds the pipeline that a package describes. The package's bytes are not needed afterwards.
 * @throws RuntimeError E_MODEL_*, E_INPUT, E_ENGINE_MISSING
 */
export async function createPipeline(modelPackage: ModelPackage, options: PipelineOptions = {}): Promise<Pipeline> {
  const { gallery, motionGate, ...engine } = options;
  const stages = await openStages(modelPackage, engine);
  const { name, version, embedding_space_id: embeddingSpaceId, pipeline } = modelPackage.manifest;
  const settings = motionGate === false ? { ...pipeline, motion: { ...pipeline.motion, enabled: false } } : pipeline;
  return new FacePipeline({ name, version, embeddingSpaceId, settings, ...stages, pixels: referencePixels, gallery });
}
