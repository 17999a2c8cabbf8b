/** What a recommendation decides by: the front, the bounds, and what is tried within a budget. */
import { describe, expect, it } from 'vitest';
import { statesOf } from '../../../deploy/lab/chain/config.js';
import { byTime, energyOf } from '../../../deploy/lab/recommend/energy.js';
import { dropOf } from '../../../deploy/lab/recommend/figures.js';
import { bestOf, dominates, missesOf, nearestTo, paretoFront, type Bounds, type Point } from '../../../deploy/lab/recommend/front.js';
import { methods, settingsOf, stepNames, type StepName } from '../../../deploy/lab/recommend/methods.js';
import { candidatesOf, scenarios, type Candidate } from '../../../deploy/lab/recommend/scenarios.js';
import { Estimates, tryAll, type Outcome } from '../../../deploy/lab/recommend/schedule.js';
import { asTensor } from '../../../runtime/tensor.js';
import { random } from '../../runtime/support/random.js';
import { randomTensor } from '../../runtime/support/models.js';

const point = (drop: number, cost: number, kb = 1, memory_kb = 1, mj: number | null = null): Point => ({ drop, cost, kb, memory_kb, mj });

/** Few values, so that ties and dominance are frequent. */
function clouds(): Point[][] {
  return Array.from({ length: 200 }, (_, seed) => {
    const next = random(seed + 1);
    const value = (): number => Math.floor(4 * next());
    return Array.from({ length: 1 + Math.floor(12 * next()) }, () => point(value() / 10, value(), value(), value(), seed % 3 === 0 ? null : value()));
  });
}

describe('the front', () => {
  it('has no point that another one dominates, and every other point is dominated by one on it', () => {
    for (const points of clouds()) {
      const front = paretoFront(points);
      expect(front.length).toBeGreaterThan(0);
      for (const a of front) expect(points.some((b) => dominates(b, a))).toBe(false);
      for (const a of points.filter((each) => !front.includes(each))) expect(front.some((b) => dominates(b, a))).toBe(true);
    }
  });

  it('has the recommended model, which fits the bounds and is as fast as any that does', () => {
    let found = 0;
    for (const points of clouds()) for (const scenario of scenarios) {
      const bounds: Bounds = { maxDrop: 0.2, cost: 2, memoryKb: 2 };
      const best = bestOf(points, bounds, scenario);
      const fitting = points.filter((each) => missesOf(each, bounds).length === 0);
      if (best === undefined) {
        expect(fitting).toEqual([]);
        const nearest = nearestTo(points, bounds);
        expect(missesOf(nearest ?? point(0, 0), bounds).length).toBeGreaterThan(0);
        continue;
      }
      found++;
      expect(paretoFront(points)).toContain(best);
      const axis = scenario === 'low-memory' ? 'memory_kb' : 'cost';
      for (const other of fitting) expect(best[axis]).toBeLessThanOrEqual(other[axis]);
    }
    expect(found).toBeGreaterThan(50);
  });

  it('takes the smaller drop of two models whose times differ by noise alone', () => {
    expect(bestOf([point(0.01, 1), point(0.001, 1.02)], { maxDrop: 0.02 }, 'face')).toEqual(point(0.001, 1.02));
    expect(bestOf([point(0.01, 1), point(0.001, 1.2)], { maxDrop: 0.02 }, 'face')).toEqual(point(0.01, 1));
  });

  it('takes the smaller file of two models whose drops hardly differ', () => {
    const [original, packed] = [point(0, 20, 4010), point(0.0007, 20, 1350)];
    expect(bestOf([original, packed], { maxDrop: 0.02 }, 'face')).toEqual(packed);
    expect(bestOf([original, packed], { maxDrop: 0.005 }, 'face')).toEqual(original);
  });

  it('says by how much a bound is missed', () => {
    expect(missesOf(point(0.03, 5, 1, 200), { maxDrop: 0.02, cost: 4, memoryKb: 300 })).toEqual([
      { bound: 'drop', value: 0.03, limit: 0.02, over: expect.closeTo(0.5) as number }, { bound: 'cost', value: 5, limit: 4, over: 0.25 },
    ]);
    expect(missesOf(point(NaN, 1), { maxDrop: 0.02 })).toHaveLength(1);
  });
});

