import type { Frame, Image } from '../../frame.js';
import { incrementally, incrementOf } from '../../incremental/settings.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Detection, Finding } from '../../stages/types.js';
import { detect, pairsOf } from '../../vision/detector.js';
import type { DetectPlan, Found } from '../../vision/detector.js';
import { auditLook, GatedDetector } from '../../vision/gates/gated-detector.js';
import type { AuditLook } from '../../vision/gates/gated-detector.js';
import type { PixelOps } from '../../vision/pixels.js';
import { detectorGates, featuresGated, gated } from '../../vision/settings.js';
import { Follower } from '../../vision/tracking/follower.js';
import { tracked } from '../../vision/tracking/settings.js';
import { defineKind } from '../kind.js';
import type { PipelineParts } from '../kind.js';
import { VisionPipeline } from '../vision-pipeline.js';
import type { VisionWork, Wanted, Worked } from '../vision-work.js';
import { describeDetection } from './describe.js';
import { detectionSettings } from './settings.js';
import type { DetectionSettings } from './settings.js';

/** What is where in a frame: a motion gate, and a detector of any family that runtime/vision/decoders knows. */
export const detection = defineKind({
  name: 'detection',
  roles: { detector: { what: 'detector with any head of runtime/vision/decoders', goldenVectors: 1, quantized: true } },
  settings: detectionSettings,
  describe: describeDetection,
  increments: ({ incremental }) => incrementOf('detector', incremental),
  gates: (settings) => detectorGates(settings),
  override: (settings, { detectThreshold, tracking, ...gates }) => ({
    ...settings,
    incremental: incrementally(settings.incremental, gates),
    motion: gated(settings.motion, gates.motionGate),
    features: featuresGated(settings.features, gates),
    tracking: tracked(settings.tracking, tracking),
    detector: { ...settings.detector, score_threshold: detectThreshold ?? settings.detector.score_threshold },
  }),
  varies: { stages: ['detector'], settings: ['detector', 'features', 'incremental'] },
  create(parts, settings, _, variants) {
    const own = new DetectionWork(parts, settings);
    return new VisionPipeline(parts, settings, own, variants.map((varied) => new DetectionWork(parts, varied, own)));
  },
});

class DetectionWork implements VisionWork {
  readonly #pixels: PixelOps;
  readonly #plan: DetectPlan;
  readonly #follower: Follower;
  readonly #detector: GatedDetector;

  /** A variant follows the same tracks as `own`. */
  constructor({ pixels }: PipelineParts, { detector, labels, tracking, features }: DetectionSettings, own?: DetectionWork) {
    this.#pixels = pixels;
    this.#plan = { ...detector, labels };
    this.#detector = new GatedDetector(features);
    this.#follower = own === undefined ? new Follower(tracking, detector.score_threshold) : own.#follower.withThreshold(detector.score_threshold);
  }

  begin(): void {
    this.#detector.forget();
  }

  async process(frame: Frame, stages: Stages, clock: StageClock, { factor }: Wanted): Promise<Worked> {
    const follows = this.#follower.follows(frame);
    const plan = { ...this.#plan, score_threshold: this.#follower.thresholdFor(frame) };
    const { found, ...look } = await this.#detector.look(frame, stageOf(stages, 'detector'), plan, { pixels: this.#pixels, clock, factor });
    if (look.exit === 'features') return { findings: this.rest(frame), ...look };
    const detections = found.map(toDetection);
    const findings = follows ? clock.measure('track', () => this.#follower.see(detections, frame)) : detections;
    return { findings, ...look };
  }

  audit(image: Image, stages: Stages): Promise<AuditLook> {
    return auditLook(image, stageOf(stages, 'detector'), this.#plan, this.#pixels);
  }

  rest(frame: Frame): Finding[] {
    return this.#follower.rest(frame);
  }

  async rehearse(image: Image, stages: Stages): Promise<void> {
    const stage = stageOf(stages, 'detector');
    stage.afresh();
    await detect(image, stage, this.#plan, { pixels: this.#pixels, clock: new StageClock() });
  }
}

const toDetection = ({ detection: box, points }: Found): Detection => (points === undefined ? box : { ...box, landmarks: pairsOf(points) });
