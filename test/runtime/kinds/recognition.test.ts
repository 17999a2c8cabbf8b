import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { poseQuality, sharpness } from '../../../runtime/kinds/face-recognition/face-quality.js';
import { decide, defaultRecognition as settings, isWorthIt, meanOf, remember } from '../../../runtime/kinds/face-recognition/recognition.js';
import type { Memory } from '../../../runtime/kinds/face-recognition/recognition.js';
import type { Identity } from '../../../runtime/stages/finding.js';

const who = (personId: number, similarity: number): Identity => ({ personId, name: `p${personId}`, similarity });
const threshold = 0.5;

describe('a decision', () => {
  it('takes the threshold and a margin to the second person', () => {
    expect(decide(null, [who(1, 0.6), who(2, 0.3)], threshold, settings)?.personId).toBe(1);
    expect(decide(null, [who(1, 0.49)], threshold, settings)).toBeNull();
    expect(decide(null, [who(1, 0.6), who(2, 0.59)], threshold, settings)).toBeNull();
    expect(decide(null, [], threshold, settings)).toBeNull();
  });

  it('stands a little below the threshold, and against somebody who is hardly nearer', () => {
    expect(decide(who(1, 0.6), [who(1, 0.46)], threshold, settings)?.personId).toBe(1);
    expect(decide(who(1, 0.6), [who(1, 0.44)], threshold, settings)).toBeNull();
    expect(decide(who(1, 0.6), [who(2, 0.61), who(1, 0.6)], threshold, settings)?.personId).toBe(1);
    expect(decide(who(1, 0.6), [who(2, 0.7), who(1, 0.6)], threshold, settings)?.personId).toBe(2);
  });

  it('never flaps by noise smaller than the hysteresis', () => {
    fc.assert(fc.property(fc.array(fc.double({ min: -0.024, max: 0.024, noNaN: true }), { minLength: 2, maxLength: 50 }), fc.double({ min: 0.3, max: 0.7, noNaN: true }), (noise, level) => {
      let now: Identity | null = null;
      const told = noise.map((n) => (now = decide(now, [who(1, level + n)], threshold, settings)) !== null);
      expect(told.filter((yes, i) => i > 0 && yes !== told[i - 1]).length).toBeLessThanOrEqual(1);
    }));
  });
});

describe('the memory of a track', () => {
  const sample = (embedding: number[], quality = 1, nowMs = 0) => ({ embedding: Float32Array.from(embedding), quality, nowMs });

  it('is the mean of its embeddings, the better ones counting more', () => {
    const memory = remember(remember(undefined, sample([1, 0], 3), settings), sample([0.6, 0.8], 1), settings);
    expect([...(meanOf(memory) ?? [])].map((value) => Math.round(value * 1000) / 1000)).toEqual([0.976, 0.217]);
    expect(memory).toMatchObject({ samples: 2, bestQuality: 3 });
  });

  it('asks for embeddings when it is new, in doubt, found again, when a sight is better, and when it is due', () => {
    const old: Memory = { sum: Float32Array.of(1), samples: settings.new_samples, bestQuality: 0.5, atMs: 0, doubtful: false, identity: null };
    const plain = { quality: 0.5, nowMs: 500, found: false };
    expect(isWorthIt(old, plain, settings)).toBe(false);
    expect(isWorthIt(undefined, plain, settings)).toBe(true);
    expect(isWorthIt({ ...old, samples: 1 }, plain, settings)).toBe(true);
    expect(isWorthIt({ ...old, doubtful: true }, plain, settings)).toBe(true);
    expect(isWorthIt(old, { ...plain, found: true }, settings)).toBe(true);
    expect(isWorthIt(old, { ...plain, quality: 0.61 }, settings)).toBe(true);
    expect(isWorthIt(old, { ...plain, nowMs: settings.due_ms }, settings)).toBe(true);
  });
});

describe('the quality of a face', () => {
  const frontal = [38.3, 51.7, 73.5, 51.5, 56, 71.7, 41.5, 92.4, 70.7, 92.2];
  const moved = (change: (x: number, y: number, i: number) => [number, number]): Float32Array =>
    Float32Array.from([0, 1, 2, 3, 4].flatMap((i) => change(frontal[i * 2] ?? 0, frontal[i * 2 + 1] ?? 0, i)));

  it('is highest from the front, falls with the nose to one side and with size, and does not mind a tilted head', () => {
    const best = poseQuality(Float32Array.from(frontal));
    expect(best).toBeGreaterThan(0.9);
    expect(poseQuality(moved((x, y, i) => [i === 2 ? x + 10 : x, y]))).toBeLessThan(best * 0.6);
    expect(poseQuality(moved((x, y) => [x / 2, y / 2]))).toBeCloseTo(best / 2, 1);
    expect(poseQuality(moved((x, y) => [x * 0.8 - y * 0.6, x * 0.6 + y * 0.8]))).toBeCloseTo(best, 3);
    expect(poseQuality(new Float32Array(10))).toBeGreaterThan(0);
  });

  it('falls when the picture is blurred', () => {
    const canvas = (value: (x: number, y: number) => number) => ({ width: 112, height: 112, channels: 3 as const, data: Uint8Array.from({ length: 112 * 112 * 3 }, (_, i) => value(Math.floor(i / 3) % 112, Math.floor(i / 336))) });
    const stripes = (period: number) => canvas((x) => 128 + 100 * Math.sin((2 * Math.PI * x) / period));
    expect(sharpness(stripes(4))).toBeGreaterThan(sharpness(stripes(16)) * 2);
    expect(sharpness(canvas(() => 90))).toBeGreaterThan(0);
  });
});
