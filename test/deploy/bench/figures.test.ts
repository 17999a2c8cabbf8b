import { describe, expect, it } from 'vitest';
import { coresOfOthers, sampleCpu } from '../../../deploy/bench/neighbours.js';
import { gmacPerSecond, PeakMeter, shareOfPeak } from '../../../deploy/bench/peaks.js';
import { layerRows, sumByOp } from '../../../deploy/bench/profile.js';
import { geometricMean, leastBy, percentile } from '../../../deploy/bench/statistics.js';
import type { PeakRate } from '../../../kernels/binding/native.js';
import type { LayerProfile } from '../../../runtime/session-types.js';

describe('percentile', () => {
  it.each([[[5], 99, 5], [[1, 2, 3, 4], 50, 2], [[1, 2, 3, 4], 99, 4], [[1, 2, 3, 4], 0, 1]])('of %j at %d is %d', (values, percent, expected) => {
    expect(percentile(values, percent)).toBe(expected);
  });
});

describe('geometricMean', () => {
  it('does not depend on which side is the numerator', () => {
    expect(geometricMean([2, 8])).toBeCloseTo(4, 12);
    expect(geometricMean([1 / 2, 1 / 8])).toBeCloseTo(1 / 4, 12);
    expect(geometricMean([3])).toBeCloseTo(3, 12);
    expect(geometricMean([])).toBeNaN();
  });
});

describe('leastBy', () => {
  it('finds the least, the first of equals, and nothing in nothing', () => {
    const items = [{ at: 0, v: 2 }, { at: 1, v: 1 }, { at: 2, v: 1 }];
    expect(leastBy(items, ({ v }) => v)).toBe(items[1]);
    expect(leastBy([], () => 0)).toBeUndefined();
  });
});

describe('PeakMeter', () => {
  const rate = (instruction: string, format: PeakRate['format'], gmac: number): PeakRate => ({ instruction, format, macsPerSecond: gmac * 1e9 });

  it('keeps the best of all measurements, and takes the fastest instruction of a format', () => {
    const samples = [
      [rate('zmm', 'int8', 100), rate('ymm', 'int8', 120), rate('fma', 'float32', 30)],
      [rate('zmm', 'int8', 200), rate('ymm', 'int8', 90), rate('fma', 'float32', 20)],
    ];
    const meter = new PeakMeter(() => samples.shift() ?? []);
    meter.sample(['avx512vnni', 'avx512vnni']);
    expect(meter.peak('avx512vnni')).toEqual({ int8: 120, float32: 30 });
    meter.sample(['avx512vnni']);
    expect(meter.peak('avx512vnni')).toEqual({ int8: 200, float32: 30 });
    expect(meter.rows()).toEqual([
      { isa: 'avx512vnni', instruction: 'zmm', format: 'int8', gmac_s: 200 },
      { isa: 'avx512vnni', instruction: 'ymm', format: 'int8', gmac_s: 120 },
      { isa: 'avx512vnni', instruction: 'fma', format: 'float32', gmac_s: 30 },
    ]);
  });

  it('knows no peak of what was not measured', () => {
    expect(new PeakMeter(() => []).peak('ref')).toEqual({ int8: null, float32: null });
  });
});

describe('shareOfPeak', () => {
  it('counts the peak of every thread, and is nothing without a speed or a peak', () => {
    expect(shareOfPeak(50, 100, 1)).toBe(0.5);
    expect(shareOfPeak(50, 100, 2)).toBe(0.25);
    expect([shareOfPeak(null, 100, 1), shareOfPeak(50, null, 1)]).toEqual([null, null]);
    expect([gmacPerSecond(3e6, 2), gmacPerSecond(0, 2)]).toEqual([1.5, null]);
  });
});

describe('coresOfOthers', () => {
  it('takes our own CPU time off that of the machine', () => {
    const at = (machineMs: number, ownMs: number, atMs: number) => ({ machineMs, ownMs, atMs });
    expect(coresOfOthers(at(1000, 100, 0), at(4000, 1100, 1000))).toBe(2);
    expect(coresOfOthers(at(1000, 100, 0), at(1990, 1100, 1000))).toBe(0);
  });

  it('samples grow', () => {
    const before = sampleCpu();
    const after = sampleCpu();
    expect(after.machineMs).toBeGreaterThanOrEqual(before.machineMs);
    expect(after.ownMs).toBeGreaterThanOrEqual(before.ownMs);
    expect(after.atMs).toBeGreaterThanOrEqual(before.atMs);
  });
});

describe('the rows of a profile', () => {
  const layer = (op: string, ms: number, rest: Partial<LayerProfile> = {}): LayerProfile =>
    ({ name: `${op}${ms}`, op, kernel: 'k', ms, macs: 1e6, format: 'int8', bytesRead: 10, bytesWritten: 5, ...rest });
  const against = { peak: { int8: 4, float32: 2 }, threads: 2 };

  it('sum layers of one operator, kernel and format, the slowest first', () => {
    const rows = sumByOp([layer('A', 1), layer('B', 5), layer('A', 2), layer('A', 1, { format: 'float32' })], against);
    expect(rows.map(({ op, format, layers, ms, macs }) => [op, format, layers, ms, macs])).toEqual([['B', 'int8', 1, 5, 1e6], ['A', 'int8', 2, 3, 2e6], ['A', 'float32', 1, 1, 1e6]]);
    expect(rows[1]).toMatchObject({ bytes_read: 20, bytes_written: 10 });
    // 2e6 products in 3 ms are 2/3 GMAC/s, of a peak of 2 x 4.
    expect(rows[1]?.gmac_s).toBeCloseTo(2 / 3, 12);
    expect(rows[1]?.share_of_peak).toBeCloseTo(1 / 12, 12);
    expect(rows[2]?.share_of_peak).toBeCloseTo(1 / 4, 12);
  });

  it('keep the order of execution, layer by layer', () => {
    const rows = layerRows([layer('B', 1), layer('A', 2, { macs: 0, format: 'none' })], against);
    expect(rows.map(({ name }) => name)).toEqual(['B1', 'A2']);
    expect(rows[1]).toMatchObject({ gmac_s: null, share_of_peak: null, macs: 0 });
  });
});
