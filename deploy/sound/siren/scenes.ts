/** Batches of one second each that are mixed while the student learns: no two steps see the same sound. */
import { randomOf } from '../../lab/examples.js';
import type { Batches } from '../../lab/trainer.js';
import { defaultFeatures } from '../../lab/clips.js';
import { createFrontEnd } from '../../../runtime/sound/front-end.js';
import type { FrontEnd } from '../../../kernels/binding/audio.js';
import { patchSamples } from '../clips.js';
import { Batch } from '../learn.js';
import { patch, type StudentShape } from '../student.js';
import { atLevel, powerOf, rate } from '../synthesize.js';
import { anyOf, backgroundOf, between, excerptOf, sumOf, type Bank } from './bank.js';

/** Classes after those of the recordings. */
export const sirenClasses = ['siren', 'car_horn'] as const;

/** A siren that sounds for so long within the second is one; a shorter one counts in proportion. */
const heardSeconds = 0.25;

/** Features of one second, made by one extractor that is used again and again. */
export class PatchFeatures {
  readonly #frontEnd: FrontEnd = createFrontEnd(defaultFeatures, patch.rows);

  /** [rows][bands]; a copy. */
  of(samples: Float32Array): Float32Array {
    this.#frontEnd.reset();
    this.#frontEnd.push(samples);
    return Float32Array.from(this.#frontEnd.window);
  }
}

interface Second {
  samples: Float32Array;
  target: Float32Array;
}

/** A second of sound with what it means: two fifths have a siren and a tenth a horn, at -8 to 20 dB; many of them begin or end within the second. */
export function mixSecond(bank: Bank, classes: number, random: () => number): Second {
  const { samples: noise, label } = backgroundOf(bank, patchSamples, random);
  const target = new Float32Array(classes);
  if (label >= 0) target[label] = 1;
  const [kind, level, ratio] = [random(), 10 ** (-0.4 - 1.8 * random()), 28 * random() - 8];
  if (kind >= 0.5) return { samples: atLevel(noise, level), target };
  const signal = excerptOf(anyOf(kind < 0.4 ? bank.sirens : bank.horns, random), patchSamples, random);
  const [from, until] = span(random);
  const heard = soundingSeconds(signal, from, until);
  if (heard === 0) return { samples: atLevel(noise, level), target };
  target[classes - sirenClasses.length + (kind < 0.4 ? 0 : 1)] = Math.min(1, heard / heardSeconds);
  // Whoever speaks beside a loud siren is not heard.
  if (label >= 0 && ratio > 6) target[label] = ratio > 14 ? 0 : 0.5;
  return { samples: atLevel(sumOf(between(signal, from, until), noise, ratio), level), target };
}

/** From where to where in the second the signal sounds: mostly all the time. */
function span(random: () => number): [number, number] {
  const kind = random();
  if (kind < 0.55) return [-rate, 2 * rate];
  const at = Math.floor(random() * patchSamples);
  return kind < 0.85 ? [at, 2 * rate] : [-rate, at];
}

/** Seconds in which there is anything to hear, by pieces of 10 ms. */
function soundingSeconds(signal: Float32Array, from: number, until: number): number {
  const piece = rate / 100;
  let pieces = 0;
  for (let at = Math.max(0, from); at + piece <= Math.min(signal.length, until); at += piece) if (powerOf(signal.subarray(at, at + piece)) > 1e-5) pieces++;
  return pieces / 100;
}

/** Batches of mixed seconds; a step sees the same ones whenever it is made. */
export function mixedBatches(bank: Bank, { shape, batch, dropout, seed }: { shape: StudentShape; batch: number; dropout: number; seed: number }): Batches {
  const buffers = new Batch(shape, batch);
  const features = new PatchFeatures();
  return (step) => {
    const random = randomOf(seed, step);
    for (let slot = 0; slot < batch; slot++) {
      const { samples, target } = mixSecond(bank, shape.classes, random);
      buffers.put(slot, { rows: features.of(samples), start: 0, target, embedding: new Float32Array(shape.teacher) }, random);
    }
    buffers.drop(dropout, random);
    return buffers.feeds();
  };
}
