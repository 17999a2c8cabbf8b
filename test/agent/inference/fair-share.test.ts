import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EngineTurns, slotsFor } from '../../../agent/inference/engine-turns.js';
import { emptyShare, stepShare, type FairOptions, type FairState } from '../../../agent/inference/fair-share.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { until } from '../support/tools.js';

/** A pipeline of the simulation: frames of these costs, each asked for so long after the one before was done. */
interface Load {
  costs: number[];
  gaps: number[];
}

interface Served {
  client: string;
  askedMs: number;
  grantedMs: number;
  doneMs: number;
  /** It had not used more than its share when it asked. */
  within: boolean;
}

/** Of events of one moment: a tick comes when everybody has asked. */
const order = ['done', 'ask', 'tick'];

/** Plays the scheduler against loads in simulated time. */
function simulate(loads: readonly Load[], options: FairOptions, endMs = 2000): { served: Served[]; busiest: number } {
  let state: FairState = emptyShare;
  const served: Served[] = [];
  const turns = loads.map(() => 0);
  const asked = new Map<string, { atMs: number; within: boolean }>();
  const events: { atMs: number; client: number; type: 'done' | 'ask' | 'tick' }[] = loads.map(({ gaps }, client) => ({ atMs: gaps[0] ?? 0, client, type: 'ask' }));
  let busiest = 0;
  const working = new Set<string>();
  while (events.length > 0) {
    events.sort((a, b) => a.atMs - b.atMs || order.indexOf(a.type) - order.indexOf(b.type));
    const event = events.shift();
    if (event === undefined || event.atMs > endMs) break;
    const name = `c${event.client}`;
    if (event.type === 'ask') asked.set(name, { atMs: event.atMs, within: (state.clients.get(name)?.finish ?? 0) <= state.virtual });
    if (event.type === 'done') {
      working.delete(name);
      const { gaps } = loads[event.client] ?? { gaps: [] };
      const turn = turns[event.client] = (turns[event.client] ?? 0) + 1;
      events.push({ atMs: event.atMs + (gaps[turn % gaps.length] ?? 0), client: event.client, type: 'ask' });
    }
    const step = stepShare(state, { type: event.type, client: name, atMs: event.atMs }, options);
    state = step.state;
    if (step.wakeMs === event.atMs) events.push({ atMs: event.atMs, client: -1, type: 'tick' });
    for (const granted of step.granted) {
      const index = Number(granted.slice(1));
      const cost = loads[index]?.costs[(turns[index] ?? 0) % (loads[index]?.costs.length ?? 1)] ?? 1;
      const request = asked.get(granted);
      working.add(granted);
      served.push({ client: granted, askedMs: request?.atMs ?? NaN, grantedMs: event.atMs, doneMs: event.atMs + cost, within: request?.within ?? false });
      events.push({ atMs: event.atMs + cost, client: index, type: 'done' });
    }
    busiest = Math.max(busiest, working.size);
    const waits = [...state.clients.values()].some(({ asking }) => asking !== null);
    if (event.type === 'tick' && working.size < options.slots) expect(waits).toBe(false);
  }
  return { served, busiest };
}

const cost = fc.integer({ min: 1, max: 30 });
const load = fc.record({ costs: fc.array(cost, { minLength: 1, maxLength: 5 }), gaps: fc.array(fc.integer({ min: 0, max: 120 }), { minLength: 1, maxLength: 5 }) });
const greedy = fc.array(cost, { minLength: 1, maxLength: 5 }).map((costs): Load => ({ costs, gaps: [0] }));
const slots = fc.integer({ min: 1, max: 3 });

