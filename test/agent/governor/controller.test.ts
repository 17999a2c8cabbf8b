import { describe, expect, it } from 'vitest';
import { initialGovernor, stepGovernor, type GovernorLimits, type GovernorState, type Reading } from '../../../agent/governor/controller.js';
import { defaultLadder, paretoLadder, rungsWithin } from '../../../agent/governor/ladder.js';
import { simulate } from '../../../deploy/bench/governor/plants.js';

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
    const tried: GovernorState = { ...initialGovernor(0), rung: 3, raised: true };
    const { state } = feed(times(4, () => ({ celsius: 76 })), { celsius: 75 }, tried);
    expect(state.rests).toEqual({ 3: 600_000 });
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
  it('leaves out points that save nothing for what they cost', () => {
    const points = [{ gate: 1, pace: 1, load: 1, cost: 0 }, { gate: 1, pace: 0.8, load: 0.8, cost: 0.05 }, { gate: 2, pace: 1, load: 0.7, cost: 0.01 }];
    expect(paretoLadder(points).map(({ load }) => load)).toEqual([1, 0.7]);
  });

  it('stays within what the operator allows', () => {
    const rungs = rungsWithin(defaultLadder, { maxGate: 1, minPace: 0.5 });
    expect(rungs).toEqual([defaultLadder[0]]);
    expect(rungsWithin(defaultLadder, { maxGate: 2, minPace: 0.5 }).every(({ pace }) => pace >= 0.5)).toBe(true);
  });

  it('goes down in load and up in cost from rung to rung', () => {
    defaultLadder.slice(1).forEach((rung, i) => {
      const above = defaultLadder[i];
      expect(rung.load).toBeLessThan(above?.load ?? 0);
      expect(rung.cost).toBeGreaterThan(above?.cost ?? 1);
    });
  });
});
