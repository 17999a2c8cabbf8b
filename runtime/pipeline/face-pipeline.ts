import { RuntimeError } from '../errors.js';
import type { Frame, Image } from '../frame.js';
import type { FacePipelineSettings } from '../package/manifest.js';
import { arcfaceTemplate, invertAffine, similarityTransform } from '../vision/align.js';
import { decodeCorners, decodeYunet } from '../vision/boxes.js';
import type { Candidates, FitTransform } from '../vision/boxes.js';
import { normalise } from '../vision/embedding.js';
import { fivePoints } from '../vision/landmarks.js';
import { MotionGate } from '../vision/motion.js';
import { suppress } from '../vision/nms.js';
import type { PixelOps } from '../vision/pixels.js';
import type { Tensor } from '../tensor.js';
import { StageClock } from './stage-clock.js';
import { stageList } from './stages.js';
import type { FaceStages } from './stages.js';
import type { Detection, Gallery, Identity, Pipeline, PipelineResult } from './types.js';

/** What a face pipeline is made of; `createPipeline` builds it from a package, a test from fakes. */
export interface FacePipelineParts {
  name: string;
  version: string;
  embeddingSpaceId: string | null;
  settings: FacePipelineSettings;
  stages: FaceStages;
  pixels: PixelOps;
  /** Without one, faces are found and aligned but not embedded. */
  gallery: Gallery | undefined;
}

interface Face {
  detection: Detection;
  /** Five points, flat. */
  points: Float32Array;
}

/** Motion gate, detector, landmarks, alignment, embedder, gallery: one frame at a time, every stage timed. */
export class FacePipeline implements Pipeline {
  readonly name: string;
  readonly version: string;
  readonly embeddingSpaceId: string | null;
  readonly #parts: FacePipelineParts;
  readonly #gate: MotionGate;
  readonly #motion: ReturnType<PixelOps['motionGrid']>;
  /** The canvases of the stages are shared, so frames and enrolments take turns. */
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(parts: FacePipelineParts) {
    this.name = parts.name;
    this.version = parts.version;
    this.embeddingSpaceId = parts.embeddingSpaceId;
    this.#parts = parts;
    this.#gate = new MotionGate(parts.settings.motion);
    this.#motion = parts.pixels.motionGrid();
  }

