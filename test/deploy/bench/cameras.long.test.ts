import { describe, expect, it } from 'vitest';
import { lateFrames, stallAndFlood } from '../../../deploy/bench/pipeline/cameras.js';

/** What the figures are is for the bench to say: a test on a shared machine only sees that they come about. */
describe('the bench of several cameras', () => {
  it('measures how a camera that stalls and one that floods change the others', async () => {
    const [bar] = await stallAndFlood({ seconds: 2, load: 0.2 });
    expect(bar).toMatchObject({ id: 'cameras.fair', unit: '%', bar: '<= 10' });
    expect(Number.isFinite(bar?.value)).toBe(true);
    // From the camera to the result there is at least the engine's time: 5 ms.
    const [before = 0, after = 0] = /\(([\d.]+) -> ([\d.]+) ms\)/.exec(bar?.what ?? '')?.slice(1).map(Number) ?? [];
    expect([before >= 4, after >= 4]).toEqual([true, true]);
    expect(bar?.met).toBe((bar?.value ?? Infinity) <= 10);
  }, 120_000);

  it('counts late frames', async () => {
    const [bar] = await lateFrames({ seconds: 2, load: 0.2 });
    expect(bar).toMatchObject({ id: 'cameras.late', unit: '%', bar: '<= 0.1' });
    expect(bar?.what).toMatch(/in 2 s at 20 % load \(\d+ of [1-9]\d*; \d+ lost, which count; the cameras sent \d+ late themselves\)/);
  }, 120_000);
});
