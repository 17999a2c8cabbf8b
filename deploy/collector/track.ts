/** What the history of a pipeline continues: the same for every store. */
import type { PipelineWindow, TelemetryWindow } from '../../agent/contracts/index.js';
import { lostFrames, rollupOf, type Rollup } from './rollup.js';

/** Pipelines of a device that are remembered: names come from the device. */
export const TRACKS_PER_DEVICE = 64;

/** A roll-up of five minutes that the next window may add to. */
export interface Growing { slotMs: number; model: string; rollup: Rollup }

/** Of a pipeline: its counter of lost frames at the newest window, and its newest roll-up. */
export interface Track { bootId: string; seq: number; frames: number; growing: Growing | null }

/** The roll-up of a window after what is known of its pipeline; `newer`: the window tells more about lost frames than that. */
export function continued(window: TelemetryWindow, pipeline: PipelineWindow, known: Track | undefined): { newer: boolean; rollup: Rollup } {
  const newer = isNewer(window, known);
  return { newer, rollup: rollupOf(window, pipeline, newer ? lostSince(pipeline, window, known) : 0) };
}

/** What comes late is in the difference of a later one already. */
const isNewer = (window: TelemetryWindow, known: Track | undefined): boolean => known === undefined || (known.bootId === window.boot_id ? window.seq > known.seq : !window.backfill);

/** Frames lost since the newest window before. A pipeline that is new here may have lost them long ago: they count as none. */
function lostSince(pipeline: PipelineWindow, { boot_id: bootId }: TelemetryWindow, known: Track | undefined): number {
  if (known === undefined) return 0;
  return known.bootId === bootId ? Math.max(0, lostFrames(pipeline) - known.frames) : lostFrames(pipeline);
}
