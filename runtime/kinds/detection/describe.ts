import { cocoLabels } from '../../vision/coco.js';
import type { Head } from '../../vision/decoders/family.js';
import { recognizeDetector } from '../../vision/decoders/index.js';
import { defaultMotion } from '../../vision/settings.js';
import { defaultTracking } from '../../vision/tracking/settings.js';
import type { DescribeHints, ModelInfo } from '../kind.js';
import { describeStage, modelOf, pictureSize } from '../pixel-input.js';

/** A head with so many classes, or with classes that its shape does not tell, is taken to be trained on COCO. */
const cocoClasses = cocoLabels.length;

/**
 * Stages and settings of a detector: its family is recognized from the outputs, the rest is what published models of that family want.
 * @throws RuntimeError E_INPUT, E_MODEL_SHAPE that says what was seen and what would fit
 */
export function describeDetection(models: Readonly<Record<string, ModelInfo>>, { decoder, anchors, keypoints }: DescribeHints = {}): { stages: object; settings: object } {
  const model = modelOf(models, 'detector');
  const input = pictureSize(model, 3, 'detector');
  const { classes, label, picture, scoreThreshold, suppress, ...found } = recognizeDetector({ heads: headsOf(model), input, anchors, keypoints }, decoder);
  const { channels, mean, std, fit, pad } = picture;
  return {
    stages: { detector: describeStage('detector', model, 'detector', { channels, mean, std }) },
    settings: {
      motion: defaultMotion,
      tracking: { ...defaultTracking, enabled: false },
      detector: {
        fit, pad, decoder: found.decoder, score_threshold: scoreThreshold, max_detections: 100,
        suppression: suppress ? { method: 'hard', iou_threshold: 0.45, across_classes: false } : { method: 'none' },
      },
      labels: label !== undefined ? [label] : classes === cocoClasses || classes === 0 ? [...cocoLabels] : [],
    },
  };
}

/** A model's outputs as recognition sees them. */
export function headsOf({ outputs, ends = {} }: Pick<ModelInfo, 'outputs' | 'ends'>): Head[] {
  return outputs.map(({ name, type, dims }) => ({ name, type, dims, ends: ends[name] ?? [] }));
}
