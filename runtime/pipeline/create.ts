import { parsePipeline } from '../kinds/registry.js';
import type { PipelineOverrides } from '../kinds/kind.js';
import type { ModelPackage } from '../package/package.js';
import { aBoolean, aNumber, anObject, checkOptions, type OptionKinds } from '../options.js';
import { engineOptionKinds } from '../session.js';
import type { EngineOptions } from '../stages/model-stage.js';
import { openStages } from '../stages/open-stages.js';
import type { StageOptions, Stages } from '../stages/open-stages.js';
import type { StageRecord } from '../stages/contract.js';
import type { Gallery, Pipeline } from '../stages/types.js';
import { nativePixels } from '../vision/pixels.js';
import { checkRules } from '../vision/zones/settings.js';
import type { FindingRules } from '../vision/zones/settings.js';

export interface PipelineOptions extends EngineOptions, PipelineOverrides {
  /** Gallery with which faces are compared. Without one, faces are detected but not embedded. Closing the pipeline does not close it. */
  gallery?: Gallery;
  /** Zones, classes and sizes of the findings that count (runtime/vision/zones). Default: all findings count. */
  rules?: FindingRules;
  /** Of the frames that the audit of the gates draws. Default: by the clock. */
  auditSeed?: number;
}

const pipelineOptionKinds: OptionKinds<Required<PipelineOptions>> = {
  ...engineOptionKinds, gallery: anObject, rules: anObject, motionGate: aBoolean, incremental: aBoolean, featureGate: aBoolean, featureThreshold: aNumber, auditSeed: aNumber,
  tracking: aBoolean, matchThreshold: aNumber, detectThreshold: aNumber,
};

/**
 * Builds the pipeline that a package describes. The package's bytes are not needed afterwards.
 * @throws RuntimeError E_OPTION, E_MODEL_*, E_INPUT, E_ENGINE_MISSING, E_PACKAGE
 */
export async function createPipeline(modelPackage: ModelPackage, options: PipelineOptions = {}): Promise<Pipeline> {
  checkOptions('createPipeline', options, pipelineOptionKinds);
  const { gallery, rules, auditSeed, engine, threads, affinity, isa, cache, ...overrides } = options;
  const checked = rules === undefined ? undefined : checkRules('createPipeline', rules);
  const { name, version, embedding_space_id: embeddingSpaceId, pipeline } = modelPackage.manifest;
  const blueprint = parsePipeline(pipeline).override(overrides);
  const hashes = new Map(modelPackage.manifest.files.map(({ path, sha256 }) => [path, sha256]));
  const { splits, audited } = blueprint.gates;
  const engineOptions = {
    sha256Of: (path: string) => hashes.get(path), splits,
    ...(cache === undefined ? {} : { cache }), ...(engine === undefined ? {} : { engine }), ...(threads === undefined ? {} : { threads }),
    ...(affinity === undefined ? {} : { affinity }), ...(isa === undefined ? {} : { isa }),
  };
  const stages = await openStages(blueprint.stages, (path) => modelPackage.file(path), { ...engineOptions, increments: blueprint.increments });
  const auditStages = audited.length === 0 ? undefined : openLater(blueprint.stages, audited, modelPackage, { ...engineOptions, threads: 1, background: true });
  return blueprint.create({ name, version, embeddingSpaceId, stages, pixels: nativePixels, gallery, rules: checked, auditStages, auditSeed });
}

/** Keeps the bytes of those models until they are opened, once, and nothing else of the package. The same program as the frames': one file of a cache. */
function openLater(stages: StageRecord, names: readonly string[], modelPackage: ModelPackage, options: StageOptions): () => Promise<Stages> {
  const wanted = Object.fromEntries(Object.entries(stages).filter(([name]) => names.includes(name)));
  const bytes = new Map(Object.values(wanted).map(({ model }) => [model, modelPackage.file(model)]));
  return async () => {
    const opened = await openStages(wanted, (path) => bytes.get(path) ?? new Uint8Array(0), options);
    bytes.clear();
    return opened;
  };
}
