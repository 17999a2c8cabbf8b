import { z } from 'zod';
import { positiveInteger, share } from '../stages/contract.js';
import type { ChooserSettings } from './chooser.js';
import type { IncrementalOptions } from './options.js';

/** How a detector runs on parts of the picture; cells are 8 x 8 pixels of what the model is fed. Field names carry units. */
export const incrementalSettings = z.object({
  enabled: z.boolean(),
  /** Change of a cell's mean grey level, from what it was last computed from, that has it computed anew, 0..255. */
  cell_threshold: z.number().positive().max(255).default(6),
  /** Cells around a changed one that are computed too. */
  dilation_cells: z.number().int().min(0).max(16).default(2),
  /** Cells of coarse feature maps around active ones that are computed too. */
  context_cells: z.number().int().min(0).max(16).default(1),
  /** Everything is computed every so many frames. */
  full_every_frames: positiveInteger.default(25),
  /** Everything is computed when more than this share of the cells would be. */
  full_share: share.default(0.6),
});

export type IncrementalSettings = z.output<typeof incrementalSettings>;

/** Off by default: the result depends on the frames before. */
export const defaultIncremental: IncrementalSettings = incrementalSettings.parse({ enabled: false });

/** As a caller wants it; undefined: as the package says, but in full where the caller wants no gates. */
export const incrementally = (settings: IncrementalSettings, { incremental, motionGate }: { incremental?: boolean; motionGate?: boolean }): IncrementalSettings =>
  ({ ...settings, enabled: incremental ?? (motionGate !== false && settings.enabled) });

/** What a stage that computes parts of its picture needs. */
export interface StageIncrement {
  session: IncrementalOptions;
  chooser: ChooserSettings;
}

/** The stages of a detector that run in part. */
export function incrementOf(stage: string, { enabled, cell_threshold, dilation_cells, context_cells, full_every_frames, full_share }: IncrementalSettings): Record<string, StageIncrement> {
  if (!enabled) return {};
  return { [stage]: { session: { context: context_cells }, chooser: { threshold: cell_threshold, dilation: dilation_cells, fullEvery: full_every_frames, fullShare: full_share } } };
}
