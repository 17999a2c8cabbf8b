import { z } from 'zod';
import { positiveInteger, share } from '../stages/contract.js';

/** Settings that kinds of vision pipelines share. Field names carry units. */

/** `boxes`: decoded corners, normalized to the input, with class scores. `yunet`: raw heads of three strides. */
export const boxDecoder = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('boxes'),
    /** Output [1, N, classes], 0..1; `class` is the column of the wanted class. */
    scores: z.string(),
    class: z.number().int().nonnegative(),
    /** Output [1, N, 4]: x1, y1, x2, y2 as shares of the input's width and height. */
    boxes: z.string(),
  }),
  z.object({ type: z.literal('yunet'), strides: z.array(positiveInteger).min(1).max(5) }),
]);

export const detectorSettings = z.object({
  /** How a frame of another aspect ratio is fitted: `stretch` distorts it, `letterbox` pads it. */
  fit: z.enum(['stretch', 'letterbox']),
  decoder: boxDecoder,
  label: z.string().min(1).max(64),
  score_threshold: share,
  iou_threshold: share,
  max_detections: positiveInteger.max(1000),
});

/** The pixel gate before the detector; cells are 8 x 8 pixels of the frame. */
export const motionSettings = z.object({
  enabled: z.boolean(),
  /** Change of a cell's mean grey level that counts as motion, 0..255. */
  cell_threshold: z.number().positive().max(255),
  /** Number of changed cells that open the gate. */
  min_cells: positiveInteger,
  /** The gate stays open this long after the last motion or the last finding. */
  hold_ms: z.number().nonnegative(),
  /** A frame runs in full at least this often whatever the gate says. */
  full_pass_every_ms: positiveInteger,
});

export const defaultMotion: MotionSettings = { enabled: true, cell_threshold: 10, min_cells: 4, hold_ms: 2000, full_pass_every_ms: 10_000 };

export type BoxDecoder = z.output<typeof boxDecoder>;
export type DetectorSettings = z.output<typeof detectorSettings>;
export type MotionSettings = z.output<typeof motionSettings>;
