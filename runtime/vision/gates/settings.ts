import { z } from 'zod';
import { positiveInteger, share } from '../../stages/contract.js';

/** The gate on the features of a detector; off unless it was calibrated (`sterna gate calibrate`). Field names carry units. */
export const featureGateSettings = z.object({
  enabled: z.boolean(),
  /** Layer of the detector after which its run stops, as `sterna inspect` lists it. */
  split: z.string().min(1).max(256),
  /** A cell is active when 1 - max(0, cosine with the background) is at least this. */
  threshold: share,
  /** The background takes over 2^-shift of the difference each frame. */
  learning_shift: z.number().int().min(1).max(7).default(4),
  /** A cell that has been active for more than so many frames in a row becomes background. */
  patience_frames: z.number().int().min(0).max(255).default(10),
  /** When more than this share of the cells are active, the whole frame becomes the background. */
  renewal_share: share.default(0.8),
  /** A frame runs in full at least this often whatever the gate says. */
  full_pass_every_ms: positiveInteger.default(10_000),
  /** A box that was kept stays, without an active cell in it, while it is found again at least this often. */
  track_ms: z.number().nonnegative().default(2000),
});

/** How the gates check themselves: a random share of the frames that stop runs in full in the background. */
export const auditSettings = z.object({
  /** Share of the frames that stop; 0 switches the audit off. */
  share: share.default(0.01),
  /** Share of the frames that stop in which a full run may find something new. When the audit shows more, the gates tighten, then switch off. */
  miss_limit: z.number().min(0.001).max(1).default(0.01),
});

export type FeatureGateSettings = z.output<typeof featureGateSettings>;
export type AuditSettings = z.output<typeof auditSettings>;

export const defaultAudit: AuditSettings = auditSettings.parse({});
