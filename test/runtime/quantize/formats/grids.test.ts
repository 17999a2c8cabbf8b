import { describe, expect, it } from 'vitest';
import { activationLevelsFor, gridOf, largestCode } from '../../../../runtime/quantize/formats/grids.js';

describe('grids', () => {
  it.each([[5, 127], [9, 63], [15, 37], [19, 29], [21, 25], [23, 23], [25, 21], [43, 13], [127, 5]])('of %i weight levels leave %i for activations', (weights, activations) => {
    expect(activationLevelsFor(weights)).toBe(activations);
    expect(gridOf('w46', { weights })).toEqual({ format: 'w46', weights, activations });
    expect(largestCode({ weights }) * ((activations - 1) / 2)).toBeLessThanOrEqual(127);
  });

  it('have the levels of their format', () => {
    expect(gridOf('w46')).toEqual({ format: 'w46', weights: 19, activations: 29 });
    expect(gridOf('int4')).toEqual({ format: 'int4', weights: 15, activations: 16 });
    expect(gridOf('w4a8')).toEqual({ format: 'w4a8', weights: 15, activations: 256 });
    expect(gridOf('w4a8', { weights: 31 })).toEqual({ format: 'w4a8', weights: 31, activations: 256 });
    expect(gridOf('ternary')).toEqual({ format: 'ternary', weights: 3, activations: 3 });
  });

  it.each([
    ['an even number of weight levels', { weights: 20 }, 'odd'],
    ['too few', { weights: 1 }, 'odd'],
    ['a pair whose products do not fit', { weights: 19, activations: 31 }, 'up to 135'],
    ['activation levels that are no number of codes', { weights: 19, activations: 2.5 }, '2.5'],
  ])('refuse %s', (_, levels, text) => {
    expect(() => gridOf('w46', levels)).toThrow(expect.objectContaining({ code: 'E_QUANTIZE', message: expect.stringContaining(text) as string }));
  });

  it('refuse levels for a format that has its own', () => {
    expect(() => gridOf('int4', { weights: 19 })).toThrow(expect.objectContaining({ code: 'E_QUANTIZE' }));
    expect(() => gridOf('w4a8', { weights: 19, activations: 29 })).toThrow(expect.objectContaining({ code: 'E_QUANTIZE', message: expect.stringContaining('29') as string }));
  });
});
