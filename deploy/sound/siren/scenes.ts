/** Batches of windows of 2.4 seconds that are mixed while the student learns: no two steps see the same sound. */
import { randomOf } from '../../lab/examples.js';
import type { Batches } from '../../lab/trainer.js';
import { Batch } from '../learn.js';
import { patch, type StudentShape } from '../student.js';
import { anyOf, type Bank } from './bank.js';
import { sirenFeatures } from './features.js';
import { cutRows, featuresAt, meanPower, rowsOf, scaleRows, sumOfRows, windowOf, type Rows } from './mixing.js';

/** Classes after those of the recordings. */
export const sirenClasses = ['siren', 'horn'] as const;

/** A siren or a horn that sounds for so long within the window is one; a shorter one counts in proportion. */
const heardSeconds = { siren: 1, horn: 0.3 } as const;
/**
 * Shares of the windows whose noise is of the road alone; of those with something that has a pitch, which causes most false alarms; of those in which one noise
 * ends and another begins; and of those that are silent at first, as a stream is before it begins.
 */
const shares = { road: 0.25, pitched: 0.22, turns: 0.2, starts: 0.06 } as const;

/** A bank as rows of mel bands. */
export interface Lessons extends Record<'sirens' | 'horns' | 'traffic' | 'rain' | 'pitched', Rows[]> {
  recorded: { rows: Rows; label: number }[];
}

export function lessonsOf({ sirens, horns, traffic, rain, pitched, recorded }: Bank): Lessons {
  const each = (sounds: readonly Float32Array[]): Rows[] => sounds.map(rowsOf);
  return {
    sirens: each(sirens.map(({ samples }) => samples)), horns: each(horns.map(({ samples }) => samples)), traffic: each(traffic), rain: each(rain), pitched: each(pitched),
    recorded: recorded.map(({ samples, label }) => ({ rows: rowsOf(samples), label })),
  };
}

interface Window {
  /** [rows][bands] */
  features: Float32Array;
  target: Float32Array;
}

/**
 * A window of sound with what it means: two fifths have a siren and a seventh a horn, at -13 to 25 dB; many of them begin or end within the window. Sirens are
 * as loud as whatever else has a pitch: a student that knew only melodies without noise would take a clear siren for one.
 */
export function mixWindow(lessons: Lessons, classes: number, random: () => number): Window {
  const from = random() < shares.starts ? Math.floor(0.7 * patch.rows * random()) : 0;
  const noise = backgroundOf(lessons, random);
  cutRows(noise.rows, from, patch.rows);
  const target = new Float32Array(classes);
  for (const { label, share } of noise.labels) target[label] = Math.max(target[label] ?? 0, share);
  const [draw, level, ratio] = [random(), 10 ** (-0.4 - 1.8 * random()), 38 * random() - 13];
  const kind = draw < 0.4 ? 'siren' : 'horn';
  const signal = draw < 0.54 ? cutRows(signalOf(kind === 'siren' ? lessons.sirens : lessons.horns, random), from, patch.rows) : null;
  const heard = signal === null ? 0 : soundingSeconds(signal);
  if (signal === null || heard === 0) return { features: featuresAt(noise.rows, level), target };
  // Whoever speaks beside a loud siren is not heard.
  if (ratio > 6) for (const { label, share } of noise.labels) target[label] = ratio > 14 ? 0 : share / 2;
  target[classes - sirenClasses.length + sirenClasses.indexOf(kind)] = Math.min(1, heard / heardSeconds[kind]);
  return { features: featuresAt(sumOfRows(signal, noise.rows, ratio, random), level), target };
}

/** Noise of a window, and classes of recordings in it with their targets. */
interface Noise {
  rows: Rows;
  labels: { label: number; share: number }[];
}

/** Some noise, or one kind of it after another. */
function backgroundOf(lessons: Lessons, random: () => number): Noise {
  const first = noiseOf(lessons, random);
  const whole = ({ label }: { label: number }, share: number): Noise['labels'] => (label < 0 ? [] : [{ label, share: Math.min(1, share) }]);
  if (random() >= shares.turns) return { rows: first.rows, labels: whole(first, 1) };
  const second = noiseOf(lessons, random);
  const at = Math.floor(patch.rows * random());
  const gain = 10 ** (random() - 0.5) * Math.sqrt((meanPower(first.rows) + 1e-9) / (meanPower(second.rows) + 1e-9));
  const [before, after] = [cutRows(first.rows, 0, at), cutRows(scaleRows(second.rows, gain), at, patch.rows)];
  return {
    rows: { bands: before.bands.map((value, i) => value + (after.bands[i] ?? 0)), power: before.power.map((value, row) => value + (after.power[row] ?? 0)) },
    labels: [...whole(first, (2 * at) / patch.rows), ...whole(second, 2 * (1 - at / patch.rows))],
  };
}

/** Duller or brighter, as other microphones and walls make it; every other one stays as it is. */
const coloured = (rows: Rows, random: () => number): Rows => scaleRows(rows, 1, random() < 0.5 ? 0 : 30 * random() - 15);

/** A recording, traffic, rain or something with a pitch; half of the recordings and all that has a pitch are in traffic or rain. */
function noiseOf(lessons: Lessons, random: () => number): { rows: Rows; label: number } {
  const road = (): Rows => coloured(windowOf(anyOf(random() < 0.75 ? lessons.traffic : lessons.rain, random), random), random);
  const draw = random();
  if (draw < shares.road || lessons.recorded.length === 0) return { rows: road(), label: -1 };
  if (draw < shares.road + shares.pitched && lessons.pitched.length > 0) {
    return { rows: sumOfRows(coloured(windowOf(anyOf(lessons.pitched, random), random), random), road(), 30 * random() - 5, random), label: -1 };
  }
  const { rows, label } = anyOf(lessons.recorded, random);
  const excerpt = coloured(windowOf(rows, random), random);
  // Part of a recording is silence (a dog barks once): then there is nothing of its class, and nothing to set a ratio to.
  if (meanPower(excerpt) < 1e-7) return { rows: road(), label: -1 };
  return { rows: random() < 0.5 ? excerpt : sumOfRows(excerpt, road(), 20 * random() - 5, random), label };
}

/** A siren or a horn, which begins or ends within the window in two of five; one of ten is beside a second one. */
function signalOf(signals: readonly Rows[], random: () => number): Rows {
  const one = (): Rows => coloured(windowOf(anyOf(signals, random), random), random);
  const both = random() < 0.1 ? sumOfRows(one(), one(), 10 * random(), random) : one();
  const [kind, at] = [random(), Math.floor(random() * patch.rows)];
  if (kind < 0.6) return both;
  return kind < 0.85 ? cutRows(both, at, patch.rows) : cutRows(both, 0, at);
}

/** Seconds in which there is anything to hear. */
const soundingSeconds = ({ power }: Rows): number => (power.filter((value) => value > 1e-5).length * sirenFeatures.hop) / sirenFeatures.rate;

/** Batches of mixed windows; a step sees the same ones whenever it is made. */
export function mixedBatches(lessons: Lessons, { shape, batch, dropout, seed }: { shape: StudentShape; batch: number; dropout: number; seed: number }): Batches {
  const buffers = new Batch(shape, batch);
  return (step) => {
    const random = randomOf(seed, step);
    for (let slot = 0; slot < batch; slot++) {
      const { features, target } = mixWindow(lessons, shape.classes, random);
      buffers.put(slot, { rows: features, start: 0, target, embedding: new Float32Array(shape.teacher) }, random);
    }
    buffers.drop(dropout, random);
    return buffers.feeds();
  };
}
