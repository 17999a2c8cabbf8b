/** What a recommendation says, as `recommend.json` has it. */
import type { Target } from '../../../runtime/quantize/formats/targets.js';
import type { Drop, Measured } from './figures.js';
import type { Bounds, Miss } from './front.js';
import type { Figure, StepName } from './methods.js';
import type { Scenario } from './scenarios.js';
import type { Outcome } from './schedule.js';

export interface TriedChain extends Measured {
  /** The original has no steps. */
  readonly steps: readonly StepName[];
  readonly reason: string;
  readonly source: string;
  readonly on_front: boolean;
  readonly misses: readonly Miss[];
}

export interface LeftChain {
  readonly id: string;
  readonly state: Exclude<Outcome['state'], 'tried'>;
  readonly why: string;
  readonly reason: string;
  readonly source: string;
}

export interface Recommendation {
  scenario: Scenario;
  target: Target;
  /** What `cost` is measured in. */
  unit: string;
  bounds: Bounds;
  /** Whether a model fits all bounds. */
  passed: boolean;
  /** The chain that is recommended, or null. `original`: the model as it is. */
  recommended: string | null;
  /** What comes nearest when nothing fits. */
  nearest: string | null;
  tried: TriedChain[];
  left: LeftChain[];
  /** Drop of the recommended model on samples that nothing was chosen by; null without a recommendation. */
  confirmed: Drop | null;
  /** What a drop is. */
  judged_by: 'boxes' | 'cosine';
  used_samples: number;
  judged_samples: number;
  confirming_samples: number;
  energy: string;
  /** How many times as long as its CPU time a run of the original takes: above 1 when others use the machine. Null where instructions are counted. */
  busy: number | null;
  /** What was measured of the steps of the recommended chain before, and where that is written down. */
  measured: (Figure & { step: StepName })[];
  budget_seconds: number;
  spent_seconds: number;
  /** Outcomes that an earlier run in the same folder had. */
  resumed: number;
  model: string | null;
  lab: string | null;
  plot: string;
}
