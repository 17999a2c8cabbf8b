import type { Frame, Image } from '../../frame.js';
import { incrementOf } from '../../incremental/settings.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Detection, Finding } from '../../stages/types.js';
import { detect, pairsOf } from '../../vision/detector.js';
import type { DetectPlan, Found } from '../../vision/detector.js';
import { auditLook, GatedDetector } from '../../vision/gates/gated-detector.js';
import type { AuditLook } from '../../vision/gates/gated-detector.js';
import type { CellMask, PixelOps } from '../../vision/pixels.js';
import { detectorGates, featuresGated, gated } from '../../vision/settings.js';
import { Follower } from '../../vision/tracking/follower.js';
import { tracked } from '../../vision/tracking/settings.js';
import { defineKind } from '../kind.js';
import type { PipelineParts } from '../kind.js';
import { VisionPipeline } from '../vision-pipeline.js';
import type { VisionWork, Wanted, Worked } from '../vision-pipeline.js';
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
  conflict: (_, { features, incremental }) => (features?.enabled === true && incremental.enabled ? 'expected either features.enabled or incremental.enabled, since a detector that stops at its features computes all of what comes before them' : null),
  gates: (settings) => detectorGates(settings),
  override: (settings, { detectThreshold, tracking, incremental, ...gates }) => ({
    ...settings,
    incremental: { ...settings.incremental, enabled: incremental ?? settings.incremental.enabled },
    motion: gated(settings.motion, gates.motionGate),
    // What stops at its features computes all of what comes before them.
    features: featuresGated(settings.features, incremental === true ? { ...gates, featureGate: false } : gates),
    tracking: tracked(settings.tracking, tracking),
    detector: { ...settings.detector, score_threshold: detectThreshold ?? settings.detector.score_threshold },
  }),
  create: (parts, settings) => new VisionPipeline(parts, settings, new DetectionWork(parts, settings)),
});

class DetectionWork implements VisionWork {
  readonly #pixels: PixelOps;
  readonly #plan: DetectPlan;
  readonly #follower: Follower;
  readonly #detector: GatedDetector;

  constructor({ pixels }: PipelineParts, { detector, labels, tracking, features }: DetectionSettings) {
    this.#pixels = pixels;
    this.#plan = { ...detector, labels };
    this.#detector = new GatedDetector(features);
    this.#follower = new Follower(tracking, detector.score_threshold);
  }

  async process(frame: Frame, stages: Stages, clock: StageClock, { factor }: Wanted): Promise<Worked> {
    const follows = this.#follower.follows(frame);
    const plan = { ...this.#plan, score_threshold: this.#follower.thresholdFor(frame) };
    const { found, ...look } = await this.#detector.look(frame, stageOf(stages, 'detector'), plan, { pixels: this.#pixels, clock, factor });
    if (look.exit === 'features') return { findings: this.rest(frame), ...look };
    const detections = found.map(toDetection);
    const findings = follows ? clock.measure('track', () => this.#follower.see(detections, frame)) : detections;
    return { findings, ...look, ...this.#extent(stageOf(stages, 'detector').active) };
  }

  /** What is different about a frame of which the detector computed a part. */
  #extent(active: CellMask | null): Partial<Pick<Worked, 'exit' | 'cells'>> {
    if (active === null) return {};
    // The cells are those of what the model was fed; with borders around the picture they are not those of the frame.
    return { exit: 'partial', ...(this.#plan.fit === 'stretch' ? { cells: active } : {}) };
  }

  audit(image: Image, stages: Stages): Promise<AuditLook> {
    return auditLook(image, stageOf(stages, 'detector'), this.#plan, this.#pixels);
  }

  rest(frame: Frame): Finding[] {
    return this.#follower.rest(frame);
  }

  async rehearse(image: Image, stages: Stages): Promise<void> {
    await detect(image, stageOf(stages, 'detector'), this.#plan, { pixels: this.#pixels, clock: new StageClock() });
  }
}

const toDetection = ({ detection: box, points }: Found): Detection => (points === undefined ? box : { ...box, landmarks: pairsOf(points) });
