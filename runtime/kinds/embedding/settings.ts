import { z } from 'zod';
import { positiveInteger } from '../../stages/contract.js';
import { fitSetting, motionSettings } from '../../vision/settings.js';

export const embeddingSettings = z.object({
  motion: motionSettings,
  fit: fitSetting,
  dimensions: positiveInteger.max(65_536),
  /** Cosine similarity at or above which a frame counts as an enrolled one. */
  match_threshold: z.number().min(-1).max(1),
});

export type EmbeddingSettings = z.output<typeof embeddingSettings>;
