import { describe, expect, it } from 'vitest';
import type { ProcessedFrame, Running } from '../../../agent/ground/frames.js';
import { ProbationWatch } from '../../../agent/ota/probation.js';
import { testRules } from '../support/update-rules.js';

interface Gates { strictness: string; audits: number; misses: number; missRate: { lower: number } }

function watching({ budget, gates, rules = {} }: { budget?: { p99_ms: number }; gates?: Gates; rules?: object } = {}): { watch: ProbationWatch; frame: (ms: number, exit?: string, frames?: number) => string | null } {
  const running = { slot: { digest: 'a' }, frames: 100, model: { budget, pipeline: { gates } } } as unknown as Running;
  const watch = new ProbationWatch(running, () => ({ ...testRules, ...rules }));
  const frame = (ms: number, exit = 'full', frames = 100): string | null => watch.frame({ result: { totalMs: ms, exit }, running: { ...running, frames } } as unknown as ProcessedFrame)?.code ?? null;
  return { watch, frame };
}

const codes = (n: number, work: () => string | null): Set<string | null> => new Set(Array.from({ length: n }, work));

describe('the probation', () => {
  it('OTA-086: ends when too many frames fail', () => {
    const { watch, frame } = watching();
    expect(codes(50, () => frame(5))).toEqual(new Set([null]));
    expect(codes(5, () => watch.failed()?.code ?? null)).toEqual(new Set([null]));
    expect(watch.failed()).toMatchObject({ code: 'E_OTA_PROBATION_ERRORS', message: expect.stringContaining('6 of the last 56') as string });
  });

  it('forgives frames that failed long ago', () => {
    const { watch, frame } = watching();
    for (let i = 0; i < 9; i++) watch.failed();
    for (let i = 0; i < 100; i++) frame(5);
    expect(codes(9, () => watch.failed()?.code ?? null)).toEqual(new Set([null]));
  });

  it('OTA-086: ends when the median frame takes longer than the package promises, or the device allows', () => {
    const slow = watching({ budget: { p99_ms: 10 } });
    expect(codes(19, () => slow.frame(16))).toEqual(new Set([null]));
    expect(slow.frame(16)).toBe('E_OTA_PROBATION_LATENCY');
    const fine = watching({ budget: { p99_ms: 10 } });
    expect(codes(100, () => fine.frame(14))).toEqual(new Set([null]));
    const limited = watching({ rules: { gate: { p99_ms: 8, allow_without_golden: false } } });
    expect(codes(30, () => limited.frame(14))).toContain('E_OTA_PROBATION_LATENCY');
    // Nobody promised anything.
    const free = watching();
    expect(codes(100, () => free.frame(9999))).toEqual(new Set([null]));
  });

  it('does not count frames that stopped early, nor the first ones', () => {
    const { frame } = watching({ budget: { p99_ms: 10 } });
    expect(codes(50, () => frame(99, 'pixels'))).toEqual(new Set([null]));
    expect(codes(50, () => frame(99, 'full', 3))).toEqual(new Set([null]));
  });

  it.each([
    ['miss too much beyond doubt', { strictness: 'set', audits: 40, misses: 20, missRate: { lower: 0.3 } }, 'E_OTA_PROBATION_AUDIT'],
    ['had to be switched off', { strictness: 'off', audits: 40, misses: 9, missRate: { lower: 0 } }, 'E_OTA_PROBATION_AUDIT'],
    ['may miss little', { strictness: 'tight', audits: 40, misses: 3, missRate: { lower: 0.1 } }, null],
  ])('OTA-086: looks at what the gates miss: they %s', (_, gates, code) => {
    expect(watching({ gates }).frame(5)).toBe(code);
  });

  it('OTA-086: ends when heat slows the processor down for long, and did not before', () => {
    const { watch } = watching();
    expect([0, 1000, 2000].map((ms) => watch.heat(ms > 0, ms))).toEqual([null, null, null]);
    expect(watch.heat(true, 60_999)).toBeNull();
    expect(watch.heat(true, 61_000)?.code).toBe('E_OTA_PROBATION_HEAT');
    const again = watching().watch;
    for (const [hot, ms] of [[false, 0], [true, 1000], [false, 50_000], [true, 51_000]] as const) again.heat(hot, ms);
    expect(again.heat(true, 100_000)).toBeNull();
    const hotBefore = watching().watch;
    hotBefore.heat(true, 0);
    expect(hotBefore.heat(true, 999_999)).toBeNull();
  });
});
