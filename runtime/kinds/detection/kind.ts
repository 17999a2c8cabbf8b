import type { Frame, Image } from '../../frame.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Detection, Finding } from '../../stages/types.js';
import { detect, pairsOf } from '../../vision/detector.js';
import type { DetectPlan } from '../../vision/detector.js';
import type { PixelOps } from '../../vision/pixels.js';
import { gated } from '../../vision/settings.js';
import { Follower } from '../../vision/tracking/follower.js';
import { tracked } from '../../vision/tracking/settings.js';
import { defineKind } from '../kind.js';
import type { PipelineParts } from '../kind.js';
import { inFull, VisionPipeline } from '../vision-pipeline.js';
import type { VisionWork, Worked } from '../vision-pipeline.js';
import { describeDetection } from './describe.js';
import { detectionSettings } from './settings.js';
import type { DetectionSettings } from './settings.js';

/** What is where in a frame: a motion gate, and a detector of any family that runtime/vision/decoders knows. */
export const detection = defineKind({
  name: 'detection',
  roles: { detector: { what: 'detector with any head of runtime/vision/decoders', goldenVectors: 1, quantized: true } },
  settings: detectionSettings,
  describe: describeDetection,
  override: (settings, { detectThreshold, motionGate, tracking }) => ({
    ...settings,
    motion: gated(settings.motion, motionGate),
    tracking: tracked(settings.tracking, tracking),
    detector: { ...settings.detector, score_threshold: detectThreshold ?? settings.detector.score_threshold },
  }),
  create: (parts, settings) => new VisionPipeline(parts, settings.motion, new DetectionWork(parts, settings)),
});

class DetectionWork implements VisionWork {
  readonly #pixels: PixelOps;
  readonly #plan: DetectPlan;
  readonly #follower: Follower;

  constructor({ pixels }: PipelineParts, { detector, labels, tracking }: DetectionSettings) {
    this.#pixels = pixels;
    this.#plan = { ...detector, labels };
    this.#follower = new Follower(tracking, detector.score_threshold);
  }

  async process(frame: Frame, stages: Stages, clock: StageClock): Promise<Worked> {
    const follows = this.#follower.follows(frame);
    const found = await this.#find(frame, stages, { clock, threshold: follows ? this.#follower.lowThreshold : this.#plan.score_threshold });
    return inFull(follows ? clock.measure('track', () => this.#follower.see(found, frame)) : found);
  }

  rest(frame: Frame): Finding[] {
    return this.#follower.rest(frame);
  }

  async rehearse(image: Image, stages: Stages): Promise<void> {
    await this.#find(image, stages, { clock: new StageClock(), threshold: this.#plan.score_threshold });
  }

  async #find(image: Image, stages: Stages, { clock, threshold }: { clock: StageClock; threshold: number }): Promise<Detection[]> {
    const found = await detect(image, stageOf(stages, 'detector'), { ...this.#plan, score_threshold: threshold }, { pixels: this.#pixels, clock });
    return found.map(({ detection: box, points }) => (points === undefined ? box : { ...box, landmarks: pairsOf(points) }));
  }
}
