import { describe, expect, it } from 'vitest';
import { lateFrames, stallAndFlood } from '../../../deploy/bench/pipeline/cameras.js';

/** What the figures are is for the bench to say: a test on a shared machine only sees that they come about. */
describe('the bench of several cameras', () => {
  it('measures how a camera that stalls and one that floods change the others', async () => {
    const [bar] = await stallAndFlood({ seconds: 2, load: 0.2 });
    expect(bar).toMatchObject({ id: 'cameras.fair', unit: '%', bar: '<= 10' });
    expect(Number.isFinite(bar?.value)).toBe(true);
    expect(bar?.met).toBe((bar?.value ?? Infinity) <= 10);
  }, 120_000);

  it('counts late frames', async () => {
    const [bar] = await lateFrames({ seconds: 2, load: 0.2 });
    expect(bar).toMatchObject({ id: 'cameras.late', unit: '%', bar: '<= 0.1' });
    expect(bar?.what).toMatch(/in 2 s at 20 % load \(\d+ of [1-9]\d*\)/);
  }, 120_000);
});
