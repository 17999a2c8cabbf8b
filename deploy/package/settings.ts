import { facePipeline } from '../../runtime/package/manifest.js';
import type { FacePipelineSettings, PixelContract } from '../../runtime/package/manifest.js';
import { createSession } from '../../runtime/session.js';
import type { EngineName } from '../../runtime/session-types.js';
import type { TensorInfo } from '../../runtime/tensor.js';
import { DeployError } from '../errors.js';

/** The models of a face package, as ONNX. */
export interface FaceModels {
  detector: Uint8Array;
  /** Not needed when the detector gives the five points (YuNet). */
  landmarks?: Uint8Array;
  embedder: Uint8Array;
}

/** Paths inside the package. */
export const modelPaths = { detector: 'models/detector.onnx', landmarks: 'models/landmarks.onnx', embedder: 'models/embedder.onnx' } as const;

interface ModelInfo {
  inputs: readonly TensorInfo[];
  outputs: readonly TensorInfo[];
}

/**
 * Works out a package's pipeline settings from its models: sizes and tensor names are read from them; normalisation, crops
 * and thresholds are those of the published models that have such heads (README.md, "What the defaults assume").
 * `overrides`, a JSON object of the manifest's `pipeline` form, replaces any of it, field by field.
 * @throws DeployError E_USAGE when the result is not a valid pipeline, RuntimeError E_MODEL_*
 */
export async function faceSettings(models: FaceModels, overrides: unknown = {}, engine?: EngineName): Promise<FacePipelineSettings> {
  const detector = await describe(models.detector, engine);
  const landmarks = models.landmarks === undefined ? null : await describe(models.landmarks, engine);
  const embedder = await describe(models.embedder, engine);
  const stated = {
    kind: 'face-recognition',
    motion: { enabled: true, cell_threshold: 10, min_cells: 4, hold_ms: 2000, full_pass_every_ms: 10_000 },
    detector: detectorSettings(detector),
    landmarks: landmarks === null ? null : {
      model: modelPaths.landmarks, points: 68, crop: { scale: 1, shift_x: 0, shift_y: 0.05 },
      input: contract(landmarks, 'landmark model', { channels: 'grey', mean: 0, std: 256 }),
    },
    embedder: {
      model: modelPaths.embedder, alignment: 'arcface-112', min_face_px: 32, dimensions: embedder.outputs[0]?.dims.at(-1),
      input: contract(embedder, 'embedder', { channels: 'rgb', mean: 127.5, std: 128 }),
    },
    match_threshold: 0.42,
  };
  const result = facePipeline.safeParse(merge(stated, overrides));
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
  throw new DeployError('E_USAGE', `The pipeline settings are invalid: ${issues.slice(0, 5).join('; ')}`, { details: { issues } });
}

function detectorSettings(model: ModelInfo): object {
  const common = { model: modelPaths.detector, fit: 'letterbox', label: 'face', iou_threshold: 0.4, max_detections: 20 };
  const names = model.outputs.map((output) => output.name);
  const strides = names.flatMap((name) => /^cls_(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  if (strides.length > 0) {
    const input = contract(model, 'detector', { channels: 'bgr', mean: 0, std: 1 });
    return { ...common, input, decoder: { type: 'yunet', strides }, score_threshold: 0.6 };
  }
  const scores = model.outputs.find((output) => output.dims.length === 3 && output.dims[2] === 2)?.name;
  const boxes = model.outputs.find((output) => output.dims.length === 3 && output.dims[2] === 4)?.name;
  if (scores === undefined || boxes === undefined) {
    throw new DeployError('E_USAGE', `Expected a detector with outputs scores [1, N, 2] and boxes [1, N, 4], or YuNet's heads, but received ${names.join(', ')}`);
  }
  const input = contract(model, 'detector', { channels: 'rgb', mean: 127, std: 128 });
  return { ...common, input, decoder: { type: 'boxes', scores, class: 1, boxes }, score_threshold: 0.7 };
}

function contract(
  { inputs }: ModelInfo, what: string, { channels, mean, std }: { channels: PixelContract['channels']; mean: number; std: number },
): PixelContract {
  const count = channels === 'grey' ? 1 : 3;
  const [input, ...others] = inputs;
  const [batch, second = 0, third = 0, fourth = 0] = input?.dims ?? [];
  const planar = second === count;
  if (input === undefined || others.length > 0 || input.dims.length !== 4 || batch !== 1 || (!planar && fourth !== count)) {
    throw new DeployError('E_USAGE', `Expected one input [1, ${count}, H, W] or [1, H, W, ${count}] for the ${what} but received `
      + inputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', '));
  }
  const values = (value: number): number[] => new Array<number>(count).fill(value);
  return {
    tensor: input.name, channels, mean: values(mean), std: values(std),
    width: planar ? fourth : third, height: planar ? third : second,
  };
}

async function describe(model: Uint8Array, engine: EngineName | undefined): Promise<ModelInfo> {
  const session = await createSession(model, engine === undefined ? {} : { engine });
  await session.close();
  return { inputs: session.inputs, outputs: session.outputs };
}

/** Objects are merged field by field; everything else is replaced. */
function merge(base: unknown, overrides: unknown): unknown {
  if (!isRecord(base) || !isRecord(overrides)) return overrides === undefined ? base : overrides;
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(overrides)) result[key] = merge(base[key], value);
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