describe('the tables', () => {
  it.each(scenarios)('of %s have chains that can be carried out, each behind those that it goes on from', (scenario) => {
    const candidates = candidatesOf(scenario);
    expect(new Set(candidates.map(({ id }) => id)).size).toBe(candidates.length);
    for (const [i, { id, steps, reason, source }] of candidates.entries()) {
      expect(steps.every((name) => stepNames.includes(name)), id).toBe(true);
      expect(statesOf(steps.map((name) => settingsOf(name, 10))), id).toHaveLength(steps.length);
      expect([reason.length > 0, /README|DECISIONS|BENCHMARKS/.test(source)], id).toEqual([true, true]);
      for (const later of candidates.slice(i + 1)) expect(later.steps.length >= steps.length || !later.steps.every((name, k) => name === steps[k])).toBe(true);
    }
    const tiers = candidates.map(({ steps }) => Math.max(...steps.map((name) => methods[name].tier)));
    expect(tiers).toEqual([...tiers].sort((a, b) => a - b));
  });

  it('name a source for every figure', () => {
    for (const { measured, saves, costs } of Object.values(methods)) {
      expect([measured.length > 0, saves.length > 0, costs.length > 0]).toEqual([true, true, true]);
      for (const { what, source } of measured) expect([what.length > 0, /README|DECISIONS|BENCHMARKS/.test(source)]).toEqual([true, true]);
    }
  });
});

const candidate = (id: string): Candidate => ({ id, steps: id.split('+') as StepName[], reason: 'r', source: 's' });
const candidates = ['int8', 'minifloat11', 'w46', 'prune60', 'prune60+int8', 'int8+distil', 'w46+distil', 'prune60+distil+int8'].map(candidate);

/** Tries with a clock that only steps move: each takes `seconds`. */
async function trial({ drops, seconds = 10, budget = 1e6, bounds = { maxDrop: 0.02 }, known = new Map() }: {
  drops: Readonly<Record<string, number | 'fails'>>; seconds?: number; budget?: number; bounds?: Bounds; known?: ReadonlyMap<string, Outcome>;
}): Promise<{ states: Record<string, string>; outcomes: Map<string, Outcome>; spent: number }> {
  let now = 0;
  // Nothing takes time worth mentioning: what steps take is learned from the first of their kind.
  const estimates = new Estimates({ pass: 1e-6, weights: 1, samples: 20, steps: 10, batch: 8 });
  const outcomes = await tryAll(candidates, {
    estimates, bounds, known, budget: { seconds: budget, spent: () => now }, made: () => 0,
    attempt: ({ id, steps }) => {
      for (const i of steps.keys()) {
        now += seconds;
        estimates.note(steps, i, seconds);
      }
      const drop = drops[id] ?? 0.01;
      return Promise.resolve(drop === 'fails' ? { state: 'failed', why: 'E_LAB: no channels' } : { state: 'tried', point: point(drop, 1) });
    },
  });
  return { outcomes, spent: now, states: Object.fromEntries([...outcomes].map(([id, { state }]) => [id, state])) };
}

const whyOf = (outcome: Outcome | undefined): string => (outcome === undefined || outcome.state === 'tried' ? '' : outcome.why);

