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
  const runs = await recordPictures(models, settings, firstOf(goldenPictures), options);
  if (runs.some((run) => run.stage === 'embedder')) return runs;
  throw new DeployError('E_USAGE', 'No face was found in the pictures for golden vectors; give clear ones, or none');
}

/** A clear face is expected early; a whole video would only take time. */
async function* firstOf(pictures: AsyncIterable<Image> | Iterable<Image>): AsyncGenerator<Image, void, undefined> {
  let count = 0;
  for await (const picture of pictures) {
    yield picture;
    if (++count === 8) return;
  }
}

function goldenVectors(runs: readonly StageRun[]): { vectors: ManifestInput['golden']; files: Record<string, Uint8Array> } {
  const vectors: ManifestInput['golden'] = [];
  const files: Record<string, Uint8Array> = {};
  for (const stage of ['detector', 'landmarks', 'embedder'] as const) {
    runs.filter((run) => run.stage === stage).slice(0, vectorsOf[stage]).forEach((run, index) => {
      const input = `golden/${stage}-${index}.u8`;
      files[input] = run.canvas;
      const outputs = Object.entries(run.outputs).map(([name, { data }], k) => {
        const file = `golden/${stage}-${index}-${k}.f32`;
        files[file] = bytesOf(Float32Array.from(data, Number));
        return { name, file, largest: Float32Array.from(data, Number).reduce((most, value) => Math.max(most, Math.abs(value)), 0) };
      });
      const largest = Math.max(...outputs.map((output) => output.largest));
      vectors.push({ stage, input, outputs: outputs.map(({ name, file }) => ({ name, file })), min_cosine: minCosine, max_abs: Math.max(largest * maxError, 1e-6) });
    });
  }
  return { vectors, files };
}

/** Little-endian, whatever the machine. */
function bytesOf(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  values.forEach((value, i) => view.setFloat32(i * 4, value, true));
  return new Uint8Array(view.buffer);
}
