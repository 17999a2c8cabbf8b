/** What the student hears: 2.4 seconds, as wide as one second of YAMNet's features. */
import { featureDefinition, type FeatureDefinition } from '../../../runtime/sound/definition.js';
import { patch, patchScale } from '../student.js';

/**
 * 64 bands of 125..7500 Hz, frames of 40 ms every 25 ms. More than twice the time of the usual 10 ms in the same number of rows, so that a hi-lo is heard
 * to come back at the cost of one second; the longer frame has narrower lines, which stand out of noise. A decision is every fourth row.
 */
export const sirenFeatures: FeatureDefinition = featureDefinition.parse({
  after: 'sterna', rate: 16_000, frame: 640, hop: 400, points: 1024, window: 'hann', spectrum: 'magnitude',
  mel: { bands: patch.bands, low_hz: 125, high_hz: 7500, scale: 'htk', triangles: 'mel', norm: 'none' }, compression: { type: 'log', floor: 0, offset: 0.001 },
});

/** Scaled as the student is fed; in the manifest of its package. */
export const scaledFeatures: FeatureDefinition = { ...sirenFeatures, normalize: { mean: [patchScale.mean], std: [patchScale.std] } };

/** Samples that a patch covers: 2.42 s. */
export const windowSamples = (patch.rows - 1) * sirenFeatures.hop + sirenFeatures.frame;