describe('elimination', () => {
  it('leaves out distillation of what fits already', async () => {
    const { states, outcomes } = await trial({ drops: { prune60: 0.5 } });
    expect(states).toMatchObject({ int8: 'tried', 'int8+distil': 'eliminated' });
    expect(whyOf(outcomes.get('int8+distil'))).toMatch(/int8 keeps the bound of the drop already/);
  });

  it('leaves out a distillation in between where the chain without it fits already, and tries it where that lost too much', async () => {
    const fits = await trial({ drops: {} });
    expect(fits.states).toMatchObject({ 'prune60+int8': 'tried', 'prune60+distil+int8': 'eliminated' });
    expect(whyOf(fits.outcomes.get('prune60+distil+int8'))).toMatch(/prune60\+int8 keeps the bound of the drop already/);
    expect((await trial({ drops: { 'prune60+int8': 0.05 } })).states).toMatchObject({ 'prune60+int8': 'tried', 'prune60+distil+int8': 'tried' });
  });

  it('tries distillation where it may win back enough, and nowhere else', async () => {
    const { states, outcomes } = await trial({ drops: { int8: 0.05, w46: 0.1, prune60: 0.05 } });
    expect(states).toMatchObject({ 'int8+distil': 'tried', 'w46+distil': 'eliminated', 'prune60+int8': 'eliminated', 'prune60+distil+int8': 'tried' });
    expect(whyOf(outcomes.get('w46+distil'))).toMatch(/w46 has a drop of 0.1000, of which distillation is expected to win back 70 % at the most/);
    expect(whyOf(outcomes.get('prune60+int8'))).toMatch(/nothing behind it wins anything back/);
  });

  it('leaves out what begins with a chain that failed, and distillation of what is too slow', async () => {
    const { states, outcomes } = await trial({ drops: { prune60: 'fails', int8: 0.03 }, bounds: { maxDrop: 0.02, cost: 0.5 } });
    expect(states).toMatchObject({ prune60: 'failed', 'prune60+int8': 'eliminated', 'prune60+distil+int8': 'eliminated', 'int8+distil': 'eliminated' });
    expect(whyOf(outcomes.get('int8+distil'))).toMatch(/over the bound of latency/);
  });

  it('spends no more than the budget as soon as it knows what steps take, and lists what was not tried', async () => {
    const { states, outcomes, spent } = await trial({ drops: { int8: 0.03, w46: 0.03 }, budget: 65 });
    // int8, minifloat11, w46 and prune60 take 40 s and teach what such steps take; prune60+int8 takes 20 s more.
    expect(states).toMatchObject({ int8: 'tried', minifloat11: 'tried', w46: 'tried', prune60: 'tried', 'prune60+int8': 'tried', 'int8+distil': 'untried', 'w46+distil': 'untried' });
    expect(whyOf(outcomes.get('w46+distil'))).toMatch(/expected to take 13 s, and 5 s of the budget are left/);
    expect(spent).toBe(60);
    const none = await trial({ drops: {}, budget: 0 });
    expect([new Set(Object.values(none.states)), none.spent]).toEqual([new Set(['untried']), 0]);
  });

  it('takes over what is known, and decides anew about the others', async () => {
    const known = new Map<string, Outcome>([['int8', { state: 'tried', point: point(0.03, 1) }], ['w46', { state: 'untried', why: 'before' }], ['w46+distil', { state: 'eliminated', why: 'before' }]]);
    const { outcomes, spent } = await trial({ drops: { prune60: 'fails' }, known });
    expect(outcomes.get('int8')).toBe(known.get('int8'));
    expect(outcomes.get('w46')?.state).toBe('tried');
    expect(whyOf(outcomes.get('w46+distil'))).toMatch(/keeps the bound/);
    expect(spent).toBe(10 + 10 + 10 + 20);
  });

  it('learns how long steps take, and does not count those that are made', () => {
    const work = { pass: 0.01, weights: 1e6, samples: 100, steps: 50, batch: 8 };
    const estimates = new Estimates(work);
    const before = estimates.of(['int8', 'distil']);
    estimates.note(['int8'], 0, 2 * estimates.of(['int8']));
    const more = estimates.of(['int8', 'distil']) - before;
    expect(more).toBeCloseTo(estimates.of(['int8']) / 2);
    expect(estimates.of(['int8', 'distil'], 1)).toBeCloseTo(before + more - estimates.of(['int8']));
    const again = new Estimates(work, estimates.seen);
    expect(again.of(['int8'])).toBe(estimates.of(['int8']));
    // Scales are tuned sample by sample, weights by batches.
    expect(estimates.of(['prune60', 'distil'], 1)).toBeGreaterThan(estimates.of(['int8', 'distil'], 1));
  });
});

describe('energy', () => {
  const run = { macs: 1e9, float_macs: 4e8, cpu_ms: 10 };

  it('is modeled, and says by what', () => {
    expect(byTime(2, 'this', 'x').millijoules(run)).toBe(20);
    expect(byTime(2, 'this', 'x').provenance).toMatch(/^modeled: .* 2 W/);
    expect([byTime(2, 'a72', 'x').millijoules(run), byTime(2, 'a72', 'x').provenance]).toEqual([null, expect.stringMatching(/not known for a72: give --energy/)]);
    const device = energyOf(JSON.stringify({ source: 'ina226', scope: 'board', quality: 'measured', watts_per_core: { value: 1.5, plus_minus: 0.1 }, joules_per_mac: { int8: { value: 1e-11, plus_minus: 0 }, float32: { value: 5e-11, plus_minus: 0 } } }), 'e.json', 'a72');
    expect(device.millijoules({ ...run, cpu_ms: undefined })).toBeCloseTo(6 + 20);
    expect(device.provenance).toMatch(/10\.0 pJ in 8 bits or fewer, 50\.0 pJ in float32 \(calibrated by ina226/);
  });

  it.each(['{', '{}', '{"source":"x","quality":"y","watts_per_core":{"value":-1}}'])('refuses what no calibration printed: %s', (text) => {
    expect(() => energyOf(text, 'e.json', 'this')).toThrow(expect.objectContaining({ code: 'E_LAB' }) as Error);
  });
});

describe('the drop', () => {
  const answers = (noise: number) => Array.from({ length: 12 }, (_, i) => ({ y: asTensor(randomTensor([1, 8], i + 1)) })).map(({ y }, i) => ({ y: { ...y, data: Float32Array.from(y.data as Float32Array, (value, k) => value + noise * Math.sin(7 * i + k)) } }));

  it('grows with the error, and has an uncertainty', () => {
    const wanted = answers(0);
    expect(dropOf(wanted, wanted, undefined)).toEqual({ drop: 0, plus_minus: 0 });
    const [little, much] = [dropOf(wanted, answers(0.1), undefined), dropOf(wanted, answers(0.5), undefined)];
    expect([little.drop > 0, much.drop > little.drop, little.plus_minus > 0, much.plus_minus < much.drop]).toEqual([true, true, true, true]);
  });

  it('is that of the boxes where these are compared', () => {
    expect(dropOf(answers(0), answers(0), () => 0.75).drop).toBe(0.25);
  });
});
