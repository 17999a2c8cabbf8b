import { z } from 'zod';
import { defineKind } from '../../../runtime/kinds/kind.js';
import { describeStage, modelOf } from '../../../runtime/kinds/pixel-input.js';
import { VisionPipeline } from '../../../runtime/kinds/vision-pipeline.js';
import { inFull } from '../../../runtime/kinds/vision-work.js';
import { stageOf } from '../../../runtime/stages/open-stages.js';
import { defaultMotion } from '../../../runtime/vision/settings.js';

/** A kind as runtime/kinds/README.md says that one is added; toy-kind.long.test.ts puts it into a copy of the sources. It tells bright pictures from dark ones. */
export const brightness = defineKind({
  name: 'brightness',
  roles: { meter: { what: 'model with one output', goldenVectors: 1, quantized: true } },
  settings: z.object({ limit: z.number().min(0).max(1) }),
  describe: (models) => ({
    stages: { meter: describeStage('meter', modelOf(models, 'meter'), 'meter', { channels: 'grey', mean: 0, std: 255 }) }, settings: { limit: 0.5 },
  }),
  override: (settings, { detectThreshold }) => ({ limit: detectThreshold ?? settings.limit }),
  create: (parts, { limit }) => new VisionPipeline(parts, { motion: { ...defaultMotion, enabled: false } }, {
    process: async (image, stages) => {
      parts.pixels.fit(image, stageOf(stages, 'meter').canvas, 'stretch');
      const score = Number((await stageOf(stages, 'meter').run())['y']?.data[0]);
      return inFull(score >= limit ? [{ type: 'class', label: 'bright', score }] : []);
    },
    rehearse: async (image, stages) => void await stageOf(stages, 'meter').run(),
  }),
});
