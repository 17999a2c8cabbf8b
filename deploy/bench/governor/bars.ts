/** The governor against a thousand simulated devices: whether it keeps their limits, how often it moves, and what it costs. */
import { defaultLadder, type Rung } from '../../../agent/governor/ladder.js';
import type { Bar } from '../bars.js';
import { simulate, variedLadder, type Run } from './plants.js';

/** What "halve the frame rate" is: only every second frame, then every fourth, and so on; costs as in the default ladder. */
const halving: readonly Rung[] = [
  { gate: 1, pace: 1, variant: 0, load: 1, cost: 0 },
  { gate: 1, pace: 0.5, variant: 0, load: 0.5, cost: 0.037 },
  { gate: 1, pace: 0.25, variant: 0, load: 0.25, cost: 0.245 },
  { gate: 1, pace: 0.125, variant: 0, load: 0.125, cost: 0.446 },
  { gate: 1, pace: 0.0625, variant: 0, load: 0.0625, cost: 0.597 },
];

/** Rows over the seeds 1 to `plants`, each for so many simulated hours: without variants, and with packages whose variants are drawn from the seed. */
export function governorBars({ plants = 1000, hours = 6 }: { plants?: number; hours?: number } = {}): Bar[] {
  const seeds = Array.from({ length: plants }, (_, i) => i + 1);
  const halved = seeds.map((seed) => simulate(seed, halving, hours));
  const devices = `${plants} devices, ${hours} h each`;
  return [
    ...barsOf('governor', devices, seeds.map((seed) => simulate(seed, defaultLadder, hours)), halved),
    ...barsOf('governor.variants', `${devices}, packages with 1 to 4 variants`, seeds.map((seed) => simulate(seed, variedLadder(seed), hours)), halved),
  ];
}

function barsOf(id: string, devices: string, runs: readonly Run[], halved: readonly Run[]): Bar[] {
  const excess = Math.max(...runs.map((run) => run.excess));
  const steps = Math.max(...runs.map(({ stepsAnHour }) => stepsAnHour));
  const cheaper = 100 * (1 - mean(runs, ({ cost }) => cost) / mean(halved, ({ cost }) => cost));
  return [
    { id: `${id}.excess`, what: `highest temperature above the limit (${devices})`, value: excess, unit: 'K', bar: '<= 1', met: excess <= 1 },
    { id: `${id}.steps`, what: 'steps an hour after the first, of the device that moved most', value: steps, unit: '1/h', bar: '<= 4', met: steps <= 4 },
    { id: `${id}.cost`, what: `accuracy cost below that of halving the frame rate, at the same limits (mean load ${mean(runs, ({ load }) => load).toFixed(3)} against ${mean(halved, ({ load }) => load).toFixed(3)})`, value: cheaper, unit: '%', bar: '>= 30', met: cheaper >= 30 },
  ];
}

const mean = (runs: readonly Run[], value: (run: Run) => number): number => runs.reduce((sum, run) => sum + value(run), 0) / runs.length;
