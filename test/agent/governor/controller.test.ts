import { describe, expect, it } from 'vitest';
import { initialGovernor, stepGovernor, type GovernorLimits, type GovernorState, type Reading } from '../../../agent/governor/controller.js';
import { defaultLadder, ladderFor, paretoFront, usableVariants, variantAt } from '../../../agent/governor/ladder.js';
import { simulate, variedLadder } from '../../../deploy/bench/governor/plants.js';

const none: GovernorLimits = { celsius: null, watts: null, batteryHours: null, late: null };
const quiet: Omit<Reading, 'nowMs'> = { celsius: null, watts: null, batteryHours: null, late: null };

/** Feeds readings, one every 2 s. @returns the moves */
function feed(readings: readonly Partial<Reading>[], limits: Partial<GovernorLimits>, from?: GovernorState) {
  let state = from ?? initialGovernor(0);
  const startMs = state.sinceMs;
  const steps = readings.flatMap((reading, i) => {
    const next = stepGovernor(state, { ...quiet, nowMs: startMs + 2000 * (i + 1), ...reading }, { ladder: defaultLadder, limits: { ...none, ...limits } });
    state = next.state;
    return next.step === null ? [] : [next.step];
  });
  return { state, steps };
}

const times = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i));

describe('the governor', () => {
  it('keeps the limit of every simulated device, and seldom moves', () => {
    for (let seed = 2001; seed <= 2060; seed++) {
      const { excess, stepsAnHour } = simulate(seed, defaultLadder, 3);
      expect(excess, `seed ${seed}`).toBeLessThanOrEqual(1);
      expect(stepsAnHour, `seed ${seed}`).toBeLessThanOrEqual(4);
    }
  });

  it('seldom moves on the devices that used to move most', () => {
    for (const seed of [154, 539, 751, 983]) expect(simulate(seed, defaultLadder, 6).stepsAnHour, `seed ${seed}`).toBeLessThanOrEqual(4);
  });

  it('does so with variants in the ladder', () => {
    for (let seed = 3001; seed <= 3060; seed++) {
      const { excess, stepsAnHour } = simulate(seed, variedLadder(seed), 3);
      expect(excess, `seed ${seed}`).toBeLessThanOrEqual(1);
      expect(stepsAnHour, `seed ${seed}`).toBeLessThanOrEqual(4);
    }
  });

  it('goes down before the limit is reached', () => {
    const { steps } = feed(times(20, (i) => ({ celsius: 70 + 0.1 * i * 2 })), { celsius: 75 });
    expect(steps[0]).toEqual({ from: 0, to: 1, reason: 'temperature' });
  });

  it('halves the load at once where the limit is exceeded', () => {
    const { steps } = feed(times(4, () => ({ celsius: 76 })), { celsius: 75 });
    const [first] = steps;
    expect(first?.reason).toBe('temperature');
    expect(defaultLadder[first?.to ?? 0]?.load).toBeLessThanOrEqual(0.5);
  });

  it('does nothing far from the limit, however steep it gets warm', () => {
    expect(feed(times(20, (i) => ({ celsius: 20 + i })), { celsius: 75 }).steps).toEqual([]);
  });

  it('goes down as far as the power asks for', () => {
    const { steps } = feed(times(6, () => ({ watts: 10 })), { watts: 6 });
    expect(steps).toHaveLength(1);
    expect(defaultLadder[steps[0]?.to ?? 0]?.load).toBeLessThanOrEqual(0.6);
  });

  it.each([
    ['a battery that will not last', { batteryHours: 3 }, { batteryHours: 8 }, 'battery'],
    ['late frames', { late: 0.2 }, { late: 0.01 }, 'deadline'],
  ] as const)('goes down for %s', (_, reading, limits, reason) => {
    expect(feed(times(40, () => reading), limits).steps[0]).toEqual({ from: 0, to: 1, reason });
  });

  it('comes up again after five minutes in the cool, and not before', () => {
    const hot = feed(times(2, () => ({ celsius: 76 })), { celsius: 75 });
    expect(hot.state.rung).toBeGreaterThan(0);
    const cool = feed(times(200, () => ({ celsius: 40 })), { celsius: 75 }, hot.state);
    expect(cool.steps.at(-1)).toMatchObject({ to: 0, reason: 'recovered' });
    expect(feed(times(140, () => ({ celsius: 40 })), { celsius: 75 }, hot.state).steps).toEqual([]);
  });

  it('lets a rung that proved too high rest twice as long', () => {
    const tried: GovernorState = { ...initialGovernor(0), rung: 3, raisedFrom: 4 };
    const { state } = feed(times(4, () => ({ celsius: 76 })), { celsius: 75 }, tried);
    expect(state.rests).toEqual({ 3: 600_000 });
  });

  it('goes back in one move to where a trial began', () => {
    const tried: GovernorState = { ...initialGovernor(0), rung: 1, raisedFrom: 12 };
    expect(feed(times(4, () => ({ celsius: 76 })), { celsius: 75 }, tried).steps[0]).toMatchObject({ from: 1, to: 12 });
    // After three quarters of an hour the rung has held, and what is too hot now is something else.
    const held = feed(times(4, (i) => ({ celsius: 76, nowMs: 46 * 60_000 + 2000 * i })), { celsius: 75 }, tried);
    expect(held.steps[0]?.to).toBeLessThan(12);
  });

  it('holds its rung while the sensor gives nothing', () => {
    const hot = feed(times(2, () => ({ celsius: 76 })), { celsius: 75 });
    const blind = feed(times(600, () => ({})), { celsius: 75 }, hot.state);
    expect(blind.steps).toEqual([]);
    expect(blind.state.samples).toEqual([]);
  });

  it('comes up without a temperature where there was never a sensor', () => {
    const late: GovernorState = { ...initialGovernor(0), rung: 1 };
    expect(feed(times(160, () => ({ late: 0 })), { celsius: 75, late: 0.01 }, late).steps).toEqual([{ from: 1, to: 0, reason: 'recovered' }]);
  });

  it('stays at the last rung when there is nothing left to save', () => {
    const last: GovernorState = { ...initialGovernor(0), rung: defaultLadder.length - 1 };
    expect(feed(times(30, () => ({ celsius: 90 })), { celsius: 75 }, last).steps).toEqual([]);
  });
});

