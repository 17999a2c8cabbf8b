import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import type { Detection } from '../stages/finding.js';
import type { ModelStage } from '../stages/model-stage.js';
import type { StageClock } from '../stages/stage-clock.js';
import type { Tensor } from '../tensor.js';
import type { Candidates, FitTransform } from './decoders/candidates.js';
import { decodeBoxes } from './decoders/index.js';
import { suppress, suppressSoftly } from './nms.js';
import type { Kept } from './nms.js';
import type { Canvas, PixelOps } from './pixels.js';
import type { DetectorBase, SuppressionSettings } from './settings.js';

/** A box that was found, and the keypoints of the detector (flat) where its decoder gives them. */
export interface Found {
  detection: Detection;
  points: Float32Array | undefined;
}

/** What a detector is to do with a picture. */
export interface DetectPlan extends DetectorBase {
  suppression: SuppressionSettings;
  /** Of each class; those without a label are called "class N". */
  labels: readonly string[];
}

/**
 * One pass of a detector over a picture: fit, run, decode, suppress; each step timed.
 * @throws RuntimeError E_MODEL_SHAPE when the outputs are not those of the decoder
 */
export async function detect(image: Image, stage: Pick<ModelStage, 'canvas' | 'run'>, plan: DetectPlan, { pixels, clock }: { pixels: PixelOps; clock: StageClock }): Promise<Found[]> {
  const { canvas } = stage;
  const fit = clock.measure('letterbox', () => pixels.fit(image, canvas, plan.fit, plan.pad));
  const outputs = await clock.measureAsync('detect', () => stage.run());
  return foundIn(outputs, plan, { canvas, fit }, clock);
}

/** What a detector's outputs say: decoded and suppressed. `fit`: how the picture was brought to the canvas. @throws RuntimeError E_MODEL_SHAPE */
export function foundIn(outputs: Record<string, Tensor>, plan: DetectPlan, { canvas, fit }: { canvas: Canvas; fit: FitTransform }, clock: StageClock): Found[] {
  const candidates = clock.measure('decode_boxes', () => decodeBoxes(outputs, plan.decoder, { input: canvas, fit, threshold: plan.score_threshold }));
  const kept = clock.measure('nms', () => choose(candidates, plan));
  return kept.map((one) => toFound(candidates, one, plan.labels));
}

/** The candidates that stay, best first. */
export function choose(candidates: Candidates, { suppression, score_threshold: scoreThreshold, max_detections: maxDetections }: Pick<DetectPlan, 'suppression' | 'score_threshold' | 'max_detections'>): Kept[] {
  const { boxes, scores } = candidates;
  const classes = suppression.method !== 'none' && suppression.across_classes ? {} : { classes: candidates.classes };
  switch (suppression.method) {
    case 'soft': return suppressSoftly(boxes, scores, { sigma: suppression.sigma, scoreThreshold, maxDetections, ...classes });
    case 'hard': return suppress(boxes, scores, { iouThreshold: suppression.iou_threshold, maxDetections, ...classes }).map((index) => ({ index, score: scores[index] ?? 0 }));
    case 'none': return Array.from(scores, (score, index) => ({ index, score })).sort((a, b) => b.score - a.score || a.index - b.index).slice(0, maxDetections);
  }
}

function toFound({ boxes, classes, points, count }: Candidates, { index, score }: Kept, labels: readonly string[]): Found {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.subarray(index * 4, index * 4 + 4);
  const number = classes[index] ?? 0;
  const width = points === undefined ? 0 : points.length / count;
  return {
    detection: { type: 'detection', box: [x1, y1, x2 - x1, y2 - y1], score, label: labels[number] ?? `class ${number}` },
    points: points?.slice(index * width, (index + 1) * width),
  };
}

/** Keypoints as pairs. */
export function pairsOf(points: Float32Array): [number, number][] {
  return Array.from({ length: points.length / 2 }, (_, i) => [points[i * 2] ?? 0, points[i * 2 + 1] ?? 0]);
}

/** Values of a stage's only output. @throws RuntimeError E_MODEL_SHAPE when there are others, or it has another length */
export function onlyOutput(outputs: Record<string, Tensor>, length: number, stage: string): Float32Array {
  const [tensor, ...others] = Object.values(outputs);
  if (tensor?.data instanceof Float32Array && tensor.data.length === length && others.length === 0) return tensor.data;
  const received = Object.entries(outputs).map(([name, { type, dims }]) => `${name} ${type}[${dims.join(', ')}]`).join(', ');
  throw new RuntimeError('E_MODEL_SHAPE', `Expected one float32 output of ${length} values from the ${stage} but received ${received}`);
}
