import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import type { Detection } from '../stages/finding.js';
import type { ModelStage } from '../stages/model-stage.js';
import type { StageClock } from '../stages/stage-clock.js';
import type { Tensor } from '../tensor.js';
import { decodeCorners, decodeYunet } from './boxes.js';
import type { Candidates, FitTransform } from './boxes.js';
import { suppress } from './nms.js';
import type { PixelOps } from './pixels.js';
import type { DetectorSettings } from './settings.js';

/** A box that was found, and the five points of the detector (flat) where its decoder gives them. */
export interface Found {
  detection: Detection;
  points: Float32Array | undefined;
}

/**
 * One pass of a detector over a picture: fit, run, decode, suppress; each step timed.
 * @throws RuntimeError E_MODEL_SHAPE when the outputs are not those of the decoder
 */
export async function detect(image: Image, stage: ModelStage, settings: DetectorSettings, { pixels, clock }: { pixels: PixelOps; clock: StageClock }): Promise<Found[]> {
  const fit = clock.measure('letterbox', () => pixels.fit(image, stage.canvas, settings.fit));
  const outputs = await clock.measureAsync('detect', () => stage.run());
  const candidates = clock.measure('decode_boxes', () => decode(outputs, stage, settings, fit));
  const kept = clock.measure('nms', () => suppress(candidates.boxes, candidates.scores, {
    iouThreshold: settings.iou_threshold, maxDetections: settings.max_detections,
  }));
  return kept.map((index) => ({
    detection: toDetection(candidates, index, settings.label),
    points: candidates.points?.slice(index * 10, index * 10 + 10),
  }));
}

function decode(outputs: Record<string, Tensor>, { canvas }: ModelStage, { decoder, score_threshold: threshold }: DetectorSettings, fit: FitTransform): Candidates {
  if (decoder.type === 'yunet') return decodeYunet(outputs, decoder.strides, canvas, fit, threshold);
  const heads = { scores: outputOf(outputs, decoder.scores), boxes: outputOf(outputs, decoder.boxes), class: decoder.class };
  return decodeCorners(heads, canvas, fit, threshold);
}

function toDetection({ boxes, scores }: Candidates, index: number, label: string): Detection {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.subarray(index * 4, index * 4 + 4);
  return { type: 'detection', box: [x1, y1, x2 - x1, y2 - y1], score: scores[index] ?? 0, label };
}

function outputOf(outputs: Record<string, Tensor>, name: string): Tensor {
  const tensor = outputs[name];
  if (tensor !== undefined) return tensor;
  throw new RuntimeError('E_MODEL_SHAPE', `Expected an output ${name} but the model has ${Object.keys(outputs).join(', ')}`);
}

/** Values of a stage's only output. @throws RuntimeError E_MODEL_SHAPE when there are others, or it has another length */
export function onlyOutput(outputs: Record<string, Tensor>, length: number, stage: string): Float32Array {
  const [tensor, ...others] = Object.values(outputs);
  if (tensor?.data instanceof Float32Array && tensor.data.length === length && others.length === 0) return tensor.data;
  const received = Object.entries(outputs).map(([name, { type, dims }]) => `${name} ${type}[${dims.join(', ')}]`).join(', ');
  throw new RuntimeError('E_MODEL_SHAPE', `Expected one float32 output of ${length} values from the ${stage} but received ${received}`);
}
