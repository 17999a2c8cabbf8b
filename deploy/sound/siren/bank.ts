/** Sounds to mix scenes from: sirens and horns that were synthesized, and what they drown in. */
import { uniform } from '../../compress/random.js';
import type { Clip } from '../clips.js';
import { carHorn, powerOf, rain, rate, siren, sirenKinds, tonal, traffic } from '../synthesize.js';

/** Seconds of each sound in the bank, and of a scene. */
export const sceneSeconds = 5;

export interface Bank {
  sirens: Float32Array[];
  horns: Float32Array[];
  traffic: Float32Array[];
  rain: Float32Array[];
  /** What has a pitch and is no siren. */
  tonal: Float32Array[];
  recorded: readonly Pick<Clip, 'samples' | 'label'>[];
}

export interface BankSizes {
  /** Of each kind. */
  sirens: number;
  horns: number;
  traffic: number;
  rain: number;
  tonal: number;
}

/** The same seed gives the same bank. Sounds that are silent for more than a moment are made anew: a siren that nobody hears teaches nothing. */
export function makeBank(sizes: BankSizes, recorded: Bank['recorded'], seed: number): Bank {
  const random = uniform(seed);
  const many = (count: number, make: () => Float32Array): Float32Array[] => Array.from({ length: count }, make);
  return {
    sirens: sirenKinds.flatMap((kind) => many(sizes.sirens, () => siren(kind, sceneSeconds, random))),
    horns: many(sizes.horns, () => carHorn(sceneSeconds, random)),
    traffic: many(sizes.traffic, () => traffic(sceneSeconds, random)),
    rain: many(sizes.rain, () => rain(sceneSeconds, random)),
    tonal: many(sizes.tonal, () => tonal(sceneSeconds, random)),
    recorded,
  };
}

export const anyOf = <T>(all: readonly T[], random: () => number): T => all[Math.floor(random() * all.length)] as T;

/** An excerpt of a sound from a random place. */
export function excerptOf(sound: Float32Array, samples: number, random: () => number): Float32Array {
  const from = Math.floor(random() * Math.max(1, sound.length - samples + 1));
  return sound.subarray(from, from + samples);
}

/** What a scene holds beside a siren, with the class of the recording in it; -1 for none. */
export interface Background {
  samples: Float32Array;
  label: number;
}

/** A recording, traffic, rain or, where the bank has any, something with a pitch; half of the recordings are in traffic or rain. */
export function backgroundOf(bank: Bank, samples: number, random: () => number): Background {
  const kind = random();
  const road = (): Float32Array => excerptOf(anyOf(random() < 0.75 ? bank.traffic : bank.rain, random), samples, random);
  if (kind < 0.3 || bank.recorded.length === 0) return { samples: road().slice(), label: -1 };
  if (kind < 0.42 && bank.tonal.length > 0) return { samples: sumOf(excerptOf(anyOf(bank.tonal, random), samples, random), road(), 25 * random()), label: -1 };
  const { samples: recording, label } = anyOf(bank.recorded, random);
  const excerpt = excerptOf(recording, samples, random);
  // Part of a recording is silence (a dog barks once): then there is nothing of its class, and nothing to set a ratio to.
  const heard = powerOf(excerpt) > 1e-7;
  if (!heard) return { samples: road().slice(), label: -1 };
  return random() < 0.5 ? { samples: excerpt.slice(), label } : { samples: sumOf(excerpt, road(), 20 * random() - 5), label };
}

/** One sound so many decibels above another, at the power of 1. */
export function sumOf(signal: Float32Array, noise: Float32Array, ratioDb: number): Float32Array {
  const [loud, soft] = [Math.sqrt(powerOf(signal)) + 1e-9, Math.sqrt(powerOf(noise)) + 1e-9];
  const gain = 10 ** (ratioDb / 20);
  const total = 1 / Math.sqrt(gain * gain + 1);
  return signal.map((sample, i) => total * ((gain * sample) / loud + (noise[i] ?? 0) / soft));
}

/** A sound from one moment to another, with edges of 10 ms; silence before and after. */
export function between(sound: Float32Array, from: number, until: number): Float32Array {
  const edge = rate / 100;
  return sound.map((sample, i) => sample * Math.max(0, Math.min(1, (i - from) / edge, (until - i) / edge)));
}
