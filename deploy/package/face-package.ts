import { createHash } from 'node:crypto';
import type { Image } from '../../runtime/frame.js';
import type { FacePipelineSettings, ManifestInput } from '../../runtime/package/manifest.js';
import { buildPackage } from '../../runtime/package/package.js';
import type { WrittenPackage } from '../../runtime/package/package.js';
import type { EngineOptions } from '../../runtime/pipeline/model-stage.js';
import { runtimeVersion } from '../../runtime/version.js';
import type { PixelOps } from '../../runtime/vision/pixels.js';
import { DeployError } from '../errors.js';
import { recordPattern, recordPictures } from './record.js';
import type { StageRun } from './record.js';
import { faceSettings, modelPaths } from './settings.js';
import type { FaceModels } from './settings.js';

export interface FacePackageOptions {
  name: string;
  version: string;
  /** Default 0. */
  releaseCounter?: number;
  /**
   * Name of the space in which embeddings are compared. Models quantized from one and the same embedder share it; by default
   * it is made of the embedder's hash, so that only equal models do.
   */
  embeddingSpaceId?: string;
  /** Replaces defaults of the pipeline settings, field by field. */
  overrides?: unknown;
  /** Pictures with faces to make golden vectors of. Their aligned crops become part of the package. Without any, a generated pattern serves. */
  goldenPictures?: AsyncIterable<Image> | Iterable<Image>;
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

/** Golden vectors a stage: enough to see a broken kernel; each costs bytes on the air. */
const vectorsOf = { detector: 1, landmarks: 2, embedder: 2 } as const;

/**
 * Packs face models with golden vectors, which are recorded by running them here.
 * @throws DeployError E_USAGE, RuntimeError E_PACKAGE, E_MODEL_*
 */
export async function buildFacePackage(models: FaceModels, options: FacePackageOptions): Promise<WrittenPackage> {
  const settings = await faceSettings(models, options.overrides, options.engine?.engine);
  const golden = goldenVectors(await recordGolden(models, settings, options));
  const manifest: ManifestInput = {
    schema_version: 1,
    name: options.name,
    version: options.version,
    release_counter: options.releaseCounter ?? 0,
    minimum_runtime: runtimeVersion,
    embedding_space_id: options.embeddingSpaceId ?? `sha256-${createHash('sha256').update(models.embedder).digest('hex').slice(0, 32)}`,
    pipeline: settings,
    calibration: options.calibration ?? [],
    golden: golden.vectors,
    budget: { ...defaultBudget, ...options.budget },
  };
  return buildPackage(manifest, {
    [modelPaths.detector]: models.detector,
    ...(models.landmarks === undefined ? {} : { [modelPaths.landmarks]: models.landmarks }),
    [modelPaths.embedder]: models.embedder,
    ...golden.files,
  });
}

async function recordGolden(models: FaceModels, settings: FacePipelineSettings, { goldenPictures, engine, pixels }: FacePackageOptions): Promise<StageRun[]> {
  const options = { ...engine, ...(pixels === undefined ? {} : { pixels }) };
  if (goldenPictures === undefined) return recordPattern(models, settings, options);
  const enough = (runs: readonly StageRun[]): boolean => runs.filter((run) => run.stage === 'embedder').length >= vectorsOf.embedder;
  const runs = await recordPictures(models, settings, goldenPictures, { ...options, enough });
  if (runs.some((run) => run.stage === 'embedder')) return runs;
  throw new DeployError('E_USAGE', 'No face was found in the pictures for golden vectors; give clear ones, or none');
}

interface Golden {
  vectors: ManifestInput['golden'];
  files: Record<string, Uint8Array>;
}

function goldenVectors(runs: readonly StageRun[]): Golden {
  const golden: Golden = { vectors: [], files: {} };
  for (const stage of ['detector', 'landmarks', 'embedder'] as const) {
    runs.filter((run) => run.stage === stage).slice(0, vectorsOf[stage]).forEach((run, index) => addVector(golden, run, `golden/${stage}-${index}`));
  }
  return golden;
}

function addVector({ vectors, files }: Golden, { stage, canvas, outputs }: StageRun, stem: string): void {
  const recorded = Object.entries(outputs).map(([name, { data }], k) => ({ name, file: `${stem}-${k}.f32`, values: Float32Array.from(data, Number) }));
  const largest = recorded.reduce((most, { values }) => values.reduce((known, value) => Math.max(known, Math.abs(value)), most), 0);
  files[`${stem}.u8`] = canvas;
  for (const { file, values } of recorded) files[file] = bytesOf(values);
  vectors.push({
    stage, input: `${stem}.u8`, outputs: recorded.map(({ name, file }) => ({ name, file })),
    min_cosine: minCosine, max_abs: Math.max(largest * maxError, 1e-6),
  });
}

/** Little-endian, whatever the machine. */
function bytesOf(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  values.forEach((value, i) => view.setFloat32(i * 4, value, true));
  return new Uint8Array(view.buffer);
}