describe('the ladder', () => {
  const variants = [{ name: 'tiny', load: 0.3, cost: 0.15 }, { name: 'small', load: 0.5, cost: 0.02 }, { name: 'dear', load: 0.6, cost: 0.1 }];
  const all = { maxGate: 2, minPace: 0.05 };

  it('leaves out points that save nothing for what they cost', () => {
    expect(paretoFront([{ load: 1, cost: 0 }, { load: 0.8, cost: 0.05 }, { load: 0.7, cost: 0.01 }]).map(({ load }) => load)).toEqual([1, 0.7]);
    expect(usableVariants(variants, { maxVariantCost: 1 }).map(({ name }) => name)).toEqual(['small', 'tiny']);
  });

  it('stays within what the operator allows', () => {
    const usable = usableVariants(variants, { maxVariantCost: 0.1 });
    expect(usable.map(({ name }) => name)).toEqual(['small']);
    const rungs = ladderFor([usable], { maxGate: 1.5, minPace: 0.5 });
    expect(rungs.every(({ gate, pace, variant }) => gate <= 1.5 && pace >= 0.5 && variant <= 1)).toBe(true);
    expect(ladderFor([], { maxGate: 1, minPace: 1 })).toEqual([defaultLadder[0]]);
  });

  it('leaves out frames also where the gates must stay as they are', () => {
    expect(ladderFor([], { maxGate: 1, minPace: 0.5 }).map(({ gate, pace, load, cost }) => [gate, pace, load, cost])).toEqual([[1, 1, 1, 0], [1, 0.9, 0.9, 0.011], [1, 0.8, 0.8, 0.02], [1, 0.65, 0.65, 0.03], [1, 0.5, 0.5, 0.037]]);
  });

  it('has a variant where that costs less than leaving out frames, and both for the least load', () => {
    const rungs = ladderFor([usableVariants(variants, { maxVariantCost: 1 })], all);
    expect(rungs.find(({ load }) => load <= 0.5)).toMatchObject({ gate: 1, pace: 1, variant: 1 });
    expect(rungs.at(-1)).toMatchObject({ gate: 2, pace: 0.05, variant: 2 });
    expect(rungs[0]).toEqual(defaultLadder[0]);
  });

  it('counts pipelines alike, and one with fewer variants stays at its last', () => {
    const [one, two] = [usableVariants(variants, { maxVariantCost: 0.1 }), usableVariants(variants, { maxVariantCost: 1 })];
    expect(ladderFor([one, []], all).find(({ variant }) => variant === 1)?.load).toBeCloseTo(0.75, 9);
    expect([variantAt(one, 0), variantAt(one, 1), variantAt(one, 2), variantAt(two, 2), variantAt([], 2)]).toEqual([null, 'small', 'small', 'tiny', null]);
  });

  it.each([['without variants', defaultLadder], ...[1, 2, 3, 4, 5].map((seed) => [`of seed ${seed}`, variedLadder(seed)] as const)] as const)('goes down in load and up in cost from rung to rung, %s', (_, ladder) => {
    ladder.slice(1).forEach((rung, i) => {
      const above = ladder[i];
      expect(rung.load).toBeLessThan(above?.load ?? 0);
      expect(rung.cost).toBeGreaterThan(above?.cost ?? 1);
    });
  });
});
