import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockSet, Flight } from '../../../agent/ota/blocks.js';
import { Pace } from '../../../agent/ota/pace.js';

const length = (): number => 100;

/** As it is when some pieces have come without a loss: the whole window may be used. */
function warm(flight: Flight): Flight {
  for (let i = 1000; i < 1024; i++) {
    flight.ask(i, 100, 0);
    flight.arrived(i, 1);
    flight.settled(i);
  }
  return flight;
}

describe('what is on the way', () => {
  it('never exceeds the window, in pieces and in bytes, and in the end everything is here', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 100, max: 1500 }), fc.array(fc.nat(9), { minLength: 400, maxLength: 400 }), (pieces, bytes, luck) => {
      const flight = new Flight({ pieces, bytes });
      const have = new BlockSet(40);
      const asked: number[] = [];
      for (const dice of luck) {
        for (const index of [...flight.takeOvertaken(), ...flight.next(have, length)]) {
          flight.ask(index, length(), 0);
          asked.push(index);
        }
        expect(flight.size).toBeLessThanOrEqual(pieces);
        expect(flight.bytes).toBeLessThanOrEqual(Math.max(bytes, length()));
        const next = asked.shift();
        if (next === undefined) {
          const oldest = flight.takeOldest();
          if (oldest !== null) { flight.ask(oldest, length(), 0); asked.push(oldest); }
        } else if (dice > 0 && flight.arrived(next, 1)) {
          flight.settled(next);
          have.add(next);
        }
      }
      expect(have.complete || luck.filter((dice) => dice === 0).length > 200).toBe(true);
    }), { numRuns: 15 });
  });

  it('takes a piece for lost when three that were asked for later are here', () => {
    const flight = new Flight({ pieces: 8, bytes: 10_000 });
    for (let i = 0; i < 6; i++) flight.ask(i, 100, 0);
    for (const i of [1, 2]) flight.arrived(i, 10);
    expect(flight.takeOvertaken()).toEqual([]);
    flight.arrived(3, 10);
    expect(flight.takeOvertaken()).toEqual([0]);
    expect(flight.has(0)).toBe(false);
    expect(flight.has(4)).toBe(true);
  });

  it('uses half of its window after a loss, and more again with each piece that arrives', () => {
    const have = new BlockSet(1000);
    const flight = warm(new Flight({ pieces: 16, bytes: 10_000 }));
    const ask = (): number[] => {
      const wanted = flight.next(have, length);
      for (const index of wanted) flight.ask(index, length(), 0);
      return wanted;
    };
    const take = (index: number): void => {
      flight.arrived(index, 1);
      flight.settled(index);
      have.add(index);
    };
    expect(ask()).toHaveLength(16);
    flight.clear(); // the publisher was busy: nothing is lost
    expect(ask()).toHaveLength(16);
    flight.lose(); // the connection broke
    expect(ask()).toHaveLength(8);
    for (let i = 1; i < 8; i++) take(i);
    expect(flight.takeOvertaken()).toEqual([0]);
    for (let round = 0; round < 20; round++) for (const index of ask()) take(index);
    expect(ask()).toHaveLength(16);
  });

  it('begins with a quarter of its window, and has the whole after 24 pieces without a loss', () => {
    const have = new BlockSet(1000);
    const lengths = [0, 8, 24].map((arrived) => {
      const flight = new Flight({ pieces: 16, bytes: 10_000 });
      for (let i = 0; i < arrived; i++) { flight.ask(900 + i, 100, 0); flight.arrived(900 + i, 1); flight.settled(900 + i); }
      return flight.next(have, length).length;
    });
    expect(lengths).toEqual([4, 8, 16]);
    const unlucky = new Flight({ pieces: 16, bytes: 10_000 });
    for (const index of unlucky.next(have, length)) unlucky.ask(index, 100, 0);
    unlucky.lose(); // a cut in the first window makes it no larger
    expect(unlucky.next(have, length)).toHaveLength(4);
  });

  it('puts after a loss at most a 48th of what was missing at stake, but always a piece of any size', () => {
    const have = new BlockSet(10_000);
    const onTheWay = (missingBytes: number, lossy: boolean): number => {
      const flight = warm(new Flight({ pieces: 16, bytes: 512 * 1024 }, missingBytes));
      if (lossy) {
        flight.ask(0, 16_384, 0);
        flight.lose();
      }
      return flight.next(have, () => 16_384).length;
    };
    expect(onTheWay(6_000_000, false)).toBe(16);
    expect(onTheWay(6_000_000, true)).toBe(7); // 125,000 bytes
    expect(onTheWay(100_000, true)).toBe(4); // the largest piece has 64 KiB
    expect(onTheWay(160_000_000, true)).toBe(8); // a cut costs little of a large package
  });

  it('asks when half of the window is free, and after a loss when a quarter is', () => {
    const have = new BlockSet(1000);
    const free = (lossy: boolean, arrived: number): number => {
      const flight = warm(new Flight({ pieces: 16, bytes: 10_000 }));
      if (lossy) {
        flight.ask(999, 100, 0);
        flight.lose();
      }
      const asked = flight.next(have, length);
      for (const index of asked) flight.ask(index, 100, 0);
      for (const index of asked.slice(0, arrived)) { flight.arrived(index, 1); flight.settled(index); }
      return flight.next(have, length).length;
    };
    expect([free(false, 7), free(false, 8)]).toEqual([0, 8]);
    expect([free(true, 1), free(true, 2)]).toEqual([0, 2]);
  });

  it('keeps what was asked for within one bitmap', () => {
    const have = new BlockSet(2000);
    for (let i = 1; i < 1500; i++) have.add(i);
    expect(new Flight({ pieces: 16, bytes: 1e6 }).next(have, length)).toEqual([0]);
  });

  it('counts what is being written, because it is in memory', () => {
    const flight = warm(new Flight({ pieces: 2, bytes: 1000 }));
    const have = new BlockSet(10);
    for (const i of [0, 1]) flight.ask(i, 100, 0);
    for (const i of [0, 1]) flight.arrived(i, 0);
    expect(flight.next(have, length)).toEqual([]);
    expect(flight.arrived(0, 0)).toBe(false); // once more
    flight.settled(0);
    have.add(0);
    expect(flight.next(have, length)).toEqual([2]);
  });
});

