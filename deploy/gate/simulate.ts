import { MotionGrid } from '../../kernels/binding/image.js';
import type { FeatureView } from '../../kernels/binding/feature-grid.js';
import { timeOf, type Frame } from '../../runtime/frame.js';
import type { Detection } from '../../runtime/stages/finding.js';
import { newAmong } from '../../runtime/vision/gates/overlap.js';
import { FeatureGate } from '../../runtime/vision/gates/feature-gate.js';
import type { FeatureGateSettings } from '../../runtime/vision/gates/settings.js';
import { PixelGate } from '../../runtime/vision/motion.js';
import type { MotionSettings } from '../../runtime/vision/settings.js';

type Placed = Pick<Detection, 'box' | 'label'>;

/** What a gate did to the footage: the frames that it stopped, and those of them in which a full run finds something new. */
export interface GateOutcome {
  frames: number;
  stopped: number;
  missed: number;
}

/** Counts for one gate what an audit of every frame would show. */
class Ledger {
  readonly outcome: GateOutcome = { frames: 0, stopped: 0, missed: 0 };
  #known: readonly Placed[] = [];

  add(open: boolean, found: readonly Placed[]): void {
    this.outcome.frames += 1;
    if (open) this.#known = found;
    else {
      this.outcome.stopped += 1;
      if (newAmong(found, this.#known).length > 0) this.outcome.missed += 1;
    }
  }
}

/** The pixel gate at one threshold, over footage of which a full run of every frame is known. */
export class PixelTrial {
  readonly #gate: PixelGate;
  readonly #ledger = new Ledger();
  /** Which frames it let through, in order. */
  readonly passed: boolean[] = [];

  constructor(readonly threshold: number, settings: MotionSettings) {
    this.#gate = new PixelGate({ ...settings, enabled: true, cell_threshold: threshold }, new MotionGrid());
  }

  get outcome(): GateOutcome {
    return this.#ledger.outcome;
  }

  add(frame: Frame, found: readonly Placed[]): void {
    const open = this.#gate.opensFor(frame, timeOf(frame));
    if (open && found.length > 0) this.#gate.sawFinding(timeOf(frame));
    this.passed.push(open);
    this.#ledger.add(open, found);
  }
}

/** The feature gate behind one layer at one threshold, over the frames that passed the pixel gate. */
export class FeatureTrial {
  readonly gate: FeatureGate;
  readonly #ledger = new Ledger();

  constructor(readonly settings: FeatureGateSettings) {
    this.gate = new FeatureGate(settings);
  }

  get outcome(): GateOutcome {
    return this.#ledger.outcome;
  }

  add(features: FeatureView, frame: Frame, found: readonly Placed[]): void {
    this.#ledger.add(this.gate.decide(features, timeOf(frame)).open, found);
  }
}

/** Share of the frames that a gate stopped in which it missed something. */
export const missShare = ({ stopped, missed }: GateOutcome): number => (stopped === 0 ? 0 : missed / stopped);
