/** What a kind of vision pipeline does with a picture. */
import type { Frame, Image } from '../frame.js';
import type { Finding } from '../stages/finding.js';
import type { Stages } from '../stages/open-stages.js';
import type { StageClock } from '../stages/stage-clock.js';
import type { Detection, ExitKind } from '../stages/types.js';
import type { AuditLook } from '../vision/gates/gated-detector.js';
import type { CellMask } from '../vision/pixels.js';
import type { Anchor, FindingRules } from '../vision/zones/settings.js';

/** What a kind made of a frame that passed the pixel gate. */
export interface Worked {
  findings: Finding[];
  /** How far the frame went. */
  exit: Exclude<ExitKind, 'pixels' | 'silence' | 'late'>;
  /** The cells by which that was decided; when absent, those of the pixel gate count. */
  cells?: CellMask;
}

/** Everything was computed. */
export const inFull = (findings: Finding[]): Worked => ({ findings, exit: 'full' });

/** What is wanted of a frame. */
export interface Wanted {
  /** Which findings count. */
  rules: FindingRules;
  /** For the thresholds of the kind's own gates; 0: they are off. */
  factor: number;
}

/** What a kind of vision pipeline does with a picture; the rest (gate, turns, times, zones) is the same for all. */
export interface VisionWork {
  /** A frame that passed the pixel gate. What the rules leave out is left out afterwards in any case; a kind that knows them saves the work on it. */
  process(frame: Frame, stages: Stages, clock: StageClock, wanted: Wanted): Promise<Worked>;
  /** What a frame that stopped shows without any gate, on stages that no frame waits for; the picture is read before the first wait. */
  audit?(image: Image, stages: Stages): Promise<AuditLook>;
  /** A frame that stopped at the pixel gate: what is still there, since nothing moved. Nothing when the kind follows nothing. */
  rest?(frame: Frame): Finding[];
  /** Which point of a box must be inside of a zone that states none. Default: `foot`. */
  anchor?: Anchor;
  /** The next frame is the first after others that this work did not see: what its gates have learned is dropped. */
  begin?(): void;
  rehearse(image: Image, stages: Stages): Promise<void>;
  embed?(image: Image, stages: Stages): Promise<{ detection: Detection; embedding: Float32Array }[]>;
}
