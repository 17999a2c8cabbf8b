import { RuntimeError } from '../../errors.js';
import { defaultMotion } from '../../vision/settings.js';
import { defaultTracking } from '../../vision/tracking/settings.js';
import type { ModelInfo } from '../kind.js';
import { activationOf, describeStage, modelOf, onlyVector } from '../pixel-input.js';
import type { PixelDefaults } from '../pixel-input.js';
import { defaultLiveness } from './liveness.js';
import { defaultRecognition } from './recognition.js';

/**
 * Stages and settings for face models: normalization, crops and thresholds are those of the published models that have such heads
 * (runtime/README.md, "What the defaults assume").
 * @throws RuntimeError E_INPUT, E_MODEL_SHAPE
 */
export function describeFaces(models: Readonly<Record<string, ModelInfo>>): { stages: object; settings: object } {
  const { landmarks, liveness } = models;
  const detector = modelOf(models, 'detector');
  const embedder = modelOf(models, 'embedder');
  const { input, ...detectorSettings } = describeDetector(detector);
  return {
    stages: {
      detector: describeStage('detector', detector, 'detector', input),
      ...(landmarks === undefined ? {} : { landmarks: describeStage('landmarks', landmarks, 'landmark model', { channels: 'grey', mean: 0, std: 256 }) }),
      ...(liveness === undefined ? {} : { liveness: describeStage('liveness', liveness, 'liveness model', { channels: 'bgr', mean: 0, std: 1 }) }),
      embedder: describeStage('embedder', embedder, 'embedder', { channels: 'rgb', mean: 127.5, std: 128 }),
    },
    settings: {
      motion: defaultMotion,
      detector: { fit: 'letterbox', label: 'face', iou_threshold: 0.4, max_detections: 20, ...detectorSettings },
      landmarks: landmarks === undefined ? null : { points: 68, crop: { scale: 1, shift_x: 0, shift_y: 0.05 } },
      embedder: { alignment: 'arcface-112', min_face_px: 32, dimensions: embedder.outputs[0]?.dims.at(-1) },
      ...(liveness === undefined ? {} : { liveness: describeLiveness(liveness) }),
      match_threshold: 0.42,
      tracking: defaultTracking,
      recognition: defaultRecognition,
    },
  };
}

function describeLiveness(model: ModelInfo): object {
  return { ...defaultLiveness, classes: onlyVector(model, 'liveness model'), activation: activationOf(model) };
}

function describeDetector({ outputs }: ModelInfo): { input: PixelDefaults; decoder: object; score_threshold: number } {
  const names = outputs.map((output) => output.name);
  const strides = names.flatMap((name) => /^cls_(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  if (strides.length > 0) {
    return { input: { channels: 'bgr', mean: 0, std: 1 }, decoder: { type: 'yunet', strides }, score_threshold: 0.6 };
  }
  const scores = outputs.find((output) => output.dims.length === 3 && output.dims[2] === 2)?.name;
  const boxes = outputs.find((output) => output.dims.length === 3 && output.dims[2] === 4)?.name;
  if (scores === undefined || boxes === undefined) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected a detector with outputs scores [1, N, 2] and boxes [1, N, 4], or YuNet's heads, but received ${names.join(', ')}`);
  }
  return { input: { channels: 'rgb', mean: 127, std: 128 }, decoder: { type: 'boxes', scores, class: 1, boxes }, score_threshold: 0.7 };
}
