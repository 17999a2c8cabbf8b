import { describe, expect, it } from 'vitest';
import { dequantized, dividedBy, inSteps, leastOf, onlyZeros, positiveUntil, times } from '../../../runtime/graph/channels.js';

describe('loops over channels', () => {
  it('find the first number that is no scale', () => {
    expect(positiveUntil([1, 2 ** -149, 3.4e38])).toBe(3);
    for (const bad of [0, -0, -1, NaN, Infinity]) expect(positiveUntil([1, bad, 1])).toBe(1);
  });

  it('find the least, whatever is no number', () => {
    expect([leastOf([]), leastOf([2, NaN, -0, 1]), leastOf([3, -4])]).toEqual([Infinity, -0, -4]);
    expect([onlyZeros([]), onlyZeros(Int32Array.of(0, 0)), onlyZeros([0, 1])]).toEqual([true, true, false]);
  });

  it('round once, to single precision', () => {
    expect([...times(Float32Array.of(0.1, 3), 1 / 3)]).toEqual([Math.fround(Math.fround(0.1) / 3), 1]);
    expect([...dividedBy([1, 2], 3)]).toEqual([Math.fround(1 / 3), Math.fround(2 / 3)]);
  });

  it('take one scale for all, or one for each', () => {
    expect([...dequantized([3, 5], [0.5], [1])]).toEqual([1, 2]);
    expect([...dequantized([3, 5], [0.5, 0.25], [1, -3])]).toEqual([1, 2]);
  });

  it('give whole numbers of 32 bits or none', () => {
    expect([...(inSteps([1, -1.4, 5], [0.5, 1, 2]) ?? [])]).toEqual([2, -1, 3]);
    expect(inSteps([2 ** 31 - 1, -(2 ** 31)], [1, 1])).toEqual(Int32Array.of(2 ** 31 - 1, -(2 ** 31)));
    for (const bad of [2 ** 31, -(2 ** 31) - 1, NaN, Infinity]) expect(inSteps([bad], [1])).toBeUndefined();
  });
});
