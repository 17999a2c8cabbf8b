/** The operating points among which the governor chooses, from the best to the cheapest. Pure data. */

/** How much of the work is done. */
export interface OperatingPoint {
  /** Factor for the thresholds of the gates, at least 1: at 2, a cell must differ twice as much before the detector looks at it. */
  readonly gate: number;
  /** Share of the frames that are processed, evenly spread: 0.5 is every second one. */
  readonly pace: number;
}

export interface Rung extends OperatingPoint {
  /** Work for the processor, as a share of that of the first rung. This is an estimate, which the controller corrects by measurements. */
  readonly load: number;
  /**
   * What the rung costs in accuracy: the share of the objects in sight that are not found in a frame, above that of the first rung. A-047 of
   * agent/DECISIONS.md says how it was measured.
   */
  readonly cost: number;
}

/** How far an operator allows the governor to go. */
export interface LadderBounds {
  /** The highest factor for the gates. */
  maxGate: number;
  /** The smallest share of the frames. */
  minPace: number;
}

/** The rungs that lie within the bounds. The first, which changes nothing, always does. */
export function rungsWithin(ladder: readonly Rung[], { maxGate, minPace }: LadderBounds): readonly Rung[] {
  return ladder.filter(({ gate, pace }, i) => i === 0 || (gate <= maxGate && pace >= minPace));
}

/**
 * Keeps the points of which no other one is both cheaper for the processor and closer to the full result (the Pareto front), the heaviest first. A
 * ladder ordered by load alone would contain points that cost accuracy and save nothing.
 */
export function paretoLadder(points: readonly Rung[]): readonly Rung[] {
  const byLoad = [...points].sort((a, b) => b.load - a.load || a.cost - b.cost);
  return byLoad.filter((point) => !points.some((other) => other !== point && other.load <= point.load && other.cost <= point.cost
    && (other.load < point.load || other.cost < point.cost)));
}

/**
 * The ladder of a device. Measured: with wider gates, the demonstration's door had 4 % (factor 1.5) and 7 % (factor 2) fewer frames to run, and no
 * face was missed. Costs of the pace are those of people in the street (vtest.avi, YOLOX-nano: share of the boxes of a run on every frame which the
 * findings of the last processed frame do not cover by half); at the door they are a third of that. agent/DECISIONS.md has the figures.
 */
export const defaultLadder: readonly Rung[] = paretoLadder([
  { gate: 1, pace: 1, load: 1, cost: 0 },
  { gate: 1.5, pace: 1, load: 0.96, cost: 0.001 },
  { gate: 2, pace: 1, load: 0.93, cost: 0.002 },
  { gate: 2, pace: 0.9, load: 0.837, cost: 0.013 },
  { gate: 2, pace: 0.8, load: 0.744, cost: 0.022 },
  { gate: 2, pace: 0.65, load: 0.605, cost: 0.032 },
  { gate: 2, pace: 0.5, load: 0.465, cost: 0.039 },
  { gate: 2, pace: 0.45, load: 0.419, cost: 0.072 },
  { gate: 2, pace: 0.4, load: 0.372, cost: 0.101 },
  { gate: 2, pace: 0.35, load: 0.326, cost: 0.138 },
  { gate: 2, pace: 0.3, load: 0.279, cost: 0.176 },
  { gate: 2, pace: 0.25, load: 0.233, cost: 0.247 },
  { gate: 2, pace: 0.2, load: 0.186, cost: 0.32 },
  { gate: 2, pace: 0.15, load: 0.14, cost: 0.394 },
  { gate: 2, pace: 0.1, load: 0.093, cost: 0.509 },
  { gate: 2, pace: 0.05, load: 0.047, cost: 0.655 },
]);
