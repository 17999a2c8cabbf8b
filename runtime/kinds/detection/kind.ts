import type { Image } from '../../frame.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Finding } from '../../stages/types.js';
import { detect, pairsOf } from '../../vision/detector.js';
import type { PixelOps } from '../../vision/pixels.js';
import { gated } from '../../vision/settings.js';
import { defineKind } from '../kind.js';
import { inFull, VisionPipeline } from '../vision-pipeline.js';
import { describeDetection } from './describe.js';
import { detectionSettings } from './settings.js';
import type { DetectionSettings } from './settings.js';

/** What is where in a frame: a motion gate, and a detector of any family that runtime/vision/decoders knows. */
export const detection = defineKind({
  name: 'detection',
  roles: { detector: { what: 'detector with any head of runtime/vision/decoders', goldenVectors: 1, quantized: true } },
  settings: detectionSettings,
  describe: describeDetection,
  override: (settings, { detectThreshold, motionGate }) => ({
    ...settings,
    motion: gated(settings.motion, motionGate),
    detector: { ...settings.detector, score_threshold: detectThreshold ?? settings.detector.score_threshold },
  }),
  create: (parts, settings) => new VisionPipeline(parts, settings.motion, {
    process: async (image, stages, clock) => inFull(await findObjects(image, stages, settings, { pixels: parts.pixels, clock })),
    rehearse: async (image, stages) => {
      await findObjects(image, stages, settings, { pixels: parts.pixels, clock: new StageClock() });
    },
  }),
});

async function findObjects(
  image: Image, stages: Stages, { detector, labels }: DetectionSettings, tools: { pixels: PixelOps; clock: StageClock },
): Promise<Finding[]> {
  const found = await detect(image, stageOf(stages, 'detector'), { ...detector, labels }, tools);
  return found.map(({ detection: box, points }) => (points === undefined ? box : { ...box, landmarks: pairsOf(points) }));
}
