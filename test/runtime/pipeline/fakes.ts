import { defaultIncremental } from '../../../runtime/incremental/settings.js';
import type { Frame } from '../../../runtime/frame.js';
import type { FaceSettings } from '../../../runtime/kinds/face-recognition/settings.js';
import { parsePipeline } from '../../../runtime/kinds/registry.js';
import type { Gallery } from '../../../runtime/pipeline/types.js';
import type { PipelineDescription } from '../../../runtime/stages/contract.js';
import { pixelsOf } from '../../../runtime/stages/contract.js';
import { ModelStage } from '../../../runtime/stages/model-stage.js';
import type { Session } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { defaultRecognition } from '../../../runtime/kinds/face-recognition/recognition.js';
import { defaultTracking } from '../../../runtime/vision/tracking/settings.js';
import { referencePixels } from '../vision/reference-pixels.js';

export const floatTensor = (dims: number[], data: ArrayLike<number>): Tensor => ({ type: 'float32', dims, data: Float32Array.from(data) });

/** A session whose outputs are computed from the pixels that it is fed. */
export function fakeSession(compute: (pixels: Uint8Array) => Record<string, Tensor>, bytes = 1000): Session & { closed: boolean; runs: number } {
  return {
    inputs: [], outputs: [], stats: { engine: 'native', threads: 1, loadMs: 0, arenaBytes: bytes, packedBytes: bytes },
    closed: false, runs: 0,
    async run(feeds) {
      this.runs++;
      const data = feeds.input?.data;
      if (!(data instanceof Uint8Array)) throw new Error('the feed is not pixels');
      await Promise.resolve();
      return compute(data);
    },
    async close() {
      await Promise.resolve();
      this.closed = true;
    },
  };
}

export const settings: FaceSettings = {
  features: null, incremental: defaultIncremental, audit: { share: 0, miss_limit: 0.01 },
  motion: { enabled: true, cell_threshold: 10, min_cells: 1, hold_ms: 100, repeat_ms: 0, full_pass_every_ms: 10_000 },
  detector: {
    label: 'face', fit: 'letterbox', pad: 0, decoder: { type: 'boxes', scores: 'scores', class: 1, boxes: 'boxes', activation: 'none', coding: 'xyxy', units: 'shares' },
    score_threshold: 0.5, iou_threshold: 0.4, max_detections: 10,
  },
  landmarks: { points: 68, crop: { scale: 1, shift_x: 0, shift_y: 0 } },
  embedder: { alignment: 'arcface-112', min_face_px: 8, dimensions: 4 },
  liveness: null,
  match_threshold: 0.5,
  tracking: defaultTracking,
  recognition: defaultRecognition,
};

const pixels = { type: 'pixels', tensor: 'input' } as const;

const everyStage: PipelineDescription = {
  kind: 'face-recognition',
  stages: {
    detector: {
      model: 'models/detector.onnx', outputs: ['scores', 'boxes'],
      input: { ...pixels, width: 32, height: 32, channels: 'rgb', mean: [0, 0, 0], std: [1, 1, 1] },
    },
    landmarks: { model: 'models/landmarks.onnx', outputs: ['output'], input: { ...pixels, width: 16, height: 16, channels: 'grey', mean: [0], std: [1] } },
    liveness: { model: 'models/liveness.onnx', outputs: ['output'], input: { ...pixels, width: 8, height: 8, channels: 'rgb', mean: [0, 0, 0], std: [1, 1, 1] } },
    embedder: {
      model: 'models/embedder.onnx', outputs: ['output'],
      input: { ...pixels, width: 112, height: 112, channels: 'rgb', mean: [0, 0, 0], std: [1, 1, 1] },
    },
  },
  settings,
};

/** The description with other settings; without settings for landmarks or liveness it has no such stage. */
export function describedWith(change: Partial<FaceSettings>): PipelineDescription {
  const changed = { ...settings, ...change };
  const stages = Object.entries(everyStage.stages).filter(([name]) => (name !== 'landmarks' && name !== 'liveness') || changed[name] !== null);
  return { ...everyStage, stages: Object.fromEntries(stages), settings: changed };
}

export const description: PipelineDescription = describedWith({});

/** Shares of the crop at which a frontal face has its 68 points; only those that alignment uses are set. */
function frontalPoints(): Float32Array {
  const points = new Float32Array(136).fill(0.5);
  for (let i = 36; i < 42; i++) points.set([0.34, 0.46], i * 2);
  for (let i = 42; i < 48; i++) points.set([0.66, 0.46], i * 2);
  points.set([0.5, 0.64], 60);
  points.set([0.37, 0.82], 96);
  points.set([0.63, 0.82], 108);
  return points;
}

/** Mean of each channel over the middle of the picture: an "embedding" that tells pictures of different colours apart. */
function colourEmbedding(pixels: Uint8Array): Float32Array {
  const sums = new Float32Array(4);
  for (let i = 0; i < pixels.length; i++) sums[i % 3] = (sums[i % 3] ?? 0) + (pixels[i] ?? 0);
  return sums;
}

/** A liveness model with two classes: brighter than half in the blue channel is a picture. */
function blueIsPicture(pixels: Uint8Array): Float32Array {
  const live = 1 - (pixels[2] ?? 0) / 255;
  return Float32Array.from([live, 1 - live]);
}

export interface FakeFace {
  /** x1, y1, x2, y2 as shares of the detector's input. */
  box: number[];
  score: number;
}

/** A pipeline of fake models; the detector "finds" what `faces` holds at the time. */
export function fakePipeline(options: { faces: FakeFace[]; gallery?: Gallery; change?: Partial<FaceSettings> }) {
  const detector = fakeSession(() => ({
    scores: floatTensor([1, options.faces.length, 2], options.faces.flatMap(({ score }) => [1 - score, score])),
    boxes: floatTensor([1, options.faces.length, 4], options.faces.flatMap(({ box }) => box)),
  }));
  const landmarks = fakeSession(() => ({ output: floatTensor([1, 136], frontalPoints()) }));
  const embedder = fakeSession((pixels) => ({ output: floatTensor([1, 4], colourEmbedding(pixels)) }));
  const liveness = fakeSession((pixels) => ({ output: floatTensor([1, 2], blueIsPicture(pixels)) }));
  const sessions: Record<string, Session> = { detector, landmarks, liveness, embedder };
  const blueprint = parsePipeline(describedWith(options.change ?? {}));
  const stages = Object.entries(blueprint.stages).flatMap(([name, contract]) => {
    const session = sessions[name];
    return session === undefined ? [] : [[name, new ModelStage(session, pixelsOf(contract))] as const];
  });
  const pipeline = blueprint.create({
    name: 'fake', version: '1.0.0', embeddingSpaceId: 'colours', pixels: referencePixels, gallery: options.gallery, stages: Object.fromEntries(stages),
  });
  return { pipeline, detector, landmarks, liveness, embedder };
}

/** A frame of one colour. */
export function frameOf(colour: readonly [number, number, number], { sequence = 0, capturedMs = 0, width = 64, height = 64 } = {}): Frame {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = colour[i % 3] ?? 0;
  return { width, height, data, sequence, capturedMs };
}
