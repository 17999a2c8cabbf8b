import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cosineSimilarity, normalize } from '../../../runtime/vision/embedding.js';
import { fivePoints } from '../../../runtime/vision/landmarks.js';

const vector = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 4, maxLength: 4 }).map((values) => Float32Array.from(values));

describe('normalize', () => {
  it('gives unit length and keeps the direction', () => {
    fc.assert(fc.property(vector, (values) => {
      const unit = normalize(values);
      if (unit === null) return values.every((value) => Math.abs(value) < 1e-20);
      const length = Math.hypot(...unit);
      return Math.abs(length - 1) < 1e-5 && cosineSimilarity(unit, values) > 0.9999;
    }));
  });

  it('is null for a vector without a direction', () => {
    for (const bad of [[0, 0], [NaN, 1], [Infinity, 1]]) expect(normalize(Float32Array.from(bad))).toBeNull();
  });
});

describe('cosineSimilarity', () => {
  it('is 1, 0 and -1 for equal, perpendicular and opposite vectors, and 0 without a direction', () => {
    expect(cosineSimilarity([3, 4], [6, 8])).toBeCloseTo(1, 12);
    expect(cosineSimilarity([1, 0], [0, 5])).toBe(0);
    expect(cosineSimilarity([1, 2], [-1, -2])).toBeCloseTo(-1, 12);
    expect(cosineSimilarity([0, 0], [1, 1])).toBe(0);
  });

  it('does not depend on the lengths, and is symmetric', () => {
    fc.assert(fc.property(vector, vector, fc.double({ min: 0.1, max: 10, noNaN: true }), (a, b, factor) => {
      const cosine = cosineSimilarity(a, b);
      expect(cosineSimilarity(b, a)).toBeCloseTo(cosine, 6);
      expect(cosineSimilarity(Array.from(a, (value) => value * factor), b)).toBeCloseTo(cosine, 6);
    }));
  });
});

describe('fivePoints', () => {
  it('takes the centres of the eyes, the tip of the nose and the corners of the mouth', () => {
    const landmarks = new Float32Array(136);
    const put = (index: number, x: number, y: number) => landmarks.set([x, y], index * 2);
    for (let i = 0; i < 6; i++) {
      put(36 + i, 10 + i, 20);
      put(42 + i, 50 + i, 21);
    }
    put(30, 33, 40);
    put(48, 20, 60);
    put(54, 48, 61);
    expect([...fivePoints(landmarks)]).toEqual([12.5, 20, 52.5, 21, 33, 40, 20, 60, 48, 61]);
  });
});
