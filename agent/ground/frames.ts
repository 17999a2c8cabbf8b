/** What one frame was, for those who count it, report it, or show it. */
import type { Frame } from '../../runtime/frame.js';
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

/** What one frame was, for telemetry, events and the page. */
export interface ProcessedFrame {
  frame: Frame;
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
}
