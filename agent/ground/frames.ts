/** What is known of one processed frame, for those who count it, report it, or show it. */
import type { AnySample } from '../../runtime/frame.js';
import type { ExitKind, PipelineResult } from '../../runtime/pipeline/types.js';
import type { FrameKind, WireFinding } from '../contracts/index.js';
import type { Slot } from './package.js';
import type { Model } from './runtime.js';

/** A package while it processes frames. */
export interface Running {
  model: Model;
  slot: Slot;
  /** Number of frames that it has processed. */
  frames: number;
}

/** What happened to one frame, or one piece of sound, for telemetry, events and the page. */
export interface ProcessedFrame {
  frame: AnySample;
  result: PipelineResult;
  running: Running;
  /** When the result was there. Monotonic, milliseconds. */
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
  /**
   * Which cells of the frame a gate called active. In `bits` (base64), cell i in row-major order is bit i & 7 of byte i >> 3. Null when no gate
   * looked at the frame.
   */
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
  /** Level of the chunk without its constant offset, and the slowly rising floor of the noise. Decibels relative to full scale. */
  level_db: number;
  floor_db: number;
  /** The classes with the highest smoothed scores, best first. */
  scores: { label: string; score: number }[];
  /** Codes for what is wrong with the signal. */
  problems: string[];
  /** The rows of features that this chunk completed, with one byte for each band (base64); null when the model computes its features itself. */
  spectrum: { bands: number; rows: string } | null;
  /** The stages on which the time was spent, in order. `publish` is the last one where the piece made events. */
  stages: { stage: string; ms: number }[];
  deadline_ms: number;
  /** Time from the first sample to the result, including the delay of smoothing. */
  latency_ms: number;
  /** Number of windows so far that were dropped because their results would have been late. */
  late: number;
  findings: WireFinding[];
}

/** What a pipeline shows live. Only sound has the field `spectrum`, so it tells the two apart. */
export type LiveSample = LiveFrame | LiveSound;

/** Time from the scheduled capture to the result, milliseconds. For sound it includes the age that smoothing adds to the result. */
export function latencyOf({ frame, result, doneMs }: Pick<ProcessedFrame, 'frame' | 'result' | 'doneMs'>): number {
  return Math.max(0, doneMs - frame.capturedMs + (result.sound?.smoothingMs ?? 0));
}

/** So many first frames of a pipeline count as cold, because caches, page faults and the processor's frequency have not settled yet. */
export const COLD_FRAMES = 5;

export function kindOf(processed: ProcessedFrame): FrameKind {
  if (processed.result.exit !== 'full') return processed.result.exit;
  return processed.running.frames <= COLD_FRAMES ? 'cold' : 'warm';
}

/** The part that collects measurements of frames. */
export interface FrameRecorder {
  /** @param intervalMs the source's frame interval, null when unknown */
  record(processed: ProcessedFrame, intervalMs: number | null): void;
  /** Notes the time of work that follows a frame's result, such as publishing its events. */
  stage(stage: string, processed: ProcessedFrame, ms: number): void;
}
