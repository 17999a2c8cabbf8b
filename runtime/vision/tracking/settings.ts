import { z } from 'zod';
import { positiveInteger, share } from '../../stages/contract.js';

/** How boxes of successive frames become tracks. Field names carry units. */
export const trackingSettings = z.object({
  enabled: z.boolean(),
  /**
   * A box of a score from this share of the detector's threshold on may continue a track that was seen in the frame before; it starts none, and is no finding by itself.
   */
  low_score_share: share,
  /** Least intersection over union of a track's predicted box with a box of full score, and with one of low score. */
  min_iou: share,
  low_min_iou: share,
  /** A track is reported from this many sights in a row on. */
  confirm_sights: positiveInteger.max(100),
  /** A track ends when it was not seen for this time, in which the detector looked at its place. */
  lost_ms: z.number().nonnegative().max(600_000),
});

/** Y. Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", 2022 (arXiv 2110.06864), section 3, apart from times instead of frames. */
export const defaultTracking: TrackingSettings = { enabled: true, low_score_share: 0.5, min_iou: 0.2, low_min_iou: 0.5, confirm_sights: 2, lost_ms: 1500 };

/** The settings as a caller wants them; undefined: as the package says. */
export const tracked = (tracking: TrackingSettings, enabled: boolean | undefined): TrackingSettings => ({ ...tracking, enabled: enabled ?? tracking.enabled });

export type TrackingSettings = z.output<typeof trackingSettings>;
