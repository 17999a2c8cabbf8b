import { z } from 'zod';
import { positiveInteger } from '../../stages/contract.js';
import { detectorGateSettings, detectorSettings } from '../../vision/settings.js';
import { defaultTracking, trackingSettings } from '../../vision/tracking/settings.js';
import { livenessSettings } from './liveness.js';
import { defaultRecognition, recognitionSettings } from './recognition.js';

/** A square crop around the face box, and the 68 points (iBUG order) that come out as shares of it. */
const landmarkSettings = z.object({
  points: z.literal(68),
  /** Side of the crop as a multiple of the box's shorter side, and the shift of its centre as a share of the box. */
  crop: z.object({ scale: z.number().positive().max(4), shift_x: z.number().min(-1).max(1), shift_y: z.number().min(-1).max(1) }),
});

const embedderSettings = z.object({
  /** The five-point template that faces are warped to. */
  alignment: z.literal('arcface-112'),
  /** Faces smaller than this (longer side of the box, pixels of the frame) are reported and not embedded. */
  min_face_px: z.number().nonnegative(),
  dimensions: positiveInteger.max(4096),
});

export const faceSettings = z.object({
  ...detectorGateSettings,
  detector: detectorSettings,
  /** Null when the detector's decoder gives the five points (`yunet`). */
  landmarks: landmarkSettings.nullable(),
  embedder: embedderSettings,
  /** Null: pictures of people are taken for people. */
  liveness: livenessSettings.nullable().default(null),
  /** Cosine similarity at or above which a face counts as an enrolled person. */
  match_threshold: z.number().min(-1).max(1),
  /** Faces are followed unless this says otherwise; photos never are. */
  tracking: trackingSettings.default(defaultTracking),
  recognition: recognitionSettings.default(defaultRecognition),
});

export type FaceSettings = z.output<typeof faceSettings>;
