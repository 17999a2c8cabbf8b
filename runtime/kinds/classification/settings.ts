import { z } from 'zod';
import { positiveInteger, share } from '../../stages/contract.js';
import { fitSetting, motionSettings } from '../../vision/settings.js';

export const classificationSettings = z.object({
  motion: motionSettings,
  fit: fitSetting,
  /** `softmax`: the output holds logits; `none`: it holds probabilities. */
  activation: z.enum(['softmax', 'none']),
  /** Of each class in the order of the output; those without a label are called "class N". */
  labels: z.array(z.string().max(128)).max(65_536),
  /** At most so many classes of a frame are reported, the best first. */
  top: positiveInteger.max(100),
  score_threshold: share,
});

export type ClassificationSettings = z.output<typeof classificationSettings>;
