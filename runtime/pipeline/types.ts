import type { Frame, Image } from '../frame.js';

/** One face (or object) found in a frame. */
export interface Detection {
  /** x, y, width, height in pixels of the frame; may reach beyond its borders. */
  box: readonly [number, number, number, number];
  /** 0..1 */
  score: number;
  label: string;
  /** Pixel coordinates, when the pipeline has a landmark stage. */
  landmarks?: readonly (readonly [number, number])[];
  /** The gallery's best match at or above the threshold; null when nobody matched; absent when not embedded. */
  identity?: Identity | null;
}

export interface Identity {
  personId: number;
  name: string;
  /** Cosine similarity, -1..1. */
  similarity: number;
}

/** How far a frame went: `none` ran everything, `motion` stopped because nothing moved. */
export type ExitKind = 'none' | 'motion';

/** Wall time of one stage of one frame. Stage names are stable: decode, motion, letterbox, detect, decode_boxes, nms, landmarks, align, embed, match. */
export interface StageTime {
  stage: string;
  ms: number;
}

export interface PipelineResult {
  sequence: number;
  /** As in Frame. */
  capturedMs: number;
  detections: Detection[];
  exit: ExitKind;
  stages: StageTime[];
  /** From the start of processing to the result. */
  totalMs: number;
}

export interface Pipeline {
  /** Package name and version. */
  readonly name: string;
  readonly version: string;
  /** Vectors of different spaces must never be compared. */
  readonly embeddingSpaceId: string | null;
  process(frame: Frame): Promise<PipelineResult>;
  /** Embeddings (L2-normalised) of all faces in a picture, largest first: what enrolment needs. */
  embed(image: Image): Promise<{ detection: Detection; embedding: Float32Array }[]>;
  /** Memory of all sessions, bytes. */
  readonly memoryBytes: number;
  close(): Promise<void>;
}

export interface Person {
  id: number;
  name: string;
  /** Number of enrolled embeddings. */
  samples: number;
  embeddingSpaceId: string;
  createdMs: number;
}

/** Enrolled people; the implementation keeps them in SQLite. */
export interface Gallery {
  enrol(name: string, embeddings: readonly Float32Array[], embeddingSpaceId: string): Person;
  list(): Person[];
  /** False when there was no such person. */
  remove(personId: number): boolean;
  /** Best cosine over everyone of that space, or null when nobody is enrolled in it. */
  match(embedding: Float32Array, embeddingSpaceId: string): Identity | null;
  close(): void;
}
