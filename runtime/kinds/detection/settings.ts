import { z } from 'zod';
import { detectorBase, detectorGateSettings, suppressionSettings } from '../../vision/settings.js';
import { defaultTracking, trackingSettings } from '../../vision/tracking/settings.js';

export const detectionSettings = z.object({
  ...detectorGateSettings,
  detector: detectorBase.extend({ suppression: suppressionSettings }),
  /** Off by default: many sources are photos. */
  tracking: trackingSettings.default({ ...defaultTracking, enabled: false }),
  /** Of each class, in the order of the decoder's columns; those without a label are called "class N". */
  labels: z.array(z.string().min(1).max(128)).max(65_536),
});

export type DetectionSettings = z.output<typeof detectionSettings>;
