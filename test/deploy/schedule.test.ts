import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockSchedule, RateLimit } from '../../deploy/publish/schedule.js';

const drain = (schedule: BlockSchedule<string>): string[] => {
  const order: string[] = [];
  for (let turn = schedule.next(); turn !== null; turn = schedule.next()) order.push(`${turn.device}${turn.block}`);
  return order;
};

describe('block schedule', () => {
  it('lets devices take turns', () => {
    const schedule = new BlockSchedule<string>(8);
    schedule.request('a', { context: '', blocks: [0, 1, 2] });
    schedule.request('b', { context: '', blocks: [7] });
    expect(drain(schedule)).toEqual(['a0', 'b7', 'a1', 'a2']);
  });

  it("adds a device's request to what is left of its last one, each block once, and forgets one that wants nothing", () => {
    const schedule = new BlockSchedule<string>(8);
    schedule.request('a', { context: '', blocks: [0, 1] });
    schedule.request('a', { context: '', blocks: [1, 5] });
    schedule.request('b', { context: '', blocks: [2] });
    schedule.request('b', { context: '', blocks: [] });
    expect(drain(schedule)).toEqual(['a0', 'a1', 'a5']);
  });

  it('refuses one device too many, and takes the known ones still', () => {
    const schedule = new BlockSchedule<string>(1);
    expect(schedule.request('a', { context: '', blocks: [0] })).toBe(true);
    expect(schedule.request('b', { context: '', blocks: [0] })).toBe(false);
    expect(schedule.request('a', { context: '', blocks: [3] })).toBe(true);
    expect(drain(schedule)).toEqual(['a0', 'a3']);
  });

  it('sends every requested block once, and no device waits for more than one block of each other', () => {
    const requests = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.array(fc.nat(99), { minLength: 1, maxLength: 9 }));
    fc.assert(fc.property(requests, (wanted) => {
      const schedule = new BlockSchedule<string>(8);
      for (const [device, blocks] of Object.entries(wanted)) schedule.request(device, { context: '', blocks });
      const order = drain(schedule);
      const all = Object.entries(wanted).flatMap(([device, blocks]) => blocks.map((block) => `${device}${block}`));
      expect([...order].sort()).toEqual(all.sort());
      const devices = Object.keys(wanted);
      expect(new Set(order.slice(0, devices.length).map((turn) => turn[0])).size).toBe(devices.length);
    }));
  });
});

describe('rate limit', () => {
  it('lets a burst through, then one for each interval', () => {
    const limit = new RateLimit(10, 3);
    expect([limit.take(0), limit.take(0), limit.take(0)]).toEqual([0, 0, 0]);
    expect(limit.take(0)).toBe(100);
    expect(limit.take(60)).toBe(40);
    expect(limit.take(100)).toBe(0);
  });

  it('never lets more through than rate and burst allow, whatever the times', () => {
    fc.assert(fc.property(fc.array(fc.nat(200), { maxLength: 200 }), (steps) => {
      const limit = new RateLimit(20, 4);
      let now = 0;
      let taken = 0;
      for (const step of steps) {
        now += step;
        if (limit.take(now) === 0) taken++;
      }
      expect(taken).toBeLessThanOrEqual(4 + (now * 20) / 1000 + 1e-6);
    }));
  });
});
