import { z } from 'zod';
import { positiveInteger } from '../../stages/contract.js';
import { defaultNovelty } from '../../novelty/novelty-detector.js';
import { fitSetting, motionSettings } from '../../vision/settings.js';

/** Tells frames that resemble nothing seen before (runtime/novelty). */
const noveltySettings = z.object({
  neurons: positiveInteger.min(100).max(16_384).default(defaultNovelty.neurons),
  /** Frames that are learned before any counts as novel. */
  learn_first: positiveInteger.min(100).max(1_000_000).default(defaultNovelty.learnFirst),
  /** Standard deviations beyond the usual at which a frame counts as novel. */
  deviations: z.number().positive().max(100).default(defaultNovelty.deviations),
});

export const embeddingSettings = z.object({
  motion: motionSettings,
  fit: fitSetting,
  dimensions: positiveInteger.max(65_536),
  /** Cosine similarity at or above which a frame counts as an enrolled one. */
  match_threshold: z.number().min(-1).max(1),
  novelty: noveltySettings.optional(),
});

export type EmbeddingSettings = z.output<typeof embeddingSettings>;
