import { RuntimeError } from '../../errors.js';
import type { Frame, Image } from '../../frame.js';
import { stageOf } from '../../stages/open-stages.js';
import type { Stages } from '../../stages/open-stages.js';
import { StageClock } from '../../stages/stage-clock.js';
import type { Detection, Finding, Identity } from '../../stages/types.js';
import { arcfaceTemplate, invertAffine, similarityTransform } from '../../vision/align.js';
import { detect, onlyOutput, pairsOf } from '../../vision/detector.js';
import type { DetectPlan, Found } from '../../vision/detector.js';
import { auditLook, GatedDetector } from '../../vision/gates/gated-detector.js';
import type { AuditLook } from '../../vision/gates/gated-detector.js';
import { normalize } from '../../vision/embedding.js';
import { fivePoints } from '../../vision/landmarks.js';
import { counts, noRules } from '../../vision/zones/rules.js';
import type { FindingRules } from '../../vision/zones/settings.js';
import type { PipelineParts } from '../kind.js';
import type { VisionWork, Wanted, Worked } from '../vision-pipeline.js';
import type { FaceSettings } from './settings.js';

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

  constructor(parts: PipelineParts, settings: FaceSettings) {
    this.#parts = parts;
    this.#settings = settings;
    this.#detector = new GatedDetector(settings.features);
    const { label, iou_threshold, ...detector } = settings.detector;
    this.#plan = { ...detector, labels: [label], suppression: { method: 'hard', iou_threshold, across_classes: true } };
  }

  async process(frame: Frame, stages: Stages, clock: StageClock, { rules, factor }: Wanted): Promise<Worked> {
    const look = { image: frame, stages, clock, rules };
    const { found, ...seen } = await this.#detector.look(frame, stageOf(stages, 'detector'), this.#plan, { pixels: this.#parts.pixels, clock, factor });
    const findings: Finding[] = [];
    for (const face of await this.#facesOf(look, found)) findings.push(await this.#identify(look, face));
    return { findings, ...seen };
  }

  audit(image: Image, stages: Stages): Promise<AuditLook> {
    return auditLook(image, stageOf(stages, 'detector'), this.#plan, this.#parts.pixels);
  }

  async rehearse(image: Image, stages: Stages): Promise<void> {
    await this.embed(image, stages);
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
    return this.#facesOf(look, await detect(image, stageOf(stages, 'detector'), this.#plan, { pixels: this.#parts.pixels, clock }));
  }

  async #facesOf(look: Look, found: readonly Found[]): Promise<Face[]> {
    const { image, clock, rules } = look;
    const faces: Face[] = [];
    for (const { detection, points: own } of found) {
      if (!counts(detection, image, rules, this.anchor)) continue;
      const points = own ?? await clock.measureAsync('landmarks', () => this.#landmarks(look, detection));
      faces.push({ detection: { ...detection, landmarks: pairsOf(points) }, points });
    }
    return faces;
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
    const { gallery, embeddingSpaceId: space } = this.#parts;
    if (gallery === undefined || space === null || !this.#isLargeEnough(face)) return face.detection;
    const embedding = await this.#embed(look, face);
    if (embedding === null) return face.detection;
    const best = look.clock.measure('match', (): Identity | null => gallery.match(embedding, space));
    return { ...face.detection, identity: best !== null && best.similarity >= this.#settings.match_threshold ? best : null };
  }

  #isLargeEnough({ detection: { box: [, , width, height] } }: Face): boolean {
    return Math.max(width, height) >= this.#settings.embedder.min_face_px;
  }

  /** Null when the landmarks are degenerate or the model gives no direction. */
  async #embed({ image, stages, clock }: Look, { points }: Face): Promise<Float32Array | null> {
    const embedder = stageOf(stages, 'embedder');
    const aligned = clock.measure('align', () => {
      const toCanvas = similarityTransform(points, arcfaceTemplate);
      const toImage = toCanvas === null ? null : invertAffine(toCanvas);
      if (toImage !== null) this.#parts.pixels.warp(image, toImage, embedder.canvas);
      return toImage !== null;
    });
    if (!aligned) return null;
    return clock.measureAsync('embed', async () => normalize(onlyOutput(await embedder.run(), this.#settings.embedder.dimensions, 'embedder')));
  }
}

function area({ box: [, , width, height] }: Detection): number {
  return width * height;
}
