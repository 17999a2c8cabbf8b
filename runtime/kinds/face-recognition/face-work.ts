import { RuntimeError } from '../../errors.js';
import { timeOf } from '../../frame.js';
import type { Frame, Image } from '../../frame.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Detection, Finding } from '../../stages/types.js';
import { arcfaceTemplate, invertAffine, similarityTransform } from '../../vision/align.js';
import { detect, onlyOutput, pairsOf } from '../../vision/detector.js';
import type { DetectPlan, Found } from '../../vision/detector.js';
import { auditLook, GatedDetector } from '../../vision/gates/gated-detector.js';
import type { AuditLook } from '../../vision/gates/gated-detector.js';
import { normalize } from '../../vision/embedding.js';
import { fivePoints } from '../../vision/landmarks.js';
import { Follower, mergeTracks } from '../../vision/tracking/follower.js';
import { counts, noRules } from '../../vision/zones/rules.js';
import type { FindingRules } from '../../vision/zones/settings.js';
import type { PipelineParts } from '../kind.js';
import type { VisionWork, Wanted, Worked } from '../vision-work.js';
import { isLive, livenessCrop, livenessScore } from './liveness.js';
import type { LivenessSettings } from './liveness.js';
import { poseQuality, sharpness } from './face-quality.js';
import type { FaceSettings } from './settings.js';
import { TrackRecognizer } from './track-recognizer.js';

interface Face {
  detection: Detection;
  /** Five points, flat. */
  points: Float32Array;
}

/** A picture with the stages that look at it and the clock that times them. */
interface Look {
  image: Image;
  stages: Stages;
  clock: StageClock;
  /** No work is spent on a face that does not count. */
  rules: FindingRules;
}

/** Detector, landmarks, alignment, embedder, gallery. */
export class FaceWork implements VisionWork {
  /** Faces do not stand on the ground. */
  readonly anchor = 'center';
  readonly #parts: PipelineParts;
  readonly #settings: FaceSettings;
  readonly #plan: DetectPlan;
  readonly #detector: GatedDetector;
  readonly #follower: Follower;
  /** Null without anybody to compare faces with. */
  readonly #recognizer: TrackRecognizer | null;
  /** Tracks that were lost in the last frame. */
  readonly #memory: { lost: ReadonlySet<number> };

  /** A variant follows and names the same tracks as `own`. */
  constructor(parts: PipelineParts, settings: FaceSettings, own?: FaceWork) {
    this.#parts = parts;
    this.#settings = settings;
    this.#detector = new GatedDetector(settings.features);
    const { label, iou_threshold, ...detector } = settings.detector;
    this.#plan = { ...detector, labels: [label], suppression: { method: 'hard', iou_threshold, across_classes: true } };
    this.#memory = own === undefined ? { lost: new Set() } : own.#memory;
    this.#follower = own === undefined ? new Follower(settings.tracking, detector.score_threshold) : own.#follower.withThreshold(detector.score_threshold);
    this.#recognizer = own === undefined ? recognizerOf(parts, settings) : own.#recognizer;
  }

  begin(): void {
    this.#detector.forget();
  }

