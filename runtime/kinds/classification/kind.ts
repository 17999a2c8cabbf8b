import { RuntimeError } from '../../errors.js';
import type { Image } from '../../frame.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Classification } from '../../stages/types.js';
import type { PictureDefaults } from '../../vision/decoders/family.js';
import type { PixelOps } from '../../vision/pixels.js';
import { defaultMotion, gated } from '../../vision/settings.js';
import { defineKind } from '../kind.js';
import type { ModelInfo } from '../kind.js';
import { activationOf, describeStage, modelOf, onlyVector } from '../pixel-input.js';
import { VisionPipeline } from '../vision-pipeline.js';
import { inFull } from '../vision-work.js';
import { rankClasses } from './rank.js';
import { classificationSettings } from './settings.js';
import type { ClassificationSettings } from './settings.js';

/** What a whole frame shows: one model with one score for each class. */
export const classification = defineKind({
  name: 'classification',
  roles: { classifier: { what: 'classifier with one output [1, N]', goldenVectors: 2, quantized: true } },
  settings: classificationSettings,
  describe: describeClassifier,
  override: (settings, { detectThreshold, motionGate }) => ({
    ...settings,
    motion: gated(settings.motion, motionGate),
    score_threshold: detectThreshold ?? settings.score_threshold,
  }),
  create: (parts, settings) => new VisionPipeline(parts, settings, {
    process: async (image, stages, clock) => inFull(await classify(image, stages, settings, { pixels: parts.pixels, clock })),
    rehearse: async (image, stages) => {
      await classify(image, stages, settings, { pixels: parts.pixels, clock: new StageClock() });
    },
  }),
});

async function classify(
  image: Image, stages: Stages, settings: ClassificationSettings, { pixels, clock }: { pixels: PixelOps; clock: StageClock },
): Promise<Classification[]> {
  const stage = stageOf(stages, 'classifier');
  clock.measure('letterbox', () => pixels.fit(image, stage.canvas, settings.fit));
  const outputs = await clock.measureAsync('classify', () => stage.run());
  const scores = Object.values(outputs)[0]?.data;
  if (!(scores instanceof Float32Array)) throw new RuntimeError('E_MODEL_SHAPE', 'Expected a float32 output from the classifier');
  return clock.measure('topk', () => rankClasses(scores, settings));
}

/** How classifiers want their pictures unless something else is stated: as the ImageNet models of Keras and TensorFlow do, -1..1. */
export const classifierPicture: PictureDefaults = { channels: 'rgb', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5], fit: 'stretch', pad: 0 };

function describeClassifier(models: Readonly<Record<string, ModelInfo>>): { stages: object; settings: object } {
  const model = modelOf(models, 'classifier');
  onlyVector(model, 'classifier');
  const { channels, mean, std, fit } = classifierPicture;
  return {
    stages: { classifier: describeStage('classifier', model, 'classifier', { channels, mean, std }) },
    settings: { motion: defaultMotion, fit, activation: activationOf(model), labels: [], top: 5, score_threshold: 0.1 },
  };
}
