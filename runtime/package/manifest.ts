import { z } from 'zod';

/**
 * The manifest of a `.sterna` package: everything a device must know before it trusts and runs the models inside.
 * Field names carry units. Unknown fields are dropped (a newer packer may add some), unknown schema versions refused.
 */

/** Longest path that fits one ustar header field; deeper folders than `golden/x.bin` are never needed. */
const maxPathLength = 100;

export const packagePath = z.string().max(maxPathLength)
  .regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/, 'a relative path of letters, digits, ".", "_" and "-"');

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 digest, 64 lower-case hexadecimal digits');
const semver = z.string().max(64).regex(/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/, 'a semantic version such as 1.2.0');
const share = z.number().min(0).max(1);
const positiveInteger = z.number().int().positive();

/** A file of the archive, in archive order. */
export const packageFile = z.object({
  path: packagePath,
  bytes: z.number().int().nonnegative(),
  sha256,
  /** The file is in the archive as this many bytes of DEFLATE (RFC 1951); absent: as it is. */
  deflated_bytes: z.number().int().positive().optional(),
});

/**
 * How a model wants its picture in its input `tensor`: resized to width x height, `value = (pixel - mean[c]) / std[c]`, channels in this order.
 * One mean and std for `grey`, three otherwise.
 */
export const pixelContract = z.object({
  tensor: z.string().min(1).max(256),
  width: positiveInteger.max(4096),
  height: positiveInteger.max(4096),
  channels: z.enum(['rgb', 'bgr', 'grey']),
  mean: z.array(z.number()).min(1).max(3),
  std: z.array(z.number().positive()).min(1).max(3),
}).superRefine((value, context) => {
  const expected = value.channels === 'grey' ? 1 : 3;
  for (const key of ['mean', 'std'] as const) {
    if (value[key].length === expected) continue;
    const message = `Expected ${expected} values for channels ${value.channels} but received ${value[key].length}`;
    context.addIssue({ code: 'custom', path: [key], message });
  }
});

/** `boxes`: decoded corners, normalised to the input, with class scores. `yunet`: raw heads of three strides. */
export const boxDecoder = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('boxes'),
    /** Output [1, N, classes], 0..1; `class` is the column of the wanted class. */
    scores: z.string(),
    class: z.number().int().nonnegative(),
    /** Output [1, N, 4]: x1, y1, x2, y2 as shares of the input's width and height. */
    boxes: z.string(),
  }),
  z.object({ type: z.literal('yunet'), strides: z.array(positiveInteger).min(1).max(5) }),
]);

export const detectorStage = z.object({
  model: packagePath,
  input: pixelContract,
  /** How a frame of another aspect ratio is fitted: `stretch` distorts it, `letterbox` pads it. */
  fit: z.enum(['stretch', 'letterbox']),
  decoder: boxDecoder,
  label: z.string().min(1).max(64),
  score_threshold: share,
  iou_threshold: share,
  max_detections: positiveInteger.max(1000),
});

/** A square crop around the face box, and the 68 points (iBUG order) that come out as shares of it. */
export const landmarkStage = z.object({
  model: packagePath,
  input: pixelContract,
  points: z.literal(68),
  /** Side of the crop as a multiple of the box's shorter side, and the shift of its centre as a share of the box. */
  crop: z.object({ scale: z.number().positive().max(4), shift_x: z.number().min(-1).max(1), shift_y: z.number().min(-1).max(1) }),
});

export const embedderStage = z.object({
  model: packagePath,
  input: pixelContract,
  /** The five-point template that faces are warped to. */
  alignment: z.literal('arcface-112'),
  /** Faces smaller than this (longer side of the box, pixels of the frame) are reported and not embedded. */
  min_face_px: z.number().nonnegative(),
  dimensions: positiveInteger.max(4096),
});

/** The pixel gate before the detector; cells are 8 x 8 pixels of the frame. */
export const motionGate = z.object({
  enabled: z.boolean(),
  /** Change of a cell's mean grey level that counts as motion, 0..255. */
  cell_threshold: z.number().positive().max(255),
  /** Number of changed cells that open the gate. */
  min_cells: positiveInteger,
  /** The gate stays open this long after the last motion or the last face. */
  hold_ms: z.number().nonnegative(),
  /** A frame runs in full at least this often whatever the gate says. */
  full_pass_every_ms: positiveInteger,
});

export const facePipeline = z.object({
  kind: z.literal('face-recognition'),
  motion: motionGate,
  detector: detectorStage,
  /** Null when the detector's decoder gives the five points (`yunet`). */
  landmarks: landmarkStage.nullable(),
  embedder: embedderStage,
  /** Cosine similarity at or above which a face counts as an enrolled person. */
  match_threshold: z.number().min(-1).max(1),
}).refine(({ landmarks, detector }) => landmarks !== null || detector.decoder.type === 'yunet', {
  path: ['landmarks'], message: 'Expected a landmark model: this detector gives boxes only',
});

export const pipelineSettings = z.discriminatedUnion('kind', [facePipeline]);

/** One recorded inference: input pixels [1, H, W, C] and the float32 outputs that the packer's machine computed. */
export const goldenVector = z.object({
  stage: z.enum(['detector', 'landmarks', 'embedder']),
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
});

const manifestFields = {
  schema_version: z.literal(1),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a name of lower-case letters, digits and "-"'),
  version: semver,
  /** Grows with every release; the rollback rule compares this, never the version. */
  release_counter: z.number().int().nonnegative(),
  minimum_runtime: z.string().regex(/^\d+\.\d+\.\d+$/, 'a runtime version such as 0.1.0'),
  /** Embeddings of different spaces are never compared. Null when the pipeline embeds nothing. */
  embedding_space_id: z.string().min(1).max(128).nullable(),
  pipeline: pipelineSettings,
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
export type PixelContract = z.output<typeof pixelContract>;
export type BoxDecoder = z.output<typeof boxDecoder>;
export type DetectorStage = z.output<typeof detectorStage>;
export type LandmarkStage = z.output<typeof landmarkStage>;
export type EmbedderStage = z.output<typeof embedderStage>;
export type MotionSettings = z.output<typeof motionGate>;
export type FacePipelineSettings = z.output<typeof facePipeline>;
export type GoldenVector = z.output<typeof goldenVector>;

/** Every path that the manifest's stages and golden vectors name. */
export function referencedPaths(manifest: z.output<typeof manifestInputSchema>): string[] {
  const { detector, landmarks, embedder } = manifest.pipeline;
  const golden = manifest.golden.flatMap((vector) => [vector.input, ...vector.outputs.map((output) => output.file)]);
  const models = [detector.model, ...(landmarks === null ? [] : [landmarks.model]), embedder.model];
  return [...new Set([...models, ...golden])];
}
