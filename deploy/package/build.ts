import { createHash } from 'node:crypto';
import type { AudioChunk, Image } from '../../runtime/frame.js';
import type { DescribeHints } from '../../runtime/kinds/kind.js';
import { kindOf } from '../../runtime/kinds/registry.js';
import { MANIFEST_VERSION } from '../../runtime/package/manifest.js';
import type { ManifestInput, PackageVariant } from '../../runtime/package/manifest.js';
import { buildPackage, unpackedPackage } from '../../runtime/package/package.js';
import type { ModelPackage, WrittenPackage } from '../../runtime/package/package.js';
import type { PipelineDescription } from '../../runtime/stages/contract.js';
import type { EngineOptions } from '../../runtime/stages/model-stage.js';
import { runtimeVersion } from '../../runtime/version.js';
import type { PixelOps } from '../../runtime/vision/pixels.js';
import { DeployError } from '../errors.js';
import { describePipeline } from './describe.js';
import type { StageModels } from './describe.js';
import { recordPattern, recordPictures } from './record.js';
import type { StageRun } from './record.js';
import { describeVariant, measureVariants, replayed } from './variants.js';
import type { DescribedVariant, VariantPlan } from './variants.js';

export interface PipelinePackageOptions {
  name: string;
  version: string;
  /** Default 0. */
  releaseCounter?: number;
  /**
   * Name of the space in which embeddings are compared. Models quantized from one and the same embedder share it; by default
   * it is made of the embedder's hash, so that only equal models do.
   */
  embeddingSpaceId?: string;
  /** What becomes of people whom another embedder enrolled; absent: devices that have such people refuse the package. */
  galleryPlan?: 're-embed' | 'enroll';
  /** Replaces defaults of the pipeline's description, field by field. */
  overrides?: unknown;
  /** What the user knows of a detector and its file does not say. */
  hints?: DescribeHints;
  /** Pictures to make golden vectors of. What the stages see of them (aligned faces, say) becomes part of the package. Without any, a generated pattern serves. */
  goldenPictures?: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>;
  /** Cheaper networks, to which devices change while they must save heat or energy. */
  variants?: readonly VariantPlan[];
  /** Pictures on which load and cost of the variants are measured. */
  variantPictures?: AsyncIterable<Image | AudioChunk> | Iterable<Image | AudioChunk>;
  calibration?: ManifestInput['calibration'];
  budget?: Partial<ManifestInput['budget']>;
  engine?: EngineOptions;
  /** Other pixel operations than the native ones, for tests. */
  pixels?: PixelOps;
}

/** Generous: a package's author knows the devices, the default only stops what cannot be right. */
const defaultBudget = { ram_bytes: 128 * 2 ** 20, p99_ms: 2000 };

/**
 * What a device's outputs may differ from the packer's. Integer kernels are bit-equal everywhere; float layers between them
 * round differently by CPU, which can move a value by a quantization step.
 */
const minCosine = 0.995;
/** As a share of the largest output value. */
const maxError = 0.1;

/**
 * Packs the models of a pipeline with golden vectors, which are recorded by running them here.
 * @throws DeployError E_USAGE, RuntimeError E_PACKAGE, E_MODEL_*
 */
export async function buildPipelinePackage(kind: string, models: StageModels, given: PipelinePackageOptions): Promise<WrittenPackage> {
  const options = given.goldenPictures === undefined || given.variants === undefined ? given : { ...given, goldenPictures: replayed(given.goldenPictures) };
  const pipeline = await describePipeline(kind, models, options.overrides, options.engine?.engine, options.hints);
  const golden = goldenVectors(pipeline, await recordGolden(models, pipeline, options));
  const variants = await buildVariants(pipeline, models, options);
  const manifest: ManifestInput = { ...manifestOf(kind, models, pipeline, options), golden: golden.vectors };
  const files = { ...modelFiles(pipeline, models), ...golden.files, ...variants.files };
  if (variants.stated.length === 0) return buildPackage(manifest, files);
  const known = new Set((options.variants ?? []).filter(({ figures }) => figures !== undefined).map(({ name }) => name));
  const open = variants.stated.filter(({ name }) => !known.has(name));
  const measured = open.length === 0 ? [] : await measureVariants(unpackedPackage({ ...manifest, variants: open }, files), options.variantPictures ?? [], options.engine);
  return buildPackage({ ...manifest, variants: variants.stated.map((variant) => ({ ...variant, ...measured.find(({ name }) => name === variant.name) })) }, files);
}

/** What a variant is said to save until it is measured. */
const unmeasured = { load: 0.5, cost: 0 };

async function buildVariants(own: PipelineDescription, models: StageModels, options: PipelinePackageOptions): Promise<{ stated: PackageVariant[]; files: Record<string, Uint8Array> }> {
  const built = { stated: [] as PackageVariant[], files: {} as Record<string, Uint8Array> };
  for (const plan of options.variants ?? []) {
    const { name, whole, stages, settings, ...variant }: DescribedVariant = await describeVariant(own, models, plan, options);
    const runs = await recordGolden({ ...models, ...variant.models }, whole, options);
    const golden = goldenVectors({ kind: whole.kind, stages }, runs, `${name}-`);
    built.stated.push({ name, ...(plan.figures ?? unmeasured), stages, settings, golden: golden.vectors });
    Object.assign(built.files, modelFiles({ stages }, variant.models), golden.files);
  }
  return built;
}

