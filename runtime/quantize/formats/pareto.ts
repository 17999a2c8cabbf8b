import type { Format } from './grids.js';

/** One way to compute a layer. */
export interface Choice {
  format: Format;
  /** Time, or whatever else is to become small; of one unit throughout. */
  cost: number;
  /** What the outputs lose when this layer alone has the format. */
  drop: number;
}

export interface LayerChoices {
  /** Output of the layer. */
  layer: string;
  choices: readonly [Choice, ...Choice[]];
}

/** A model whose layers have the best formats for its cost, as far as losses of single layers add up. */
export interface ParetoPoint {
  cost: number;
  drop: number;
  /** By output of the layer. */
  formats: ReadonlyMap<string, Format>;
}

/**
 * From the first choices of all layers to cheaper ones, one layer a point: each time the move that saves most for what it loses. Noise of
 * layers that do not know of each other adds up, and so does what it takes from a cosine near one.
 */
export function paretoCurve(layers: readonly LayerChoices[]): ParetoPoint[] {
  const current = new Map(layers.map(({ layer, choices }) => [layer, choices[0]]));
  const sum = (field: 'cost' | 'drop'): number => [...current.values()].reduce((total, choice) => total + choice[field], 0);
  const point = (): ParetoPoint => ({ cost: sum('cost'), drop: sum('drop'), formats: new Map([...current].map(([layer, { format }]) => [layer, format])) });
  const curve = [point()];
  for (;;) {
    let best: { layer: string; choice: Choice; gain: number } | undefined;
    for (const { layer, choices } of layers) {
      const now = current.get(layer) ?? choices[0];
      for (const choice of choices) {
        const saved = now.cost - choice.cost;
        const lost = Math.max(choice.drop - now.drop, 1e-12);
        if (saved > 0 && (best === undefined || saved / lost > best.gain)) best = { layer, choice, gain: saved / lost };
      }
    }
    if (best === undefined) return curve;
    current.set(best.layer, best.choice);
    curve.push(point());
  }
}

/** The cheapest point that loses no more; the first one loses nothing. */
export function cheapestWithin(curve: readonly ParetoPoint[], maxDrop: number): ParetoPoint | undefined {
  return curve.filter(({ drop }, i) => i === 0 || drop <= maxDrop).reduce<ParetoPoint | undefined>((best, point) => (best === undefined || point.cost < best.cost ? point : best), undefined);
}
