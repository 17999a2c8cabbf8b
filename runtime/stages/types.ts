import type { AnySample, AudioChunk, Image } from '../frame.js';
import type { Detection, Finding, Identity } from './finding.js';
import type { GateReport } from '../vision/gates/audit.js';
import type { CellMask } from '../vision/pixels.js';
import type { FindingRules } from '../vision/zones/settings.js';
import type { Stages } from './open-stages.js';

export type { Box, Classification, Detection, Finding, Identity, SoundEvent, TrackFinding } from './finding.js';

/**
 * How far a frame went, from the cheapest to the dearest: it stopped at the pixels (nothing moved), it stopped at the features (the
 * detector's first layers saw nothing new), the detector ran on parts of the picture, or on all of it. Sound stops where there is nothing to
 * hear (`silence`), and where its result would come too late (`late`).
 */
export const exitKinds = ['pixels', 'features', 'partial', 'full', 'silence', 'late'] as const;
export type ExitKind = (typeof exitKinds)[number];

/** Whether a frame with this exit has findings of its own; one that stopped says only that nothing changed. Silence says that nothing is heard. */
export const looked = (exit: ExitKind): boolean => exit === 'full' || exit === 'partial' || exit === 'silence';

/**
 * Wall time of one stage of one frame. Stage names are stable: decode, motion, letterbox, detect, decode_boxes, nms, landmarks, align, embed, match,
 * classify, topk, track. Of sound: chunk, buffer, levels, features, infer, smooth.
 */
export interface StageTime {
  stage: string;
  ms: number;
}

/** What is wrong with the signal of a microphone or a recording, for as long as it lasts. */
export const signalProblems = {
  E_SOUND_CLIPPED: 'the sound is clipped: more than 1 % of the samples are at full scale; lower the gain of the microphone',
  E_SOUND_OFFSET: 'the sound has a constant offset of more than a tenth of full scale; the microphone or its wiring is defective',
  E_SOUND_SILENT: 'all samples are exactly zero; the microphone is muted or not connected',
  E_SOUND_INVALID: 'samples are not numbers; they count as silence',
} as const;
export type SignalProblem = keyof typeof signalProblems;

/** One chunk of sound, for telemetry and the page. */
export interface SoundReport {
  /** Level without its offset, and the slow floor of the noise: decibels below full scale. */
  levelDb: number;
  floorDb: number;
  /** Of the classes with the highest smoothed scores, best first. */
  scores: { label: string; score: number }[];
  problems: SignalProblem[];
  /** Windows that were dropped so far because their results would have been late. */
  late: number;
  /** What smoothing adds to the age of a result: that of the oldest window in the average but the newest. */
  smoothingMs: number;
  /** Rows of features that the chunk completed, as 0..255 for pictures; null when the model makes its own. */
  spectrum: { bands: number; rows: Uint8Array } | null;
}

export interface PipelineResult {
  sequence: number;
  /** As in Frame. */
  capturedMs: number;
  findings: Finding[];
  exit: ExitKind;
  /** The cells that the last gate which looked at the frame called active, over the whole frame; null when no gate looked. */
  cells: CellMask | null;
  /** Whether this exit was drawn for a check: the frame stopped early, and runs in full in the background as well. */
  audit: boolean;
  /** Name of the variant whose networks the frame went through; absent: the pipeline's own. */
  variant?: string;
  /** Of sound: what its level and its signal are like. */
  sound?: SoundReport;
  stages: StageTime[];
  /** From the start of processing to the result. */
  totalMs: number;
}

export interface Pipeline {
  /** Package name and version. */
  readonly name: string;
  readonly version: string;
  /** Vectors of different spaces must never be compared. Null when the pipeline embeds nothing. */
  readonly embeddingSpaceId: string | null;
  /** Present: the pipeline listens, and wants chunks of `step` samples at `rate`. Absent: it wants frames. */
  readonly sound?: { rate: number; step: number; deadlineMs: number };
  /** @throws RuntimeError E_INPUT for a sample of the other medium */
  process(sample: AnySample): Promise<PipelineResult>;
  /** Embeddings (L2-normalized) of everything in a picture, largest first: what enrolment needs. Nothing when the pipeline embeds nothing. */
  embed(image: Image): Promise<{ detection: Detection; embedding: Float32Array }[]>;
  /** Lends the models, between two frames: for a self-test that needs no second copy of them. */
  withStages<T>(work: (stages: Stages) => Promise<T>): Promise<T>;
  /** Runs every stage that this picture gives something to see, whatever gates say: what calibration and golden vectors are recorded from. */
  rehearse(sample: Image | AudioChunk): Promise<void>;
  /** Changes which findings count, from the next frame on. Absent where findings have no place in a picture. */
  setRules?(rules: FindingRules): void;
  /**
   * Multiplies the thresholds of its gates, from the next frame on; 1 is as set. Above 1 the gates stop more frames, and what the audit shows of them bounds it.
   * Absent where there are none.
   */
  setGateFactor?(factor: number): void;
  /** Cheaper networks that it can change to, the dearest first; absent: it has none. */
  readonly variants?: readonly VariantInfo[];
  /** Name of the variant that frames run now; null: its own networks. */
  readonly variant?: string | null;
  /**
   * Changes to a variant, or with null to its own networks, between two frames. The networks are opened first, while frames go on with those
   * before. Tracks go on; what gates have learned and feature maps begin anew. Resolves when frames run it, or when a later call, or the end of the pipeline, has overtaken it.
   * @throws RuntimeError E_OPTION when there is no such variant, E_MODEL_* when it cannot be opened, E_INPUT when the pipeline is closed: nothing changes then
   */
  setVariant?(name: string | null): Promise<void>;
  /** What the audit of its gates has shown; undefined when they are not audited. */
  readonly gates?: GateReport | undefined;
  /** Memory of all sessions, bytes. */
  readonly memoryBytes: number;
  /** Of it, feature maps that detectors keep from the last frame for the next one, and could do without; 0 when they hold none. */
  readonly keptBytes?: number;
  /** Gives that memory back to the system; the next frame is computed in full. */
  dropKept?(): void;
  close(): Promise<void>;
}

/** A variant of a package, as its manifest states it. */
export interface VariantInfo {
  readonly name: string;
  /** Work of a frame that runs in full, as a share of that with the pipeline's own networks. */
  readonly load: number;
  /** Share of the objects that the pipeline's own networks find in a frame and these do not. */
  readonly cost: number;
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
  /** The `people` nearest people of that space (1 to 8), best first, each by the best of their samples. */
  nearest(embedding: Float32Array, embeddingSpaceId: string, people: number): Identity[];
  close(): void;
}
