import { z } from 'zod';
import { positiveInteger, share } from '../../stages/contract.js';

const milliseconds = z.number().min(0).max(3_600_000);

const soundClass = z.object({
  label: z.string().min(1).max(128),
  /** Outputs of the model that mean it. */
  members: z.array(z.number().int().min(0).max(65_535)).min(1).max(1024),
  on: share.optional(),
  off: share.optional(),
  min_ms: milliseconds.optional(),
});

export const soundSettings = z.object({
  /** `softmax`, `sigmoid`: the output holds logits; `none`: it holds probabilities. */
  activation: z.enum(['none', 'softmax', 'sigmoid']),
  /** Of each output of the model; those without a label are called "class N". */
  labels: z.array(z.string().max(128)).max(65_536),
  /** What is told. Empty: every output by its label. */
  classes: z.array(soundClass).max(1024),
  /** Of classes that state none of their own: a class begins at `on` and ends below `off`; it is told when it has lasted `min_ms`. */
  on: share,
  off: share,
  min_ms: milliseconds,
  /** Scores are averaged over so many windows. Each but the first adds a step to the latency. */
  smoothing_windows: positiveInteger.max(64),
  /** A gap of up to so long does not end an event. */
  release_ms: milliseconds,
  /** From the first sample of a chunk to the event. A window that would be later is dropped and counted. */
  deadline_ms: z.number().positive().max(600_000),
  gate: z.object({
    enabled: z.boolean(),
    margin_db: z.number().min(0).max(60),
    least_db: z.number().min(-120).max(0),
    rise_db_per_s: z.number().positive().max(60),
    hold_ms: milliseconds,
    forced_pass_ms: milliseconds,
    audit_share: share,
    miss_limit: z.number().min(0.001).max(1).default(0.01),
  }),
}).refine((settings) => settings.off <= settings.on, { message: 'Expected off up to on' });

export type SoundSettings = z.output<typeof soundSettings>;

export const defaultSoundSettings: SoundSettings = {
  activation: 'none', labels: [], classes: [], on: 0.5, off: 0.3, min_ms: 0, smoothing_windows: 2, release_ms: 300, deadline_ms: 250,
  gate: { enabled: true, margin_db: 6, least_db: -60, rise_db_per_s: 1, hold_ms: 1000, forced_pass_ms: 10_000, audit_share: 0.01, miss_limit: 0.01 },
};
