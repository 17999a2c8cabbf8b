import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { intersectionOverUnion, suppress, suppressSoftly } from '../../../runtime/vision/nms.js';

const box = fc.tuple(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 30 }))
  .map(([x, y, w, h]) => [x, y, x + w, y + h]);
const candidates = fc.array(fc.record({ box, score: fc.float({ min: 0, max: 1, noNaN: true }), class: fc.integer({ min: 0, max: 2 }) }), { maxLength: 40 });

type Candidate = { box: number[]; score: number; class: number };
const arrays = (list: Candidate[]) => ({
  boxes: Float32Array.from(list.flatMap((c) => c.box)), scores: Float32Array.from(list, (c) => c.score), classes: list.map((c) => c.class),
});

describe('intersectionOverUnion', () => {
  it('is 1 for a box with itself, 0 for boxes that only touch, and the share for an overlap', () => {
    const boxes = Float32Array.from([0, 0, 10, 10, 10, 0, 20, 10, 5, 0, 15, 10]);
    expect(intersectionOverUnion(boxes, 0, 0)).toBe(1);
    expect(intersectionOverUnion(boxes, 0, 1)).toBe(0);
    expect(intersectionOverUnion(boxes, 0, 2)).toBeCloseTo(1 / 3, 6);
  });

  it('is 0 for a box without area', () => {
    expect(intersectionOverUnion(Float32Array.from([3, 3, 3, 9, 0, 0, 10, 10]), 0, 1)).toBe(0);
  });
});

describe('suppress', () => {
  it('keeps the best of two overlapping boxes, and both when their classes differ', () => {
    const boxes = Float32Array.from([0, 0, 10, 10, 1, 0, 11, 10]);
    const scores = Float32Array.from([0.8, 0.9]);
    const options = { iouThreshold: 0.5, maxDetections: 10 };
    expect(suppress(boxes, scores, options)).toEqual([1]);
    expect(suppress(boxes, scores, { ...options, classes: [0, 1] })).toEqual([1, 0]);
  });

  it('compares with kept boxes only: a dropped box drops nobody', () => {
    const boxes = Float32Array.from([0, 0, 10, 10, 4, 0, 14, 10, 8, 0, 18, 10]);
    expect(suppress(boxes, Float32Array.from([0.9, 0.8, 0.7]), { iouThreshold: 0.3, maxDetections: 10 })).toEqual([0, 2]);
  });

  it('stops at the limit', () => {
    const boxes = Float32Array.from([0, 0, 1, 1, 5, 5, 6, 6, 9, 9, 10, 10]);
    expect(suppress(boxes, Float32Array.from([0.1, 0.3, 0.2]), { iouThreshold: 0.5, maxDetections: 2 })).toEqual([1, 2]);
  });

  it('keeps boxes that do not overlap, drops only boxes that a better kept one covers, and sorts by score', () => {
    fc.assert(fc.property(candidates, fc.double({ min: 0, max: 1, noNaN: true }), (list, iouThreshold) => {
      const { boxes, scores, classes } = arrays(list);
      const kept = suppress(boxes, scores, { iouThreshold, maxDetections: 1000, classes });
      const overlaps = (a: number, b: number) => classes[a] === classes[b] && intersectionOverUnion(boxes, a, b) > iouThreshold;
      kept.forEach((a, i) => kept.slice(i + 1).forEach((b) => {
        expect(overlaps(a, b)).toBe(false);
        expect(scores[a]).toBeGreaterThanOrEqual(scores[b] ?? 0);
      }));
      list.forEach((_, i) => {
        if (!kept.includes(i)) expect(kept.some((k) => overlaps(k, i) && (scores[k] ?? 0) >= (scores[i] ?? 0))).toBe(true);
      });
    }));
  });
});

describe('suppressSoftly', () => {
  const boxes = Float32Array.from([0, 0, 10, 10, 0, 0, 10, 10, 20, 20, 30, 30]);

  it('lowers the score of a box by its overlap with better ones, and drops it below the threshold', () => {
    const scores = Float32Array.from([0.5, 0.75, 0.25]);
    expect(suppressSoftly(boxes, scores, { sigma: 0.5, scoreThreshold: 0.2, maxDetections: 10 })).toEqual([{ index: 1, score: 0.75 }, { index: 2, score: 0.25 }]);
    expect(suppressSoftly(boxes, scores, { sigma: 0.5, scoreThreshold: 0.01, maxDetections: 10 })[2]).toEqual({ index: 0, score: expect.closeTo(0.5 * Math.exp(-2), 9) as number });
    expect(suppressSoftly(boxes, scores, { sigma: 0.5, scoreThreshold: 0.2, maxDetections: 10, classes: [0, 1, 0] })).toHaveLength(3);
  });

  it('never raises a score, and gives every box once at most', () => {
    fc.assert(fc.property(candidates, fc.double({ min: 0.05, max: 2, noNaN: true }), (list, sigma) => {
      const { boxes: all, scores, classes } = arrays(list);
      const kept = suppressSoftly(all, scores, { sigma, scoreThreshold: 0.1, maxDetections: 1000, classes });
      expect(new Set(kept.map(({ index }) => index)).size).toBe(kept.length);
      for (const { index, score } of kept) expect(score).toBeLessThanOrEqual(scores[index] ?? 0);
      kept.slice(1).forEach(({ score }, i) => expect(score).toBeLessThanOrEqual(kept[i]?.score ?? 0));
    }));
  });
});
