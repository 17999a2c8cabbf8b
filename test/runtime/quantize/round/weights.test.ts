import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromNumbers } from '../../../../runtime/graph/tensor-value.js';
import { channelMagnitudes, meanShift, quantizeBias, quantizeWeights, roundHalfEven, weightScales } from '../../../../runtime/quantize/round/weights.js';
import { randomTensor } from '../../support/models.js';

describe('weights', () => {
  it('stay within 127 and within half a step, channel by channel, on either axis', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 7 }), fc.nat(1), fc.nat(), (rows, columns, axis, seed) => {
      const weights = randomTensor([rows, columns], seed, -3, 3);
      const scales = weightScales(channelMagnitudes(weights, axis), undefined, 0.1);
      const { weights: stored } = quantizeWeights(weights, axis, scales);
      stored.data.forEach((value, i) => {
        const scale = scales[axis === 0 ? Math.floor(i / columns) : i % columns] ?? NaN;
        expect(Math.abs(Number(value))).toBeLessThanOrEqual(127);
        expect(Math.abs(Number(value) * scale - Number(weights.data[i]))).toBeLessThanOrEqual(0.5001 * scale);
      });
    }));
  });

  it('give the largest of each channel the largest code', () => {
    const weights = fromNumbers('float32', [2, 2], [-1, 0.5, 100, -200]);
    const scales = weightScales(channelMagnitudes(weights, 0), undefined, 1);
    expect([...quantizeWeights(weights, 0, scales).weights.data]).toEqual([-127, 64, 64, -127]);
  });

  it('give a dead channel a scale with which its bias still fits', () => {
    const scales = weightScales(Float32Array.of(0, 0, 1), Float32Array.of(5, 0, 0), 0.01);
    expect(scales.every((scale) => scale > 0)).toBe(true);
    const { bias, scales: biasScales } = quantizeBias(Float32Array.of(5, 0, 0), 0.01, scales);
    expect((bias[0] ?? 0) * (biasScales[0] ?? 0)).toBeCloseTo(5, 5);
    expect(Math.abs(bias[0] ?? 0)).toBeLessThanOrEqual(2 ** 30);
  });
});

describe('roundHalfEven', () => {
  it.each([[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, -0], [-1.5, -2], [-2.5, -2], [0.49, 0], [2.51, 3]])('rounds %d to %d', (value, expected) => {
    expect(roundHalfEven(value)).toBe(expected);
  });
});

describe('meanShift', () => {
  it('is what rounding the weights adds to the mean of the output', () => {
    const weights = fromNumbers('float32', [2, 2, 1, 1], [1, 0.3, -0.7, 1]);
    const scales = weightScales(channelMagnitudes(weights, 0), undefined, 1);
    const quantized = quantizeWeights(weights, 0, scales);
    const restored = [...quantized.weights.data].map((q, i) => Number(q) * (scales[i >> 1] ?? 0));
    const means: number[] = [2, -3];
    const shift = meanShift(weights, quantized, Float32Array.from(means), 1);
    for (const o of [0, 1]) {
      const expected = means.reduce((sum, mean, i) => sum + ((restored[2 * o + i] ?? 0) - Number(weights.data[2 * o + i])) * mean, 0);
      expect(shift[o]).toBeCloseTo(expected, 6);
    }
  });

  it('takes for each output the inputs of its group', () => {
    const weights = fromNumbers('float32', [2, 1, 1, 2], [1, 0.004, 1, 0.004]); // 0.004 rounds to 1 / 127
    const scales = weightScales(channelMagnitudes(weights, 0), undefined, 1);
    const shift = meanShift(weights, quantizeWeights(weights, 0, scales), Float32Array.of(1, 10), 2);
    expect(shift[0]).not.toBe(0);
    expect((shift[1] ?? 0) / (shift[0] ?? 1)).toBeCloseTo(10, 4);
  });
});
