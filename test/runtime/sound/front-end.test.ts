import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { describeCpu, isas } from '../../../kernels/binding/native.js';
import { featureDefinition, kaldiFbank, kaldiMfcc, librosaLogMel } from '../../../runtime/sound/definition.js';
import type { FeatureDefinition } from '../../../runtime/sound/definition.js';
import { createFrontEnd } from '../../../runtime/sound/front-end.js';

/** Of fixtures/make.py, which computes the same signal in double precision. */
function signal(): Float32Array {
  let state = 12345;
  return Float32Array.from({ length: 8000 }, (_, i) => {
    const t = i / 16_000;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 0.3 * Math.sin(2 * Math.PI * (200 * t + 3500 * t * t)) + 0.1 * Math.sin(2 * Math.PI * 50 * t) + 0.02 + 0.05 * (state / 2 ** 32 - 0.5);
  });
}

interface Reference {
  rows: number[];
  pcen_smooth: number;
  [name: string]: number | number[] | number[][];
}
const reference = JSON.parse(readFileSync(new URL('./fixtures/reference.json', import.meta.url), 'utf8')) as Reference;

const librosa = librosaLogMel({ rate: 16_000, frame: 400, hop: 160, points: 512, bands: 64 });
const definitions: Record<string, FeatureDefinition> = {
  librosa_log_mel: librosa,
  librosa_htk: featureDefinition.parse({ ...librosa, mel: { ...librosa.mel, bands: 40, low_hz: 125, high_hz: 7500, scale: 'htk', norm: 'none' } }),
  librosa_mfcc: featureDefinition.parse({ ...librosa, cepstrum: { coefficients: 20 } }),
  // Of energies times 2^31, as librosa's example has them.
  librosa_pcen: featureDefinition.parse({ ...librosa, gain: 2 ** 15.5, compression: { type: 'pcen', smooth: reference.pcen_smooth, gain: 0.98, bias: 2, power: 0.5, epsilon: 1e-6 } }),
  kaldi_fbank: kaldiFbank({ rate: 16_000, bands: 80 }),
  kaldi_mfcc: kaldiMfcc({ rate: 16_000 }),
};

/** Every row of the signal; of librosa's, whose frames are padded to 512 samples on both sides, the window alone. */
function rowsOf(definition: FeatureDefinition, isa?: (typeof isas)[number], pieces = 8000): Float32Array[] {
  const frontEnd = createFrontEnd(definition, 64, { isa });
  const samples = signal();
  for (let i = 0; i < samples.length; i += pieces) frontEnd.push(samples.subarray(i, i + pieces));
  const { window, features, position } = frontEnd;
  return Array.from({ length: position }, (_, row) => Float32Array.from(window.subarray((64 - position + row) * features, (65 - position + row) * features)));
}

describe('features of sound', () => {
  const runnable = describeCpu().isas.filter((status) => status.runnable).map(({ isa }) => isa);
  test.each(Object.keys(definitions).flatMap((name) => runnable.map((isa) => [name, isa] as const)))('%s on %s is within 1e-4 of the reference', (name, isa) => {
    const definition = definitions[name];
    if (definition === undefined) throw new Error(name);
    const rows = rowsOf(definition, isa);
    const wanted = reference[name] as number[][];
    // The last frames of librosa reach beyond the signal; the fixture's rows do not.
    const range = Math.max(1, ...wanted.flat().map(Math.abs));
    reference.rows.forEach((row, i) => {
      const worst = Math.max(...(wanted[i] ?? []).map((value, k) => Math.abs(value - (rows[row]?.[k] ?? NaN))));
      expect(worst / range, `row ${row}`).toBeLessThan(1e-4);
    });
  });

  test('a stream in pieces gives the bits of one piece', () => {
    const whole = rowsOf(librosa);
    expect(whole.length).toBe(49);
    for (const pieces of [1, 7, 160, 399, 1000]) expect(rowsOf(librosa, undefined, pieces)).toEqual(whole);
  });

  test('the ring holds the newest rows in order, and codes are those of the floats', () => {
    const [floats, codes] = [createFrontEnd(librosa, 5), createFrontEnd(librosa, 5, { codes: { type: 'int8', scale: 0.5, zero_point: 10 } })];
    for (const frontEnd of [floats, codes]) frontEnd.push(signal().subarray(0, 2777));
    const expected = Int8Array.from(floats.window, (value) => Math.max(-128, Math.min(127, roundHalfEven(Math.fround(value / 0.5)) + 10)));
    expect(codes.window).toEqual(expected);
    expect(floats.newest).toEqual(rowsOf(librosa)[floats.position - 1]);
  });

  test('samples that are not finite count as silence, and are counted', () => {
    const samples = signal().subarray(0, 3000);
    const clean = samples.slice();
    clean[1000] = 0;
    const broken = samples.slice();
    broken[1000] = NaN;
    const [a, b] = [createFrontEnd(librosa, 20), createFrontEnd(librosa, 20)];
    a.push(clean);
    b.push(broken);
    expect(b.window).toEqual(a.window);
    expect([a.notFinite, b.notFinite]).toEqual([0, 1]);
  });

  test('definitions that cannot be are refused with the numbers', () => {
    expect(() => featureDefinition.parse({ ...librosa, points: 500 })).toThrow(/power of two/);
    expect(() => featureDefinition.parse({ ...librosa, hop: 500 })).toThrow(/hop of at most 400/);
    expect(() => featureDefinition.parse({ ...librosa, mel: { ...librosa.mel, high_hz: 9000 } })).toThrow(/up to 8000/);
  });
});

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
