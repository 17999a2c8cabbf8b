import { describe, expect, it } from 'vitest';
import { defaultLiveness, livenessCrop, livenessScore, livenessSettings, stepLiveness } from '../../../runtime/kinds/face-recognition/liveness.js';

const settings = livenessSettings.parse({ ...defaultLiveness, classes: 2, activation: 'none' });

describe('the crop around a face', () => {
  const picture = { width: 640, height: 480 };

  it('is the box enlarged about its middle', () => {
    expect(livenessCrop([300, 200, 40, 60], picture, 2)).toEqual({ x: 280, y: 170, width: 80, height: 120 });
  });

  it('is moved into the picture', () => {
    expect(livenessCrop([0, 0, 100, 100], picture, 2)).toEqual({ x: 0, y: 0, width: 200, height: 200 });
    expect(livenessCrop([560, 400, 100, 100], picture, 2)).toEqual({ x: 440, y: 280, width: 200, height: 200 });
  });

  it('is no larger than the picture, and keeps the shape of the box', () => {
    expect(livenessCrop([200, 40, 300, 400], picture, 4)).toEqual({ x: 170, y: 0, width: 360, height: 480 });
  });
});

describe('the score of a sight', () => {
  it('is the probability of the class of live faces', () => {
    expect(livenessScore(Float32Array.from([0.25, 0.75]), settings)).toBe(0.25);
    expect(livenessScore(Float32Array.from([0.25, 0.75]), { ...settings, live_class: 1 })).toBe(0.75);
    expect(livenessScore(Float32Array.from([0, Math.log(3)]), { ...settings, live_class: 1, activation: 'softmax' })).toBeCloseTo(0.75, 6);
  });

  it('is 0 where the model gives no number', () => {
    expect(livenessScore(Float32Array.from([NaN, 1]), settings)).toBe(0);
    expect(livenessScore(Float32Array.from([Infinity, Infinity]), { ...settings, activation: 'softmax' })).toBe(0);
  });

  it('needs a class that the model has', () => {
    expect(livenessSettings.safeParse({ ...settings, live_class: 2 }).success).toBe(false);
  });
});

describe('the sights of a track', () => {
  const after = (scores: number[]) => scores.reduce<ReturnType<typeof stepLiveness> | undefined>((state, score) => stepLiveness(state, score, settings), undefined);

  it('are averaged, the newest counting most', () => {
    expect(after([1])).toEqual({ score: 1, live: true });
    expect(after([1, 0])).toEqual({ score: 0.5, live: true });
    expect(after([1, 0, 0])).toEqual({ score: 0.25, live: false });
  });

  it('keep a decision a little below the threshold, and make none there', () => {
    expect(after([0.45])?.live).toBe(false);
    expect(after([0.6, 0.3])).toMatchObject({ live: true });
    expect(after([0.3, 0.6])).toMatchObject({ live: false });
  });
});