/** A pipeline to try out: nothing is recorded, compressed or hashed as a whole. @throws RuntimeError E_PACKAGE */
export function unpackedPipeline(kind: string, models: StageModels, pipeline: PipelineDescription, embeddingSpaceId?: string): ModelPackage {
  const named = { name: 'unpacked', version: '0.0.0', ...(embeddingSpaceId === undefined ? {} : { embeddingSpaceId }) };
  return unpackedPackage(manifestOf(kind, models, pipeline, named), modelFiles(pipeline, models));
}

function manifestOf(kind: string, models: StageModels, pipeline: PipelineDescription, options: PipelinePackageOptions): ManifestInput {
  return {
    schema_version: MANIFEST_VERSION,
    name: options.name,
    version: options.version,
    release_counter: options.releaseCounter ?? 0,
    minimum_runtime: runtimeVersion,
    embedding_space_id: options.embeddingSpaceId ?? spaceOf(kind, models),
    ...(options.galleryPlan === undefined ? {} : { gallery_plan: options.galleryPlan }),
    pipeline,
    calibration: options.calibration ?? [],
    golden: [],
    budget: { ...defaultBudget, ...options.budget },
  };
}

function modelFiles({ stages }: Pick<PipelineDescription, 'stages'>, models: StageModels): Record<string, Uint8Array> {
  return Object.fromEntries(Object.entries(stages).map(([stage, { model }]) => [model, models[stage] ?? new Uint8Array(0)]));
}

/** Made of the hash of the model that embeds; null when none does. */
function spaceOf(kind: string, models: StageModels): string | null {
  const model = embeddingStages(kind).flatMap((stage) => models[stage] ?? [])[0];
  return model === undefined ? null : `sha256-${createHash('sha256').update(model).digest('hex').slice(0, 32)}`;
}

function embeddingStages(kind: string): string[] {
  return Object.entries(kindOf(kind).roles).filter(([, role]) => role.embeds === true).map(([name]) => name);
}

async function recordGolden(models: StageModels, pipeline: PipelineDescription, { goldenPictures, engine, pixels }: PipelinePackageOptions): Promise<StageRun[]> {
  const options = { ...engine, ...(pixels === undefined ? {} : { pixels }) };
  if (goldenPictures === undefined) return recordPattern(models, pipeline, options);
  const { roles } = kindOf(pipeline.kind);
  const missing = (runs: readonly StageRun[], least: (wanted: number) => number): string[] => Object.keys(pipeline.stages)
    .filter((stage) => runs.filter((run) => run.stage === stage).length < least(roles[stage]?.goldenVectors ?? 0));
  const runs = await recordPictures(models, pipeline, goldenPictures, { ...options, enough: (known) => missing(known, (wanted) => wanted).length === 0 });
  const blind = missing(runs, (wanted) => Math.min(1, wanted));
  if (blind.length === 0) return runs;
  throw new DeployError('E_USAGE', `The pictures for golden vectors give the ${blind.join(' and the ')} nothing to see; give clear ones, or none`);
}

interface Golden {
  vectors: ManifestInput['golden'];
  files: Record<string, Uint8Array>;
}

/** `prefix`: of the names of their files. */
function goldenVectors({ kind, stages }: Pick<PipelineDescription, 'kind' | 'stages'>, runs: readonly StageRun[], prefix = ''): Golden {
  const golden: Golden = { vectors: [], files: {} };
  const { roles } = kindOf(kind);
  for (const stage of Object.keys(stages)) {
    runs.filter((run) => run.stage === stage).slice(0, roles[stage]?.goldenVectors).forEach((run, index) => addVector(golden, run, `golden/${prefix}${stage}-${index}`, stages[stage]?.input.type === 'pixels' ? 'u8' : 'bin'));
  }
  return golden;
}

function addVector({ vectors, files }: Golden, { stage, canvas, outputs }: StageRun, stem: string, extension: 'u8' | 'bin'): void {
  const recorded = Object.entries(outputs).map(([name, { data }], k) => ({ name, file: `${stem}-${k}.f32`, values: Float32Array.from(data, Number) }));
  const largest = recorded.reduce((most, { values }) => values.reduce((known, value) => Math.max(known, Math.abs(value)), most), 0);
  files[`${stem}.${extension}`] = canvas;
  for (const { file, values } of recorded) files[file] = bytesOf(values);
  vectors.push({
    stage, input: `${stem}.${extension}`, outputs: recorded.map(({ name, file }) => ({ name, file })),
    min_cosine: minCosine, max_abs: Math.max(largest * maxError, 1e-6),
  });
}

/** Little-endian, whatever the machine. */
function bytesOf(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  values.forEach((value, i) => view.setFloat32(i * 4, value, true));
  return new Uint8Array(view.buffer);
}
