/** The operating points among which the governor chooses, from the best to the cheapest. Pure data. */

/** How much of the work is done. */
export interface OperatingPoint {
  /** Factor for the thresholds of the gates, at least 1: at 2, a cell must differ twice as much before the detector looks at it. */
  readonly gate: number;
  /** Share of the frames that are processed, evenly spread: 0.5 is every second one. */
  readonly pace: number;
  /** How far down the variants of the packages: 0 is their own networks. A package with fewer variants runs its last one. */
  readonly variant: number;
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
  /** The highest cost of a variant; 0: only those that miss nothing. */
  maxVariantCost: number;
}

/** A variant of a package: its work and what it no longer finds, beside the package's own networks. */
export interface Variant {
  readonly name: string;
  readonly load: number;
  readonly cost: number;
}

/** The variants of a package that are worth going down to, the dearest first: within the bounds, and no other is both cheaper and closer to the full result. */
export function usableVariants(variants: readonly Variant[], { maxVariantCost }: Pick<LadderBounds, 'maxVariantCost'>): readonly Variant[] {
  return paretoFront(variants.filter(({ load, cost }) => load < 1 && cost <= maxVariantCost));
}

/** The name of the variant that a package runs at that depth; null: its own networks. */
export function variantAt(usable: readonly Variant[], depth: number): string | null {
  return usable[Math.min(depth, usable.length) - 1]?.name ?? null;
}

/**
 * The ladder of a device within the bounds, whose pipelines have these usable variants. The first rung, which changes nothing, is always there. Frames are
 * left out only with the widest gates, and each depth of variants is combined with each of these points: the load is the product, and what is found must
 * survive both. How the work is divided among several pipelines is not known, so they count alike.
 */
export function ladderFor(pipelines: readonly (readonly Variant[])[], { maxGate, minPace }: Pick<LadderBounds, 'maxGate' | 'minPace'>): readonly Rung[] {
  const gates = gateSteps.filter(({ gate }) => gate <= maxGate);
  const widest = gates.at(-1) ?? gateSteps[0];
  const points = [
    ...gates.map((gate): Rung => ({ ...gate, pace: 1, variant: 0 })),
    ...paceSteps.filter(({ pace }) => pace >= minPace).map((step): Rung => ({ gate: widest.gate, pace: step.pace, variant: 0, load: step.pace * widest.load, cost: step.cost + widest.cost })),
  ];
  const depths = Math.max(0, ...pipelines.map((usable) => usable.length));
  const varied = Array.from({ length: depths }, (_, i) => i + 1).flatMap((depth) => {
    const load = meanOf(pipelines, (usable) => usable[Math.min(depth, usable.length) - 1]?.load ?? 1);
    const cost = meanOf(pipelines, (usable) => usable[Math.min(depth, usable.length) - 1]?.cost ?? 0);
    return points.map((point): Rung => ({ ...point, variant: depth, load: point.load * load, cost: 1 - (1 - point.cost) * (1 - cost) }));
  });
  return thinned(paretoFront([...points, ...varied]));
}

const meanOf = <T>(values: readonly T[], of: (value: T) => number): number => values.reduce((sum, value) => sum + of(value), 0) / Math.max(1, values.length);

/** A rung takes at most this share of the load of the one above: a step that saves less would only be followed by the next. */
const LEAST_STEP = 0.97;

/** Leaves out rungs that save hardly anything; the first and the last stay. */
function thinned(ladder: readonly Rung[]): readonly Rung[] {
  const kept: Rung[] = [];
  for (const [i, rung] of ladder.entries()) {
    const above = kept.at(-1);
    if (above === undefined || i === ladder.length - 1 || rung.load <= LEAST_STEP * above.load) kept.push(rung);
  }
  return kept;
}

/**
 * Keeps the points of which no other one is both cheaper for the processor and closer to the full result (the Pareto front), the heaviest first. A
 * ladder ordered by load alone would contain points that cost accuracy and save nothing.
 */
export function paretoFront<T extends { readonly load: number; readonly cost: number }>(points: readonly T[]): readonly T[] {
  const byLoad = [...points].sort((a, b) => b.load - a.load || a.cost - b.cost);
  return byLoad.filter((point) => !points.some((other) => other !== point && other.load <= point.load && other.cost <= point.cost
    && (other.load < point.load || other.cost < point.cost)));
}

/**
 * Measured: with wider gates, the demonstration's door had 4 % (factor 1.5) and 7 % (factor 2) fewer frames to run, and no face was missed.
 * agent/DECISIONS.md has the figures.
 */
const gateSteps = [{ gate: 1, load: 1, cost: 0 }, { gate: 1.5, load: 0.96, cost: 0.001 }, { gate: 2, load: 0.93, cost: 0.002 }] as const;

/**
 * Costs of the pace are those of people in the street (vtest.avi, YOLOX-nano: share of the boxes of a run on every frame which the findings of the last
 * processed frame do not cover by half); at the door they are a third of that.
 */
const paceSteps = [
  { pace: 0.9, cost: 0.011 }, { pace: 0.8, cost: 0.02 }, { pace: 0.65, cost: 0.03 }, { pace: 0.5, cost: 0.037 }, { pace: 0.45, cost: 0.07 },
  { pace: 0.4, cost: 0.099 }, { pace: 0.35, cost: 0.136 }, { pace: 0.3, cost: 0.174 }, { pace: 0.25, cost: 0.245 }, { pace: 0.2, cost: 0.318 },
  { pace: 0.15, cost: 0.392 }, { pace: 0.1, cost: 0.507 }, { pace: 0.05, cost: 0.653 },
] as const;

/** The ladder of a device whose packages have no variants. */
export const defaultLadder = ladderFor([], { maxGate: 2, minPace: 0.05 });
