/** What teacher and student learn from: patches of recordings, mixtures of them, and synthesized sound. */
import { uniform } from '../compress/random.js';
import { defaultFeatures } from '../lab/clips.js';
import { featuresOf, patchesOf, patchSamples, type Clip } from './clips.js';
import { atLevel, horn, hornKinds, mixAt, powerOf, rain, rate, siren, sirenKinds, tonal, traffic } from './synthesize.js';
import type { Teacher } from './teacher.js';
import { patch } from './student.js';

/** A patch before the teacher's embedding is standardized. */
export interface Raw {
  rows: Float32Array;
  start: number;
  target: Float32Array;
  embedding: Float32Array;
  /** Of the recording; 0 for what was synthesized. */
  fold: number;
  /** Index of the recording; -1 for mixtures and for what was synthesized. */
  clip: number;
  /** What the heads of a student with given layers see of it (`seenIn`). */
  seen?: readonly Float32Array[];
}

/** Classes that no recording teaches. */
export const synthesizedClasses = ['siren', 'horn'] as const;

/** Rows from one patch of a recording to the next: 0.4 s. */
const patchStep = 40;

export const oneHot = (size: number, values: Readonly<Record<number, number>>): Float32Array => Float32Array.from({ length: size }, (_, i) => values[i] ?? 0);

/** Patches of recordings with their labels, without what a teacher makes of them. */
export function labelledPatches(clips: readonly Pick<Clip, 'rows' | 'label' | 'fold'>[], classes: number): Omit<Raw, 'embedding'>[] {
  return clips.flatMap(({ rows, label, fold }, clip) => patchesOf(rows, patchStep).map((start) => ({ rows, start, fold, clip, target: oneHot(classes, { [label]: 1 }) })));
}

export async function recordedPatches(clips: readonly Clip[], classes: number, teacher: Teacher): Promise<Raw[]> {
  const found: Raw[] = [];
  for (const patch of labelledPatches(clips, classes)) {
    const from = patch.start * defaultFeatures.hop;
    found.push({ ...patch, embedding: await teacher.embed((clips[patch.clip]?.samples ?? new Float32Array(0)).slice(from, from + patchSamples)) });
  }
  return found;
}

/** Two recordings of one fold at a time, one up to 8 dB softer than the other. */
export async function mixedPatches(clips: readonly Clip[], classes: number, teacher: Teacher, { perFold, seed }: { perFold: number; seed: number }): Promise<Raw[]> {
  const random = uniform(seed);
  const found: Raw[] = [];
  for (const fold of new Set(clips.map((clip) => clip.fold))) {
    const own = clips.filter((clip) => clip.fold === fold);
    for (let n = 0; n < perFold; n++) {
      const [a, b] = [anyOf(own, random), anyOf(own, random)];
      const softer = 8 * random();
      const samples = mixAt(excerpt(a, random), excerpt(b, random), softer, 10 ** (-0.5 - random()));
      const target = oneHot(classes, b.label === a.label ? { [a.label]: 1 } : { [a.label]: 1, [b.label]: 1 - softer / 12 });
      found.push({ rows: featuresOf(samples), start: 0, fold, clip: -1, target, embedding: await teacher.embed(samples) });
    }
  }
  return found;
}

const anyOf = <T>(all: readonly T[], random: () => number): T => all[Math.floor(random() * all.length)] as T;

/** A second of a recording that is not silent. */
function excerpt({ rows, samples }: Clip, random: () => number): Float32Array {
  const from = anyOf(patchesOf(rows, 10), random) * defaultFeatures.hop;
  return samples.slice(from, from + patchSamples);
}

/** A second of what sirens drown in: mostly synthesized, sometimes recorded. `label`: the class of the recording; -1 for none. */
export function background(clips: readonly Clip[], random: () => number): { samples: Float32Array; label: number } {
  const kind = random();
  const seconds = patchSamples / rate;
  if (kind < 0.45) return { samples: traffic(seconds, random), label: -1 };
  if (kind < 0.6) return { samples: rain(seconds, random), label: -1 };
  if (kind < 0.7 || clips.length === 0) return { samples: tonal(seconds, random), label: -1 };
  const clip = anyOf(clips, random);
  return { samples: excerpt(clip, random), label: clip.label };
}

/** Sirens and horns at -5 to 20 dB, and as many patches with neither. Softer sirens are asked for less, because nobody could hear them. */
export async function synthesizedPatches(clips: readonly Clip[], classes: readonly string[], teacher: Teacher, { count, seed }: { count: number; seed: number }): Promise<Raw[]> {
  const random = uniform(seed);
  const [sirenClass, hornClass] = synthesizedClasses.map((name) => classes.indexOf(name)) as [number, number];
  const found: Raw[] = [];
  for (let n = 0; n < count; n++) {
    const { samples: noise, label } = background(clips, random);
    const [kind, level, seconds] = [random(), 10 ** (-0.5 - 1.2 * random()), patchSamples / rate];
    const ratio = -5 + 25 * random();
    const loud = kind < 0.5 ? { samples: siren(anyOf(sirenKinds, random), seconds, random), label: sirenClass } : kind < 0.6 ? { samples: horn(anyOf(hornKinds, random), seconds, random), label: hornClass } : null;
    // A horn may rest for the whole second: then there is nothing to hear.
    const heard = loud !== null && powerOf(loud.samples) > 1e-4;
    const samples = heard ? mixAt(loud.samples, noise, ratio, level) : atLevel(noise, level);
    const target = oneHot(classes.length, { ...(label < 0 || (heard && ratio > 10) ? {} : { [label]: heard ? 0.7 : 1 }), ...(heard ? { [loud.label]: 1 } : {}) });
    found.push({ rows: featuresOf(samples), start: 0, fold: 0, clip: -1, target, embedding: await teacher.embed(samples) });
  }
  return found;
}

/** The samples of a patch, as the student is fed. */
export function patchOf({ rows, start }: Pick<Raw, 'rows' | 'start'>): Float32Array {
  return rows.subarray(start * patch.bands, (start + patch.rows) * patch.bands);
}
