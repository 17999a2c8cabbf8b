/** What one frame was, for those who count it, report it, or show it. */
import type { AnySample } from '../../runtime/frame.js';
import type { ExitKind, PipelineResult } from '../../runtime/pipeline/types.js';
import type { FrameKind, WireFinding } from '../contracts/index.js';
import type { Slot } from './package.js';
import type { Model } from './runtime.js';

/** A package while it processes frames. */
export interface Running {
  model: Model;
  slot: Slot;
  /** Frames that it processed. */
  frames: number;
}

/** What one frame, or piece of sound, was: for telemetry, events and the page. */
export interface ProcessedFrame {
  frame: AnySample;
  result: PipelineResult;
  running: Running;
  /** Monotonic, when the result was there. */
  doneMs: number;
  /** Frames that the source dropped since the last processed one. */
  droppedBefore: number;
  /** Of those, frames lost between the last result of one pipeline and the first frame of the next. */
  droppedBySwap: number;
}

/** The result of a frame, for whoever draws it. */
export interface LiveFrame {
  pipeline: string;
  sequence: number;
  captured_ms: number;
  width: number;
  height: number;
  exit: ExitKind;
  /** Which cells of the frame a gate called active: cell i, row-major, is bit i & 7 of byte i >> 3 of `bits` (base64). Null when no gate looked. */
  cells: { width: number; height: number; bits: string } | null;
  /** Whether the frame stopped early and runs in full in the background, to measure what the gates miss. */
  audit: boolean;
  total_ms: number;
  latency_ms: number;
  findings: WireFinding[];
}

/** A piece of sound, for whoever draws it. */
export interface LiveSound {
  pipeline: string;
  sequence: number;
  captured_ms: number;
  exit: ExitKind;
  /** Of the chunk without its offset, and the slow floor of the noise: decibels below full scale. */
  level_db: number;
  floor_db: number;
  /** The classes with the highest smoothed scores, best first. */
  scores: { label: string; score: number }[];
  /** Codes of what is wrong with the signal. */
  problems: string[];
  /** Rows of features that this chunk completed, a byte for each band (base64); null when the model makes its own. */
  spectrum: { bands: number; rows: string } | null;
  /** What the budget was spent on, in order. */
  stages: { stage: string; ms: number }[];
  deadline_ms: number;
  /** From the first sample to the result, with what smoothing adds. */
  latency_ms: number;
  /** Windows that were dropped so far because they would have been late. */
  late: number;
  findings: WireFinding[];
}

/** What a pipeline shows live: `spectrum` is what tells sound from pictures. */
export type LiveSample = LiveFrame | LiveSound;

/** From the scheduled capture to the result; of sound, with the age that smoothing gives it. */
export function latencyOf({ frame, result, doneMs }: Pick<ProcessedFrame, 'frame' | 'result' | 'doneMs'>): number {
  return Math.max(0, doneMs - frame.capturedMs + (result.sound?.smoothingMs ?? 0));
}

/** A pipeline's first frames: caches, page faults and frequency are not what they will be. */
export const COLD_FRAMES = 5;

export function kindOf(processed: ProcessedFrame): FrameKind {
  if (processed.result.exit !== 'full') return processed.result.exit;
  return processed.running.frames <= COLD_FRAMES ? 'cold' : 'warm';
}

/** Where frames are measured. */
export interface FrameRecorder {
  /** @param intervalMs the source's frame interval, null when unknown */
  record(processed: ProcessedFrame, intervalMs: number | null): void;
  /** What follows from a frame after its result, such as publishing its events. */
  stage(stage: string, processed: ProcessedFrame, ms: number): void;
}
