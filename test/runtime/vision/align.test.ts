import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyAffine, arcfaceTemplate, invertAffine, similarityTransform } from '../../../runtime/vision/align.js';
import type { Affine } from '../../../runtime/vision/align.js';

const real = (min: number, max: number) => fc.double({ min, max, noNaN: true });

const residual = (transform: Affine, from: ArrayLike<number>, to: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < from.length; i += 2) {
    const [x, y] = applyAffine(transform, from[i] ?? 0, from[i + 1] ?? 0);
    sum += (x - (to[i] ?? 0)) ** 2 + (y - (to[i + 1] ?? 0)) ** 2;
  }
  return sum;
};

const similarity = (scale: number, angle: number, tx: number, ty: number): Affine => {
  const a = scale * Math.cos(angle);
  const b = scale * Math.sin(angle);
  return [a, -b, tx, b, a, ty];
};

const mapped = (transform: Affine, points: ArrayLike<number>): number[] =>
  Array.from({ length: points.length / 2 }, (_, i) => applyAffine(transform, points[i * 2] ?? 0, points[i * 2 + 1] ?? 0)).flat();

describe('similarityTransform', () => {
  it('recovers a similarity from exact points', () => {
    fc.assert(fc.property(real(0.1, 10), real(-3, 3), real(-500, 500), real(-500, 500), (scale, angle, tx, ty) => {
      const truth = similarity(scale, angle, tx, ty);
      const found = similarityTransform(arcfaceTemplate, mapped(truth, arcfaceTemplate));
      found?.forEach((value, i) => expect(value).toBeCloseTo(truth[i] ?? NaN, 6));
      expect(found).not.toBeNull();
    }));
  });

  it('has the least squared error: no nearby similarity does better', () => {
    const offset = real(-3, 3);
    fc.assert(fc.property(fc.array(offset, { minLength: 10, maxLength: 10 }), offset, offset, offset, offset, (noise, da, db, dx, dy) => {
      const from = Array.from(arcfaceTemplate, (value, i) => value + (noise[i] ?? 0));
      const best = similarityTransform(from, arcfaceTemplate);
      if (best === null) throw new Error('no transform');
      const [a, , c, b, , f] = best;
      const other = [a + da / 50, -(b + db / 50), c + dx, b + db / 50, a + da / 50, f + dy] as const;
      expect(residual(best, from, arcfaceTemplate)).toBeLessThanOrEqual(residual(other, from, arcfaceTemplate) + 1e-6);
    }));
  });

  it('never mirrors: a mirrored face gives a rotation and a scale, with an error', () => {
    const mirrored = Array.from(arcfaceTemplate, (value, i) => (i % 2 === 0 ? 112 - value : value));
    const found = similarityTransform(mirrored, arcfaceTemplate);
    if (found === null) throw new Error('no transform');
    const [a, b, , d, e] = found;
    expect(a * e - b * d).toBeGreaterThan(0);
  });

  it('is null for points that coincide or are not numbers', () => {
    expect(similarityTransform(new Array<number>(10).fill(7), arcfaceTemplate)).toBeNull();
    expect(similarityTransform(new Array<number>(10).fill(NaN), arcfaceTemplate)).toBeNull();
  });
});

describe('invertAffine', () => {
  it('undoes a transform', () => {
    fc.assert(fc.property(real(0.1, 10), real(-3, 3), real(-500, 500), real(-500, 500), real(-100, 100), real(-100, 100), (scale, angle, tx, ty, x, y) => {
      const transform = similarity(scale, angle, tx, ty);
      const inverse = invertAffine(transform);
      if (inverse === null) throw new Error('no inverse');
      const [backX, backY] = applyAffine(inverse, ...applyAffine(transform, x, y));
      expect(backX).toBeCloseTo(x, 6);
      expect(backY).toBeCloseTo(y, 6);
    }));
  });

  it('is null for a map that flattens the plane', () => {
    expect(invertAffine([1, 2, 0, 2, 4, 0])).toBeNull();
  });
});
