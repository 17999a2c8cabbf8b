import { z } from 'zod';
import { packagePath, pipelineDescription, positiveInteger, share, stageName, stageRecord } from '../stages/contract.js';

/**
 * The manifest of a `.sterna` package: everything a device must know before it trusts and runs the models inside.
 * Field names carry units. Unknown fields are dropped (a newer packer may add some), unknown schema versions refused.
 */

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 digest, 64 lower-case hexadecimal digits');
const semver = z.string().max(64).regex(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/, 'a semantic version such as 1.2.0');

/** A file of the archive, in archive order. */
export const packageFile = z.object({
  path: packagePath,
  bytes: z.number().int().nonnegative(),
  sha256,
  /** The file is in the archive as this many bytes of DEFLATE (RFC 1951); absent: as it is. */
  deflated_bytes: z.number().int().positive().optional(),
});

/** One recorded inference of a stage: its input (pixels [1, H, W, C]) and the float32 outputs that the packer's machine computed. */
export const goldenVector = z.object({
  stage: stageName,
  input: packagePath,
  outputs: z.array(z.object({ name: z.string(), file: packagePath })).min(1).max(16),
  min_cosine: z.number().min(-1).max(1),
  max_abs: z.number().positive(),
});

/** What quantization was made of, for people: nothing at run time depends on it. */
export const calibrationSummary = z.object({
  stage: z.string(),
  method: z.string(),
  images: z.number().int().nonnegative(),
  output_cosine: z.number().optional(),
});

export const budget = z.object({
  /** Upper bound for the memory of all sessions. */
  ram_bytes: positiveInteger,
  /** Upper bound for the 99th percentile of all stages together, on the slowest device that should run the package. */
  p99_ms: z.number().positive(),
  /** Upper bound for the energy of one inference of all stages, in joules, on the device that should run the package; absent: none is promised. */
  joules: z.number().positive().optional(),
});

/** Cheaper networks for some stages of the pipeline, to which a device changes while it must save heat or energy. */
export const packageVariant = z.object({
  name: stageName,
  /** Work of a frame that runs in full, as a share of that with the pipeline's own networks. */
  load: z.number().positive().lt(1),
  /** Share of the objects that the pipeline's own networks find in a frame and these do not. */
  cost: share,
  /** The stages that other networks take over. */
  stages: stageRecord,
  /** The settings of the kind that differ, each as a whole. */
  settings: z.record(z.string(), z.unknown()).default({}),
  /** Of these networks; `golden` of the manifest has those of the pipeline's own. */
  golden: z.array(goldenVector).min(1).max(64),
});

/** Version 1 knew face pipelines only; nothing that was in the field had it. */
export const MANIFEST_VERSION = 2;

const manifestFields = {
  schema_version: z.literal(MANIFEST_VERSION),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a name of lower-case letters, digits and "-"'),
  version: semver,
  /** Grows with every release; the rollback rule compares this, never the version. */
  release_counter: z.number().int().nonnegative(),
  minimum_runtime: z.string().regex(/^\d+\.\d+\.\d+$/, 'a runtime version such as 0.1.0'),
  /** Embeddings of different spaces are never compared. Null when the pipeline embeds nothing. */
  embedding_space_id: z.string().min(1).max(128).nullable(),
  /**
   * What becomes of a gallery that another embedder made. `re-embed`: they are enrolled again from the pictures that the device has kept, and whoever it
   * has none of must be enrolled again; `enroll`: all of them must be. Absent: a device that has such people refuses the package.
   */
  gallery_plan: z.enum(['re-embed', 'enroll']).optional(),
  pipeline: pipelineDescription,
  /** Absent: none. A runtime that knows of none runs the package without them. */
  variants: z.array(packageVariant).min(1).max(4).optional(),
  calibration: z.array(calibrationSummary).max(16).default([]),
  golden: z.array(goldenVector).max(64),
  budget,
};

/** What an author states; hashes are computed while packing. */
export const manifestInputSchema = z.object(manifestFields);

export const manifestSchema = z.object({ ...manifestFields, files: z.array(packageFile).min(1).max(128) });

export type ManifestInput = z.input<typeof manifestInputSchema>;
export type PackageManifest = z.output<typeof manifestSchema>;
export type PackageFile = z.output<typeof packageFile>;
export type PackageVariant = z.output<typeof packageVariant>;
export type GoldenVector = z.output<typeof goldenVector>;

/** Every path that the manifest's stages and golden vectors name, those of variants included. */
export function referencedPaths({ pipeline, golden, variants = [] }: z.output<typeof manifestInputSchema>): string[] {
  const models = [pipeline, ...variants].flatMap(({ stages }) => Object.values(stages).map((stage) => stage.model));
  const vectors = [...golden, ...variants.flatMap((variant) => variant.golden)];
  return [...new Set([...models, ...vectors.flatMap((vector) => [vector.input, ...vector.outputs.map((output) => output.file)])])];
}