  get memoryBytes(): number {
    return stageList(this.#parts.stages).reduce((sum, stage) => sum + stage.memoryBytes, 0);
  }

  process(frame: Frame): Promise<PipelineResult> {
    return this.#exclusively(() => this.#process(frame));
  }

  embed(image: Image): Promise<{ detection: Detection; embedding: Float32Array }[]> {
    return this.#exclusively(async () => {
      const clock = new StageClock();
      const results: { detection: Detection; embedding: Float32Array }[] = [];
      for (const face of await this.#findFaces(image, clock)) {
        const embedding = this.#isLargeEnough(face) ? await this.#embed(image, face, clock) : null;
        if (embedding !== null) results.push({ detection: face.detection, embedding });
      }
      return results.sort((a, b) => area(b.detection) - area(a.detection));
    });
  }

  /** Lends the models, between two frames: for a self-test that needs no second copy of them. */
  withStages<T>(work: (stages: FaceStages) => Promise<T>): Promise<T> {
    return this.#exclusively(() => work(this.#parts.stages));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#turn;
    await Promise.all(stageList(this.#parts.stages).map((stage) => stage.session.close()));
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new RuntimeError('E_INPUT', 'The pipeline is closed'));
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #process(frame: Frame): Promise<PipelineResult> {
    const clock = new StageClock();
    const nowMs = frame.mediaMs ?? frame.capturedMs;
    const finish = (detections: Detection[], exit: PipelineResult['exit']): PipelineResult => {
      const { totalMs, stages } = clock;
      const decode = frame.decodeMs === undefined ? [] : [{ stage: 'decode', ms: frame.decodeMs }];
      return { sequence: frame.sequence, capturedMs: frame.capturedMs, detections, exit, stages: [...decode, ...stages], totalMs };
    };
    if (this.#gate.enabled) {
      const moved = clock.measure('motion', () => {
        const changedCells = this.#motion.update(frame, this.#parts.settings.motion.cell_threshold);
        return this.#gate.decide(changedCells, nowMs);
      });
      if (!moved) return finish([], 'motion');
    }
    const faces = await this.#findFaces(frame, clock);
    if (faces.length > 0) this.#gate.sawFace(nowMs);
    const detections: Detection[] = [];
    for (const face of faces) detections.push(await this.#identify(frame, face, clock));
    return finish(detections, 'none');
  }

  async #findFaces(image: Image, clock: StageClock): Promise<Face[]> {
    const { stages: { detector }, pixels, settings } = this.#parts;
    const fit = clock.measure('letterbox', () => pixels.fit(image, detector.canvas, settings.detector.fit));
    const outputs = await clock.measureAsync('detect', () => detector.run());
    const candidates = clock.measure('decode_boxes', () => this.#decode(outputs, fit));
    const kept = clock.measure('nms', () => suppress(candidates.boxes, candidates.scores, {
      iouThreshold: settings.detector.iou_threshold, maxDetections: settings.detector.max_detections,
    }));
    const faces: Face[] = [];
    for (const index of kept) {
      const detection = toDetection(candidates, index, settings.detector.label);
      const points = candidates.points?.slice(index * 10, index * 10 + 10)
        ?? await clock.measureAsync('landmarks', () => this.#landmarks(image, detection));
      faces.push({ detection: { ...detection, landmarks: pairs(points) }, points });
    }
    return faces;
  }

  #decode(outputs: Record<string, Tensor>, fit: FitTransform): Candidates {
    const { stages: { detector: { canvas } }, settings } = this.#parts;
    const { decoder, score_threshold: threshold } = settings.detector;
    if (decoder.type === 'yunet') return decodeYunet(outputs, decoder.strides, canvas, fit, threshold);
    const heads = { scores: output(outputs, decoder.scores), boxes: output(outputs, decoder.boxes), class: decoder.class };
    return decodeCorners(heads, canvas, fit, threshold);
  }

  async #landmarks(image: Image, { box: [x, y, width, height] }: Detection): Promise<Float32Array> {
    const { stages: { landmarks }, settings } = this.#parts;
    if (landmarks === undefined || settings.landmarks === null) {
      throw new RuntimeError('E_PACKAGE', 'The package has no landmark model and its detector gives boxes only');
    }
    const { crop, points } = settings.landmarks;
    const side = Math.min(width, height) * crop.scale;
    const left = x + width * (0.5 + crop.shift_x) - side / 2;
    const top = y + height * (0.5 + crop.shift_y) - side / 2;
    this.#parts.pixels.crop(image, { x: left, y: top, width: side, height: side }, landmarks.canvas);
    const shares = onlyOutput(await landmarks.run(), points * 2, 'landmarks');
    return fivePoints(shares.map((share, i) => (i % 2 === 0 ? left : top) + share * side));
  }

  async #identify(frame: Frame, face: Face, clock: StageClock): Promise<Detection> {
    const { gallery, settings: { match_threshold: threshold } } = this.#parts;
    const space = this.embeddingSpaceId;
    if (gallery === undefined || space === null || !this.#isLargeEnough(face)) return face.detection;
    const embedding = await this.#embed(frame, face, clock);
    if (embedding === null) return face.detection;
    const best = clock.measure('match', (): Identity | null => gallery.match(embedding, space));
    return { ...face.detection, identity: best !== null && best.similarity >= threshold ? best : null };
  }

  #isLargeEnough({ detection: { box: [, , width, height] } }: Face): boolean {
    return Math.max(width, height) >= this.#parts.settings.embedder.min_face_px;
  }

  /** Null when the landmarks are degenerate or the model gives no direction. */
  async #embed(image: Image, { points }: Face, clock: StageClock): Promise<Float32Array | null> {
    const { stages: { embedder }, pixels, settings } = this.#parts;
    const aligned = clock.measure('align', () => {
      const toCanvas = similarityTransform(points, arcfaceTemplate);
      const toImage = toCanvas === null ? null : invertAffine(toCanvas);
      if (toImage !== null) pixels.warp(image, toImage, embedder.canvas);
      return toImage !== null;
    });
    if (!aligned) return null;
    return clock.measureAsync('embed', async () => normalise(onlyOutput(await embedder.run(), settings.embedder.dimensions, 'embedder')));
  }
}

function toDetection({ boxes, scores }: Candidates, index: number, label: string): Detection {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.subarray(index * 4, index * 4 + 4);
  return { box: [x1, y1, x2 - x1, y2 - y1], score: scores[index] ?? 0, label };
}

function pairs(points: Float32Array): [number, number][] {
  return Array.from({ length: points.length / 2 }, (_, i) => [points[i * 2] ?? 0, points[i * 2 + 1] ?? 0]);
}

function area({ box: [, , width, height] }: Detection): number {
  return width * height;
}

function output(outputs: Record<string, Tensor>, name: string): Tensor {
  const tensor = outputs[name];
  if (tensor !== undefined) return tensor;
  throw new RuntimeError('E_MODEL_SHAPE', `Expected an output ${name} but the model has ${Object.keys(outputs).join(', ')}`);
}

function onlyOutput(outputs: Record<string, Tensor>, length: number, stage: string): Float32Array {
  const [tensor, ...others] = Object.values(outputs);
  if (tensor?.data instanceof Float32Array && tensor.data.length === length && others.length === 0) return tensor.data;
  const received = Object.entries(outputs).map(([name, { type, dims }]) => `${name} ${type}[${dims.join(', ')}]`).join(', ');
  throw new RuntimeError('E_MODEL_SHAPE', `Expected one float32 output of ${length} values from the ${stage} but received ${received}`);
}