describe('the pace of a download', () => {
  const limits = { maxBytesPerS: 1000, minBytesPerS: 100, slowWindowMs: 10_000 };

  it('never asks for more than the bandwidth limit allows, apart from one burst', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 3000 })), { maxLength: 200 }), (steps) => {
      let now = 0;
      const pace = new Pace(limits, () => now);
      let taken = 0;
      for (const [step, bytes] of steps) {
        now += step;
        if (pace.take(bytes, now)) taken += bytes;
        expect(taken).toBeLessThanOrEqual(1000 + now + 3000);
      }
    }));
  });

  it('lets a request that is larger than a burst through, and says when', () => {
    const pace = new Pace(limits, () => 0);
    expect(pace.take(3000, 0)).toBe(true);
    expect(pace.take(100, 1000)).toBe(false);
    const next = pace.nextLookMs(1000);
    expect(pace.take(100, next)).toBe(true);
  });

  it('finds a download slow after the whole window only, and not while it waits on purpose', () => {
    const pace = new Pace(limits, () => 0);
    pace.restart(0);
    pace.received(900, 900, 5000);
    expect(pace.slowness(9999)).toBeNull();
    expect(pace.slowness(10_000)).toEqual({ bytesPerS: 90, least: 100 });
    pace.restart(20_000);
    pace.wait('publisher', 60_000, 21_000);
    expect(pace.slowness(40_000)).toBeNull();
    expect(pace.slowness(69_000)).toBeNull();
    expect(pace.slowness(70_000)).toEqual({ bytesPerS: 0, least: 100 });
  });

  it('reports bytes and rate', () => {
    const pace = new Pace({ ...limits, maxBytesPerS: null }, () => 0);
    for (let i = 0; i <= 10; i++) pace.received(500, 520, i * 100);
    expect(pace.report(1000)).toMatchObject({ receivedBytes: 5500, wireBytes: 5720, bytesPerS: 5000, waiting: null });
  });
});
