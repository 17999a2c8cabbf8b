import type { FacePipelineSettings, PixelContract } from '../package/manifest.js';
import { openModelStage } from './model-stage.js';
import type { EngineOptions, ModelStage } from './model-stage.js';

/** The models of a face package, opened. */
export interface FaceStages {
  detector: ModelStage;
  /** Absent when the detector finds the points itself. */
  landmarks?: ModelStage;
  embedder: ModelStage;
}

export function stageList({ detector, landmarks, embedder }: FaceStages): ModelStage[] {
  return landmarks === undefined ? [detector, embedder] : [detector, landmarks, embedder];
}

export interface StageOptions extends EngineOptions {
  /** SHA-256 of the bytes of a path, where it is known: a cache then need not hash them. */
  sha256Of?: (path: string) => string | undefined;
}

/**
 * Opens all models of a pipeline, or none. `file` gives the bytes of a path; they are not needed afterwards.
 * @throws RuntimeError E_MODEL_*, E_INPUT, E_ENGINE_MISSING
 */
export async function openStages(
  { detector, landmarks, embedder }: FacePipelineSettings, file: (path: string) => Uint8Array, { sha256Of, ...options }: StageOptions = {},
): Promise<FaceStages> {
  const opened: ModelStage[] = [];
  const open = async (name: string, { model, input }: { model: string; input: PixelContract }): Promise<ModelStage> => {
    const modelSha256 = sha256Of?.(model);
    const stage = await openModelStage(name, file(model), input, { ...options, ...(modelSha256 === undefined ? {} : { modelSha256 }) });
    opened.push(stage);
    return stage;
  };
  try {
    return {
      detector: await open('detector', detector),
      ...(landmarks === null ? {} : { landmarks: await open('landmarks', landmarks) }),
      embedder: await open('embedder', embedder),
    };
  } catch (error) {
    await Promise.all(opened.map((stage) => stage.session.close()));
    throw error;
  }
}
