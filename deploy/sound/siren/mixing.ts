/**
 * Mixtures of sounds whose mel bands are known: a step of learning costs no synthesis and no Fourier transform. What two sounds make together in a band
 * depends on their phases, which are drawn at random.
 */
import { createFrontEnd } from '../../../runtime/sound/front-end.js';
import { patch } from '../student.js';
import { sirenFeatures } from './features.js';

/** What is added before the logarithm. */
const offset = 0.001;

/** A sound as magnitudes in mel bands, and the power of the samples of each row. */
export interface Rows {
  bands: Float32Array;
  power: Float32Array;
}

/** Rows of a whole sound. */
export function rowsOf(samples: Float32Array): Rows {
  const { hop, frame } = sirenFeatures;
  const count = Math.max(1, Math.floor((samples.length - frame) / hop) + 1);
  const frontEnd = createFrontEnd({ ...sirenFeatures, compression: { type: 'none' } }, count);
  frontEnd.push(samples);
  const power = Float32Array.from({ length: count }, (_, row) => {
    let sum = 0;
    for (let i = row * hop; i < row * hop + frame; i++) sum += (samples[i] ?? 0) ** 2;
    return sum / frame;
  });
  return { bands: Float32Array.from(frontEnd.window), power };
}

/** One window of a sound from a random row on. */
export function windowOf({ bands, power }: Rows, random: () => number): Rows {
  const from = Math.floor(random() * Math.max(1, power.length - patch.rows + 1));
  return { bands: bands.slice(from * patch.bands, (from + patch.rows) * patch.bands), power: power.slice(from, from + patch.rows) };
}

export const meanPower = ({ power }: Rows): number => power.reduce((sum, value) => sum + value, 0) / Math.max(1, power.length);

/** In place: louder or softer as a whole, and duller or brighter by up to so many decibels from the lowest to the highest band. */
export function scaleRows(rows: Rows, gain: number, tiltDb = 0): Rows {
  const gains = Float32Array.from({ length: patch.bands }, (_, band) => gain * 10 ** ((tiltDb * (band / (patch.bands - 1) - 0.5)) / 20));
  rows.bands.forEach((value, i) => { rows.bands[i] = value * (gains[i % patch.bands] ?? 0); });
  rows.power.forEach((value, i) => { rows.power[i] = value * gain * gain; });
  return rows;
}

/** In place: silent before one row and from another one on. */
export function cutRows(rows: Rows, from: number, until: number): Rows {
  rows.power.forEach((_, row) => {
    if (row >= from && row < until) return;
    rows.power[row] = 0;
    rows.bands.fill(0, row * patch.bands, (row + 1) * patch.bands);
  });
  return rows;
}

/** One sound so many decibels above another, at a power of 1 together. */
export function sumOfRows(signal: Rows, noise: Rows, ratioDb: number, random: () => number): Rows {
  const [loud, soft] = [Math.sqrt(meanPower(signal)) + 1e-9, Math.sqrt(meanPower(noise)) + 1e-9];
  const total = 1 / Math.sqrt(10 ** (ratioDb / 10) + 1);
  const [own, other] = [(total * 10 ** (ratioDb / 20)) / loud, total / soft];
  return {
    bands: signal.bands.map((value, i) => {
      const [a, b] = [own * value, other * (noise.bands[i] ?? 0)];
      return Math.sqrt(Math.max(0, a * a + b * b + 2 * a * b * Math.cos(2 * Math.PI * random())));
    }),
    power: signal.power.map((value, i) => own * own * value + other * other * (noise.power[i] ?? 0)),
  };
}

/** Features as the front end makes them of such a sound at a level (root mean square). */
export function featuresAt(rows: Rows, level: number): Float32Array {
  const gain = level / (Math.sqrt(meanPower(rows)) + 1e-9);
  return rows.bands.map((value) => Math.log(gain * value + offset));
}