  async process(frame: Frame, stages: Stages, clock: StageClock, { rules, factor }: Wanted): Promise<Worked> {
    const look = { image: frame, stages, clock, rules };
    const follows = this.#follower.follows(frame);
    const plan = { ...this.#plan, score_threshold: this.#follower.thresholdFor(frame) };
    const { found, ...seen } = await this.#detector.look(frame, stageOf(stages, 'detector'), plan, { pixels: this.#parts.pixels, clock, factor });
    if (seen.exit === 'features') return { findings: this.rest(frame), ...seen };
    if (follows) return { findings: await this.#follow(look, frame, found.filter(({ detection }) => counts(detection, frame, rules, this.anchor))), ...seen };
    const findings: Finding[] = [];
    for (const face of await this.#facesOf(look, found)) findings.push(await this.#identify(look, face));
    return { findings, ...seen };
  }

  rest(frame: Frame): Finding[] {
    return this.#named(this.#follower.rest(frame), timeOf(frame));
  }

  audit(image: Image, stages: Stages): Promise<AuditLook> {
    return auditLook(image, stageOf(stages, 'detector'), this.#plan, this.#parts.pixels);
  }

  async rehearse(image: Image, stages: Stages): Promise<void> {
    const { liveness } = this.#settings;
    const look = { image, stages, clock: new StageClock(), rules: noRules };
    for (const { detection } of await this.embed(image, stages)) if (liveness !== null) await this.#livenessOf(look, detection, liveness);
  }

  async embed(image: Image, stages: Stages): Promise<{ detection: Detection; embedding: Float32Array }[]> {
    const look = { image, stages, clock: new StageClock(), rules: noRules };
    const results: { detection: Detection; embedding: Float32Array }[] = [];
    for (const face of await this.#findFaces(look)) {
      const embedding = this.#isLargeEnough(face) ? await this.#embed(look, face) : null;
      if (embedding !== null) results.push({ detection: face.detection, embedding });
    }
    return results.sort((a, b) => area(b.detection) - area(a.detection));
  }

  async #findFaces(look: Look): Promise<Face[]> {
    const { image, stages, clock } = look;
    const stage = stageOf(stages, 'detector');
    stage.afresh();
    return this.#facesOf(look, await detect(image, stage, this.#plan, { pixels: this.#parts.pixels, clock }));
  }

  async #facesOf(look: Look, found: readonly Found[]): Promise<Face[]> {
    const faces: Face[] = [];
    for (const one of found) {
      if (counts(one.detection, look.image, look.rules, this.anchor)) faces.push(await this.#withPoints(look, one));
    }
    return faces;
  }

  async #withPoints(look: Look, { detection, points: own }: Found): Promise<Face> {
    const points = own ?? await look.clock.measureAsync('landmarks', () => this.#landmarks(look, detection));
    return { detection: { ...detection, landmarks: pairsOf(points) }, points };
  }

  /** Faces become tracks; of each track, the sights that are worth it are embedded. */
  async #follow(look: Look, frame: Frame, found: readonly Found[]): Promise<Finding[]> {
    const detections = found.map(({ detection }) => detection);
    const { tracks, trackOf } = look.clock.measure('track', () => this.#follower.step(detections, frame));
    this.#recognizer?.keep(new Set(tracks.map(({ id }) => id)));
    for (const [i, one] of found.entries()) {
      const track = trackOf[i] ?? null;
      if (track === null) continue;
      const face = await this.#withPoints(look, one);
      detections[i] = face.detection;
      await this.#learn(look, face, { track, nowMs: timeOf(frame), found: this.#memory.lost.has(track) });
    }
    this.#memory.lost = new Set(tracks.flatMap(({ id, status }) => (status === 'lost' ? [id] : [])));
    return this.#named(mergeTracks(detections, { tracks, trackOf }, this.#plan.score_threshold), timeOf(frame));
  }

  /** Embeds a sight of a track when it is new, better than those before, or due. */
  async #learn(look: Look, face: Face, sight: { track: number; nowMs: number; found: boolean }): Promise<void> {
    const recognizer = this.#recognizer;
    if (recognizer === null || !this.#isLargeEnough(face)) return;
    // Sharpness takes an aligned picture, and can only lower what size and pose allow.
    const possible = poseQuality(face.points);
    if (!recognizer.isWorthIt(sight.track, { ...sight, quality: possible }) || !this.#align(look, face)) return;
    const quality = possible * sharpness(stageOf(look.stages, 'embedder').canvas);
    if (!recognizer.isWorthIt(sight.track, { ...sight, quality })) return;
    const { liveness } = this.#settings;
    if (liveness !== null && !recognizer.saw(sight.track, await this.#livenessOf(look, face.detection, liveness), sight.nowMs)) return;
    const embedding = await this.#embedAligned(look);
    if (embedding !== null) look.clock.measure('match', () => recognizer.add(sight.track, { embedding, quality, nowMs: sight.nowMs }));
  }

  #named(findings: readonly Finding[], nowMs: number): Finding[] {
    return findings.map((finding) => {
      if (finding.type !== 'detection' && finding.type !== 'track') return finding;
      return finding.track === undefined ? finding : { ...finding, ...this.#recognizer?.personOf(finding.track, nowMs) };
    });
  }

  async #landmarks({ image, stages }: Look, { box: [x, y, width, height] }: Detection): Promise<Float32Array> {
    const { landmarks: settings } = this.#settings;
    if (settings === null) throw new RuntimeError('E_PACKAGE', 'The package has no landmark model and its detector gives boxes only');
    const stage = stageOf(stages, 'landmarks');
    const { crop, points } = settings;
    const side = Math.min(width, height) * crop.scale;
    const left = x + width * (0.5 + crop.shift_x) - side / 2;
    const top = y + height * (0.5 + crop.shift_y) - side / 2;
    this.#parts.pixels.crop(image, { x: left, y: top, width: side, height: side }, stage.canvas);
    const shares = onlyOutput(await stage.run(), points * 2, 'landmarks');
    return fivePoints(shares.map((share, i) => (i % 2 === 0 ? left : top) + share * side));
  }

  async #identify(look: Look, face: Face): Promise<Detection> {
    const recognizer = this.#recognizer;
    if (recognizer === null || !this.#isLargeEnough(face)) return face.detection;
    const { liveness: settings } = this.#settings;
    const score = settings === null ? null : await this.#livenessOf(look, face.detection, settings);
    const live = settings === null || score === null || isLive(score, settings);
    const detection = score === null ? face.detection : { ...face.detection, liveness: { score, live } };
    if (!live) return { ...detection, identity: null };
    const embedding = await this.#embed(look, face);
    return embedding === null ? detection : { ...detection, identity: look.clock.measure('match', () => recognizer.identify(embedding)) };
  }

  #livenessOf({ image, stages, clock }: Look, { box }: Detection, settings: LivenessSettings): Promise<number> {
    return clock.measureAsync('liveness', async () => {
      const stage = stageOf(stages, 'liveness');
      this.#parts.pixels.crop(image, livenessCrop(box, image, settings.crop_scale), stage.canvas);
      return livenessScore(onlyOutput(await stage.run(), settings.classes, 'liveness model'), settings);
    });
  }

  #isLargeEnough({ detection: { box: [, , width, height] } }: Face): boolean {
    return Math.max(width, height) >= this.#settings.embedder.min_face_px;
  }

  /** Null when the landmarks are degenerate or the model gives no direction. */
  async #embed(look: Look, face: Face): Promise<Float32Array | null> {
    return this.#align(look, face) ? this.#embedAligned(look) : null;
  }

  /** Draws the face on the embedder's canvas; false when the landmarks are degenerate. */
  #align({ image, stages, clock }: Look, { points }: Face): boolean {
    return clock.measure('align', () => {
      const toCanvas = similarityTransform(points, arcfaceTemplate);
      const toImage = toCanvas === null ? null : invertAffine(toCanvas);
      if (toImage !== null) this.#parts.pixels.warp(image, toImage, stageOf(stages, 'embedder').canvas);
      return toImage !== null;
    });
  }

  /** Null when the model gives no direction. */
  #embedAligned({ stages, clock }: Look): Promise<Float32Array | null> {
    const embedder = stageOf(stages, 'embedder');
    return clock.measureAsync('embed', async () => normalize(onlyOutput(await embedder.run(), this.#settings.embedder.dimensions, 'embedder')));
  }
}

function recognizerOf({ gallery, embeddingSpaceId: space }: PipelineParts, { match_threshold: threshold, recognition: settings, liveness }: FaceSettings): TrackRecognizer | null {
  return gallery === undefined || space === null ? null : new TrackRecognizer({ gallery, space, threshold, settings, liveness });
}

function area({ box: [, , width, height] }: Detection): number {
  return width * height;
}
