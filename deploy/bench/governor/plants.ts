/**
 * Devices that warm up, for tests and the bench: the chip above its heat sink (seconds) and the heat sink above the air (minutes), each a first-order
 * plant; scenes that are busier or quieter for minutes; air that warms up and cools down; sensors with noise and steps. All of it from a seed.
 */
import { initialGovernor, stepGovernor, type GovernorStep } from '../../../agent/governor/controller.js';
import { ladderFor, usableVariants, type Rung } from '../../../agent/governor/ladder.js';

/** mulberry32. */
function random(seed: number): () => number {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Run {
  /** Highest temperature minus the limit, degrees. */
  excess: number;
  /** After the first hour. */
  stepsAnHour: number;
  /** Mean of the rungs' costs over time. */
  cost: number;
  /** Mean load over time. */
  load: number;
  steps: (GovernorStep & { seconds: number })[];
}

/**
 * The ladder of a device whose package has one to four variants, drawn from the seed: each takes 25 to 90 % of the work and no longer finds up to a fifth of
 * the objects. Some of them save nothing for what they cost.
 */
export function variedLadder(seed: number): readonly Rung[] {
  const r = random(~seed);
  const variants = Array.from({ length: 1 + Math.floor(4 * r()) }, (_, i) => ({ name: `v${i}`, load: 0.25 + 0.65 * r(), cost: 0.005 + 0.2 * r() }));
  return ladderFor([usableVariants(variants, { maxVariantCost: 0.2 })], { maxGate: 2, minPace: 0.05 });
}

const DT = 0.5;
const READ_S = 2;
/** Every device can keep its limit with this load: the last rung of halving, which is the highest of the last ones. */
const LEAST_LOAD = 0.0625;

/** The seed's device under the governor for so many hours. */
export function simulate(seed: number, ladder: readonly Rung[], hours: number): Run {
  const r = random(seed);
  const between = (a: number, b: number): number => a + (b - a) * r();
  const rise = between(20, 70); // at full load, degrees
  const idle = between(0.2, 0.5) * rise;
  const chipShare = between(0.04, 0.15);
  const air = between(5, 45);
  const drift = between(0, 6);
  const [chipTau, sinkTau] = [between(1, 6), between(60, 1200)];
  const [noise, quantum] = [between(0, 0.5), [1, 0.5, 0.001, 0.001][Math.floor(between(0, 4))] ?? 1];
  const [quietest, sceneS] = [between(0.5, 1), between(60, 1800)];
  const least = air + drift + idle + rise * LEAST_LOAD * 1.2;
  const limit = Math.max(between(65, 90), least + 4);
  // From a generator of their own: the device is the same whatever its ladder.
  const e = random(seed + 0x5bd1e995);
  const errors = ladder.map((_, i) => (i === 0 ? 1 : 0.8 + 0.4 * e()));
  let [chip, sink, busy, nextScene] = [0, idle * 0.6, 1, 0];
  let state = initialGovernor(0);
  const run: Run = { excess: -Infinity, stepsAnHour: 0, cost: 0, load: 0, steps: [] };
  const ticks = hours * 3600 / DT;
  for (let tick = 0; tick < ticks; tick += 1) {
    const seconds = tick * DT;
    if (seconds >= nextScene) [busy, nextScene] = [between(quietest, 1), seconds + sceneS * between(0.5, 1.5)];
    const rung = ladder[state.rung];
    const load = Math.min(1, (rung?.load ?? 1) * (errors[state.rung] ?? 1)) * busy;
    const heat = idle + rise * load;
    chip += (heat * chipShare - chip) * DT / chipTau;
    sink += (heat * (1 - chipShare) - sink) * DT / sinkTau;
    const celsius = air + drift * Math.sin(seconds / 3600 / 8 * 2 * Math.PI) + chip + sink;
    run.excess = Math.max(run.excess, celsius - limit);
    run.cost += (rung?.cost ?? 0) / ticks;
    run.load += load / ticks;
    if (tick % (READ_S / DT) !== 0) continue;
    const seen = Math.round((celsius + noise * (r() + r() + r() - 1.5)) / quantum) * quantum;
    const next = stepGovernor(state, { nowMs: seconds * 1000, celsius: seen, watts: null, batteryHours: null, late: null },
      { ladder, limits: { celsius: limit, watts: null, batteryHours: null, late: null } });
    state = next.state;
    if (next.step !== null) run.steps.push({ ...next.step, seconds });
  }
  run.stepsAnHour = run.steps.filter(({ seconds }) => seconds > 3600).length / Math.max(1, hours - 1);
  return run;
}