describe('sharing the engine', () => {
  it('never lets more frames in than there are slots, and leaves none free while somebody waits', () => {
    fc.assert(fc.property(fc.array(fc.oneof(load, greedy), { minLength: 1, maxLength: 6 }), slots, (loads, count) => {
      expect(simulate(loads, { slots: count, overdueMs: Infinity }).busiest).toBeLessThanOrEqual(count);
    }));
  });

  it('a pipeline within its share waits for at most one frame of each other one, however they flood', () => {
    fc.assert(fc.property(load, fc.array(fc.oneof(load, greedy), { minLength: 1, maxLength: 5 }), slots, (one, others, count) => {
      const { served } = simulate([one, ...others], { slots: count, overdueMs: Infinity });
      for (const mine of served.filter(({ client, within }) => client === 'c0' && within)) {
        for (const other of others.map((_, index) => `c${index + 1}`)) {
          const before = served.filter(({ client, grantedMs }) => client === other && grantedMs > mine.askedMs && grantedMs < mine.grantedMs);
          expect(before.length, `${other} between ${mine.askedMs} and ${mine.grantedMs}`).toBeLessThanOrEqual(1);
        }
      }
    }));
  });

  it('pipelines that always want more get the same time, within one frame of each (theorem 1 of the paper)', () => {
    fc.assert(fc.property(fc.array(greedy, { minLength: 2, maxLength: 5 }), (loads) => {
      const { served } = simulate(loads, { slots: 1, overdueMs: Infinity });
      const used = loads.map((_, index) => served.filter(({ client }) => client === `c${index}`).reduce((sum, { grantedMs, doneMs }) => sum + doneMs - grantedMs, 0));
      const longest = loads.map(({ costs }) => Math.max(...costs));
      for (const [a, mine] of used.entries()) for (const [b, theirs] of used.entries()) expect(Math.abs(mine - theirs)).toBeLessThanOrEqual((longest[a] ?? 0) + (longest[b] ?? 0));
    }));
  });

  it('gives no credit for time in which a pipeline wanted nothing', () => {
    const { served } = simulate([{ costs: [10], gaps: [1000, ...Array.from({ length: 99 }, () => 0)] }, { costs: [10], gaps: [0] }], { slots: 1, overdueMs: Infinity }, 1500);
    const late = served.filter(({ grantedMs }) => grantedMs > 1000);
    const [mine, theirs] = ['c0', 'c1'].map((name) => late.filter(({ client }) => client === name).length);
    expect(Math.abs((mine ?? 0) - (theirs ?? 0))).toBeLessThanOrEqual(2);
  });

  it('a pipeline that hangs keeps the others out for a while only', () => {
    const options = { slots: 1, overdueMs: 100 };
    let step = stepShare(emptyShare, { type: 'ask', client: 'hangs', atMs: 0 }, options);
    expect(step.granted).toEqual(['hangs']);
    step = stepShare(step.state, { type: 'ask', client: 'waits', atMs: 10 }, options);
    expect([step.granted, step.wakeMs]).toEqual([[], 100]);
    step = stepShare(step.state, { type: 'tick', atMs: 100 }, options);
    expect([step.granted, step.wakeMs]).toEqual([['waits'], null]);
    step = stepShare(step.state, { type: 'done', client: 'waits', atMs: 110 }, options);
    // What it took in the end is charged.
    step = stepShare(step.state, { type: 'done', client: 'hangs', atMs: 500 }, options);
    expect(step.state.clients.get('hangs')?.finish).toBe(500);
  });
});

describe('the turns of a daemon', () => {
  it('are as many as the cores allow', () => {
    expect([slotsFor([1], 4), slotsFor([1, 2], 4), slotsFor([4], 2), slotsFor([], 3)]).toEqual([4, 2, 1, 3]);
  });

  it('are given at once while nobody else wants them, and else in order', async () => {
    const turns = new EngineTurns(systemClock(), { slots: 1 });
    const { signal } = new AbortController();
    const first = await turns.take('a', signal);
    const given: string[] = [];
    const waiting = ['b', 'c'].map((name) => turns.take(name, signal).then((turn) => { given.push(name); return turn; }));
    await sleep(5);
    expect(given).toEqual([]);
    first?.done();
    first?.done();
    await until('b', () => given.length === 1);
    (await waiting[0])?.done();
    (await waiting[1])?.done();
    expect(given).toEqual(['b', 'c']);
  });

  it('are taken back from whoever stops waiting', async () => {
    const turns = new EngineTurns(systemClock(), { slots: 1 });
    const stop = new AbortController();
    const first = await turns.take('a', stop.signal);
    const gone = turns.take('b', stop.signal);
    const next = turns.take('c', new AbortController().signal);
    stop.abort();
    expect(await gone).toBeNull();
    expect(await turns.take('b', stop.signal)).toBeNull();
    first?.done();
    (await next)?.done();
    expect(await turns.take('d', new AbortController().signal)).not.toBeNull();
  });

  it('go on while one pipeline hangs', async () => {
    const turns = new EngineTurns(systemClock(), { slots: 1, overdueMs: 20 });
    const { signal } = new AbortController();
    await turns.take('hangs', signal);
    for (let i = 0; i < 3; i++) (await turns.take('works', signal))?.done();
  });
});
