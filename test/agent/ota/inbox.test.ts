import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { largestGeneration, MAX_FREE_GENERATION, MAX_GENERATION_JUMP } from '../../../agent/contracts/index.js';
import { DesiredInbox } from '../../../agent/ota/inbox.js';

interface Message { generation: number }

function inbox(): { taken: number[]; inbox: DesiredInbox<Message>; seen: (generation: number | null) => void } {
  const taken: number[] = [];
  let seen: number | null = null;
  return {
    taken, seen: (generation) => { seen = generation; },
    inbox: new DesiredInbox<Message>({ intervalMs: 250, retryMs: 1000, onFailed: (error) => { throw error; }, seen: () => seen, take: ({ generation }) => { taken.push(generation); seen = generation; } }),
  };
}

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

describe('a flood of `desired`', () => {
  it('costs one decision per interval, and ends with the newest', () => {
    const { inbox: box, taken } = inbox();
    for (let generation = 1; generation <= 10_000; generation++) box.receive({ generation });
    expect(taken).toEqual([1]);
    vi.advanceTimersByTime(10_000);
    expect(taken).toEqual([1, 10_000]);
  });

  it('out of order ends with the newest all the same', () => {
    fc.assert(fc.property(fc.array(fc.record({ generation: fc.integer({ min: 0, max: 50 }), wait: fc.constantFrom(0, 100, 300) }), { minLength: 1 }), (messages) => {
      const { inbox: box, taken } = inbox();
      for (const { generation, wait } of messages) {
        box.receive({ generation });
        vi.advanceTimersByTime(wait);
      }
      vi.advanceTimersByTime(1000);
      expect(taken.at(-1)).toBe(Math.max(...messages.map((m) => m.generation)));
      expect(taken).toEqual([...taken].sort((a, b) => a - b));
    }));
  });

  it('leaves nothing behind when it is stopped', () => {
    const { inbox: box, taken } = inbox();
    box.receive({ generation: 1 });
    box.receive({ generation: 2 });
    box.stop();
    vi.advanceTimersByTime(1000);
    expect(taken).toEqual([1]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('the bound of generations', () => {
  it('lets milliseconds since 1970 and counters through, and an older generation not', () => {
    const { inbox: box, taken } = inbox();
    expect(box.receive({ generation: Date.UTC(2026, 0, 1) })).toBe(true);
    expect(box.receive({ generation: 7 })).toBe(false);
    expect(box.receive({ generation: Date.UTC(2200, 0, 1) })).toBe(true);
    vi.advanceTimersByTime(1000);
    expect(taken).toEqual([Date.UTC(2026, 0, 1), Date.UTC(2200, 0, 1)]);
  });

  it('refuses 2^53-1, whatever was seen, and displaces nothing that waits', () => {
    const { inbox: box, taken } = inbox();
    box.receive({ generation: 1 });
    box.receive({ generation: 2 });
    expect(() => box.receive({ generation: Number.MAX_SAFE_INTEGER })).toThrow(expect.objectContaining({ code: 'E_OTA_GENERATION' }));
    vi.advanceTimersByTime(1000);
    expect(taken).toEqual([1, 2]);
  });

  it('leaves numbers for a publisher after any number of hostile messages that a device can take in a life', () => {
    let seen: number | null = null;
    for (let day = 0; day < 365 * 20; day++) seen = largestGeneration(seen);
    expect(seen).toBeGreaterThan(MAX_FREE_GENERATION);
    // At four a second, the interval of the inbox.
    const seconds = (Number.MAX_SAFE_INTEGER - MAX_FREE_GENERATION) / MAX_GENERATION_JUMP / 4;
    expect(seconds / 86_400 / 365).toBeGreaterThan(50);
    expect(largestGeneration(seen)).toBeGreaterThan((seen ?? 0) + 1);
  });
});
