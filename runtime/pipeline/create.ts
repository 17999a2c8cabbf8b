import { parsePipeline } from '../kinds/registry.js';
import type { PipelineOverrides } from '../kinds/kind.js';
import type { ModelPackage } from '../package/package.js';
import { aBoolean, aNumber, anObject, checkOptions, type OptionKinds } from '../options.js';
import { engineOptionKinds } from '../session.js';
import type { EngineOptions } from '../stages/model-stage.js';
import { openStages } from '../stages/open-stages.js';
import type { Gallery, Pipeline } from '../stages/types.js';
import { nativePixels } from '../vision/pixels.js';
import { checkRules } from '../vision/zones/settings.js';
import type { FindingRules } from '../vision/zones/settings.js';

export interface PipelineOptions extends EngineOptions, PipelineOverrides {
  /** Gallery with which faces are compared. Without one, faces are detected but not embedded. Closing the pipeline does not close it. */
  gallery?: Gallery;
  /** Zones, classes and sizes of the findings that count (runtime/vision/zones). Default: all findings count. */
  rules?: FindingRules;
}

const pipelineOptionKinds: OptionKinds<Required<PipelineOptions>> = {
  ...engineOptionKinds, gallery: anObject, rules: anObject, motionGate: aBoolean, tracking: aBoolean, matchThreshold: aNumber, detectThreshold: aNumber,
};

/**
 * Builds the pipeline that a package describes. The package's bytes are not needed afterwards.
 * @throws RuntimeError E_OPTION, E_MODEL_*, E_INPUT, E_ENGINE_MISSING, E_PACKAGE
 */
export async function createPipeline(modelPackage: ModelPackage, options: PipelineOptions = {}): Promise<Pipeline> {
  checkOptions('createPipeline', options, pipelineOptionKinds);
  const { gallery, rules, engine, threads, affinity, isa, cache, ...overrides } = options;
  const checked = rules === undefined ? undefined : checkRules('createPipeline', rules);
  const { name, version, embedding_space_id: embeddingSpaceId, pipeline } = modelPackage.manifest;
  const blueprint = parsePipeline(pipeline).override(overrides);
  const stages = await openStages(blueprint.stages, (path) => modelPackage.file(path), {
    sha256Of: (path) => modelPackage.manifest.files.find((file) => file.path === path)?.sha256,
    ...(cache === undefined ? {} : { cache }), ...(engine === undefined ? {} : { engine }), ...(threads === undefined ? {} : { threads }),
    ...(affinity === undefined ? {} : { affinity }), ...(isa === undefined ? {} : { isa }),
  });
  return blueprint.create({ name, version, embeddingSpaceId, stages, pixels: nativePixels, gallery, rules: checked });
}
