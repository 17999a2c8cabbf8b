/** Settings that kinds of vision pipelines share. Field names carry units. */
import { z } from 'zod';
import { defaultIncremental, incrementalSettings } from '../incremental/settings.js';
import { positiveInteger, share } from '../stages/contract.js';
import { auditSettings, defaultAudit, featureGateSettings, type AuditSettings, type FeatureGateSettings } from './gates/settings.js';
import { boxDecoder } from './decoders/index.js';
import { fits } from './pixels.js';

/** How a picture of another aspect ratio is fitted: `stretch` distorts it, `letterbox` pads it, `crop` takes the middle. */
export const fitSetting = z.enum(fits);

/** How a frame is fitted to a detector, and which of its boxes count. */
export const detectorBase = z.object({
  /** How a frame of another aspect ratio is fitted: `stretch` distorts it, `letterbox` pads it, `crop` takes the middle. */
  fit: fitSetting,
  /** Grey level of the padding. */
  pad: z.number().int().min(0).max(255).default(0),
  /** The family of the model's outputs (runtime/vision/decoders). */
  decoder: boxDecoder,
  score_threshold: share,
  max_detections: positiveInteger.max(1000),
});

/** A detector of one class. */
export const detectorSettings = detectorBase.extend({
  label: z.string().min(1).max(64),
  iou_threshold: share,
});

/** What becomes of boxes that overlap. `across_classes`: also when their classes differ. */
export const suppressionSettings = z.discriminatedUnion('method', [
  /** A box that overlaps a better one by more than `iou_threshold` is dropped. */
  z.object({ method: z.literal('hard'), iou_threshold: share, across_classes: z.boolean().default(false) }),
  /** It loses score instead: times exp(-overlap^2 / sigma). */
  z.object({ method: z.literal('soft'), sigma: z.number().positive().max(10), across_classes: z.boolean().default(false) }),
  /** The model gives every object once. */
  z.object({ method: z.literal('none') }),
]);

/** The pixel gate before the detector; cells are 8 x 8 pixels of the frame. */
export const motionSettings = z.object({
  enabled: z.boolean(),
  /** Change of a cell's mean grey level that counts as motion, 0..255. */
  cell_threshold: z.number().positive().max(255),
  /** Number of changed cells that open the gate. */
  min_cells: positiveInteger,
  /** The gate stays open this long after the last motion or the last finding. */
  hold_ms: z.number().nonnegative(),
  /** While it is open and nothing has changed since the last frame that ran, a frame runs at least this often; 0: every frame. */
  repeat_ms: z.number().nonnegative().default(200),
  /** A frame runs in full at least this often whatever the gate says. */
  full_pass_every_ms: positiveInteger,
});

export const defaultMotion: MotionSettings = { enabled: true, cell_threshold: 10, min_cells: 4, hold_ms: 2000, repeat_ms: 200, full_pass_every_ms: 10_000 };

/** The motion gate as a caller wants it; undefined: as the package says. */
export const gated = (motion: MotionSettings, enabled: boolean | undefined): MotionSettings => ({ ...motion, enabled: enabled ?? motion.enabled });

/** The feature gate as a caller wants it; undefined: as the package says. Without the pixel gate there is none either. */
export function featuresGated(features: FeatureGateSettings | null, { motionGate, featureGate, featureThreshold }: { motionGate?: boolean; featureGate?: boolean; featureThreshold?: number }): FeatureGateSettings | null {
  if (features === null) return null;
  return { ...features, enabled: motionGate !== false && (featureGate ?? features.enabled), threshold: featureThreshold ?? features.threshold };
}

/** What a detector's gates want of its stage. */
export function detectorGates({ motion, features, audit }: { motion: MotionSettings; features: FeatureGateSettings | null; audit: AuditSettings }): { splits: Record<string, string>; audited: string[] } {
  const split = features?.enabled === true ? { detector: features.split } : {};
  return { splits: split, audited: audit.share > 0 && (motion.enabled || features?.enabled === true) ? ['detector'] : [] };
}

/** How far the frames of a kind with a detector go: they stop at the pixels or at the features, or a part or all of the picture is computed. */
export const detectorGateSettings = {
  motion: motionSettings,
  /** Null: no gate on features. */
  features: featureGateSettings.nullable().default(null),
  incremental: incrementalSettings.default(defaultIncremental),
  audit: auditSettings.default(defaultAudit),
};

export type DetectorBase = z.output<typeof detectorBase>;
export type SuppressionSettings = z.output<typeof suppressionSettings>;
export type MotionSettings = z.output<typeof motionSettings>;
