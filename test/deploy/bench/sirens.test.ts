import { describe, expect, it } from 'vitest';
import { recallBarOf } from '../../../deploy/bench/sound/sirens.js';
import { rules } from '../../../deploy/sound/siren/package.js';

/** Scores of a scene in which a siren is heard from its first second to the end, or never. */
const scene = (heard: boolean): { kind: string; scores: Float32Array } => ({ kind: 'wail', scores: Float32Array.from({ length: 50 }, (_, i) => (heard && i >= 10 ? 1 : 0)) });

describe('the share of sirens that are heard', () => {
  it('keeps its id, and comes with the interval that chance leaves', () => {
    const bar = recallBarOf(Array.from({ length: 200 }, (_, i) => scene(i < 190)), { name: 'siren', ratioDb: 0, noise: 'traffic', bar: 95 });
    expect([bar.id, bar.value, bar.bar, bar.met]).toEqual(['sound.recall_0db', 95, '>= 95', true]);
    // Clopper and Pearson: 190 of 200 are 90.996..97.576 % with 95 % confidence.
    expect(bar.what).toContain('200 scenes: 91.0..97.6 % with 95 % confidence');
    const late = rules.siren.minMs + 100;
    expect(bar.what).toContain(`half of them within ${late} ms, nine tenths within ${late} ms`);
  });

  it('is missed where fewer are heard', () => {
    const bar = recallBarOf([scene(true), scene(false)], { name: 'horn', ratioDb: 0, noise: 'traffic', bar: 95 });
    expect([bar.id, bar.value, bar.met]).toEqual(['sound.horn_recall_0db', 50, false]);
  });
});
