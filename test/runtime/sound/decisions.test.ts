import { describe, expect, test } from 'vitest';
import { SoundDecisions } from '../../../runtime/sound/decisions.js';
import { SoundGate } from '../../../runtime/sound/gate.js';
import { levelsOf, SignalWatch } from '../../../runtime/sound/levels.js';

const settings = { classes: [{ label: 'siren', members: [1, 2], on: 0.5, off: 0.3, min_ms: 0 }], smoothing_windows: 2, release_ms: 100 };

/** Windows of 100 ms. */
function run(decisions: SoundDecisions, scores: readonly (number | null)[]): string[] {
  return scores.map((score, i) => decisions.step(score === null ? null : [0.9, 0, score], { fromMs: i * 100, untilMs: (i + 1) * 100 })
    .map(({ label, onsetMs, durationMs, score: best }) => `${label} ${onsetMs}+${durationMs} ${best.toFixed(2)}`).join());
}

describe('decisions', () => {
  test('one window is not enough for two, hysteresis keeps an event, and a gap of the release does not end it', () => {
    expect(run(new SoundDecisions(settings), [0.8, 0, 0.8, 0.8, 0.4, 0.2, 0, null, null]))
      .toEqual(['', '', '', 'siren 300+100 0.80', 'siren 300+200 0.80', 'siren 300+300 0.80', 'siren 300+300 0.80', '', '']);
  });

  test('an event is told when it has lasted the minimum, with the onset that it had', () => {
    const long = { ...settings, smoothing_windows: 1, classes: settings.classes.map((one) => ({ ...one, min_ms: 250 })) };
    expect(run(new SoundDecisions(long), [0.6, 0.6, 0.6, 0])).toEqual(['', '', 'siren 0+300 0.60', 'siren 0+300 0.60']);
  });

  test('scores that are not numbers are nothing heard', () => {
    expect(run(new SoundDecisions({ ...settings, smoothing_windows: 1 }), [NaN, Infinity])).toEqual(['', 'siren 100+100 1.00']);
  });
});

describe('the gate', () => {
  const gateSettings = { enabled: true, margin_db: 6, least_db: -60, rise_db_per_s: 1, hold_ms: 300, forced_pass_ms: 10_000, audit_share: 0, miss_limit: 0.01 };
  const decide = (gate: SoundGate, levels: readonly number[], busy = false, fromMs = 0): boolean[] => levels.map((level, i) => gate.decide(level, fromMs + i * 100, 100, busy));

  test('opens above the floor, holds, closes in silence, and passes a window in any case', () => {
    const gate = new SoundGate(gateSettings);
    expect(decide(gate, [-70, -70, -40, -70, -70, -70, -70])).toEqual([true, false, true, true, true, true, false]);
    const forced = decide(gate, new Array<number>(100).fill(-70), false, 700);
    expect(forced.filter(Boolean).length).toBe(1);
  });

  test('steady noise becomes the floor, but not while an event lasts', () => {
    const steady = new Array<number>(600).fill(-50);
    const gate = new SoundGate(gateSettings);
    expect(decide(gate, steady).at(-1)).toBe(false);
    expect(decide(new SoundGate(gateSettings), steady, true).at(-1)).toBe(true);
  });

  test('switched off, it stops nothing', () => {
    expect(decide(new SoundGate({ ...gateSettings, enabled: false }), [-90, -90])).toEqual([true, true]);
  });
});

describe('the signal', () => {
  const chunk = (value: (i: number) => number): Float32Array => Float32Array.from({ length: 1600 }, (_, i) => value(i));
  const watch = (samples: Float32Array, chunks: number): string[] => {
    const signal = new SignalWatch();
    const found = Array.from({ length: chunks }, (_, i) => signal.step(levelsOf(samples), (i + 1) * 100, 100));
    return found.at(-1) ?? [];
  };

  test('its level leaves the offset out', () => {
    expect(levelsOf(chunk((i) => 0.5 + 0.1 * Math.sin(i))).levelDb).toBeCloseTo(10 * Math.log10(0.005), 1);
    expect(levelsOf(chunk(() => 0)).levelDb).toBe(-120);
  });

  test.each([
    ['E_SOUND_CLIPPED', chunk((i) => Math.max(-1, Math.min(1, 3 * Math.sin(i)))), 5],
    ['E_SOUND_OFFSET', chunk((i) => 0.2 + 0.1 * Math.sin(i)), 20],
    ['E_SOUND_SILENT', chunk(() => 0), 50],
    ['E_SOUND_INVALID', chunk((i) => (i === 7 ? NaN : 0.1 * Math.sin(i))), 1],
  ])('%s is told when it lasts, not before', (code, samples, chunks) => {
    expect(watch(samples, chunks)).toEqual([code]);
    expect(watch(samples, chunks - 1)).toEqual([]);
  });

  test('a defect that is gone is cleared after a while', () => {
    const signal = new SignalWatch();
    signal.step(levelsOf(chunk(() => NaN)), 100, 100);
    const after = Array.from({ length: 31 }, (_, i) => signal.step(levelsOf(chunk((k) => 0.1 * Math.sin(k))), 200 + 100 * i, 100));
    expect(after[0]).toEqual(['E_SOUND_INVALID']);
    expect(after.at(-1)).toEqual([]);
  });
});
