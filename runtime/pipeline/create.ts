import { parsePipeline } from '../kinds/registry.js';
import type { Openable, PipelineOverrides } from '../kinds/kind.js';
import type { VariantParts } from '../kinds/variants.js';
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
  const { name, version, embedding_space_id: embeddingSpaceId, pipeline, variants: stated = [] } = modelPackage.manifest;
  const blueprint = parsePipeline(pipeline, stated).override(overrides);
  const hashes = new Map(modelPackage.manifest.files.map(({ path, sha256 }) => [path, sha256]));
  const engineOptions = {
    sha256Of: (path: string) => hashes.get(path),
    ...(cache === undefined ? {} : { cache }), ...(engine === undefined ? {} : { engine }), ...(threads === undefined ? {} : { threads }),
    ...(affinity === undefined ? {} : { affinity }), ...(isa === undefined ? {} : { isa }),
  };
  const own = { ...engineOptions, splits: blueprint.gates.splits };
  const stages = await openStages(blueprint.stages, (path) => modelPackage.file(path), { ...own, increments: blueprint.increments });
  const { audited } = blueprint.gates;
  const auditStages = audited.length === 0 ? undefined : openOnce(picked(blueprint.stages, audited), modelPackage, { ...own, threads: 1, background: true });
  const variants = stated.flatMap(({ name, load, cost }, i): VariantParts[] => {
    const variant = blueprint.variants[i];
    return variant === undefined ? [] : [{ name, load, cost, ...variantOpeners(variant, blueprint.stages, modelPackage, engineOptions) }];
  });
  return blueprint.create({ name, version, embeddingSpaceId, stages, pixels: nativePixels, gallery, rules: checked, auditStages, auditSeed, variants });
}

/**
 * A variant is opened each time a device changes to it, so its models stay in memory as they are in the package: kilobytes to a few megabytes, where an
 * open one takes several times as much. With a cache nothing is compiled after the first time.
 */
function variantOpeners({ stages, gates: { splits, audited }, increments }: Openable, own: StageRecord, modelPackage: ModelPackage, options: StageOptions): Pick<VariantParts, 'open' | 'openAudit'> {
  const auditedStages = picked({ ...own, ...stages }, audited);
  const open = opener({ ...stages, ...auditedStages }, modelPackage);
  return {
    open: () => open(stages, { ...options, splits, increments }),
    openAudit: audited.length === 0 ? undefined : () => open(auditedStages, { ...options, splits, threads: 1, background: true }),
  };
}

const picked = (stages: StageRecord, names: readonly string[]): StageRecord => Object.fromEntries(Object.entries(stages).filter(([name]) => names.includes(name)));

/** Keeps the bytes of these models, and nothing else of the package: a file of it may be a part of the whole archive. */
function opener(stages: StageRecord, modelPackage: ModelPackage): (stages: StageRecord, options: StageOptions) => Promise<Stages> {
  const bytes = new Map(Object.values(stages).map(({ model }) => [model, modelPackage.file(model).slice()]));
  return (some, options) => openStages(some, (path) => bytes.get(path) ?? new Uint8Array(0), options);
}

/** Keeps the bytes of those models until they are opened, once, and nothing else of the package. The same program as the frames': one file of a cache. */
function openOnce(stages: StageRecord, modelPackage: ModelPackage, options: StageOptions): () => Promise<Stages> {
  const bytes = new Map(Object.values(stages).map(({ model }) => [model, modelPackage.file(model)]));
  return async () => {
    const opened = await openStages(stages, (path) => bytes.get(path) ?? new Uint8Array(0), options);
    bytes.clear();
    return opened;
  };
}
