/** Sounds to mix scenes from: sirens and horns that were synthesized, and what they drown in. */
import { uniform } from '../../compress/random.js';
import type { Clip } from '../clips.js';
import { calls, music } from '../pitched.js';
import { horn, hornKinds, powerOf, rain, rate, siren, sirenKinds, strangerKinds, tonal, traffic, type SirenKind } from '../synthesize.js';

/** Seconds of each sound in the bank, and of a scene. */
export const sceneSeconds = 5;

/** A siren or a horn. */
export interface Signal {
  kind: string;
  samples: Float32Array;
}

/** What has a pitch and is neither: melodies, beeps, hums and syllables; singing, whistles, brakes, birds and alarms; music of several voices. */
const pitchedMakers = { melodies: tonal, calls, music } as const;
export type PitchedKind = keyof typeof pitchedMakers;
export const pitchedKinds = Object.keys(pitchedMakers) as PitchedKind[];

export interface Bank {
  sirens: Signal[];
  horns: Signal[];
  /** Sirens of kinds that are not learned from. */
  strangers: Signal[];
  traffic: Float32Array[];
  rain: Float32Array[];
  pitched: Float32Array[];
  recorded: readonly Pick<Clip, 'samples' | 'label'>[];
}

/** How many sounds of each kind. */
export interface BankSizes extends Record<'horns' | 'strangers' | 'traffic' | 'rain', number> {
  sirens: number | Readonly<Record<SirenKind, number>>;
  pitched: Partial<Record<PitchedKind, number>>;
}

/** The same seed gives the same bank. */
export function makeBank(sizes: BankSizes, recorded: Bank['recorded'], seed: number): Bank {
  const random = uniform(seed);
  const many = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
  const signals = <K extends string>(kinds: readonly K[], count: number | Readonly<Record<K, number>>, make: (kind: K, seconds: number, random: () => number) => Float32Array): Signal[] =>
    kinds.flatMap((kind) => many(typeof count === 'number' ? count : count[kind], () => ({ kind, samples: make(kind, sceneSeconds, random) })));
  return {
    sirens: signals(sirenKinds, sizes.sirens, siren),
    horns: signals(hornKinds, sizes.horns, horn),
    strangers: signals(strangerKinds, sizes.strangers, siren),
    traffic: many(sizes.traffic, () => traffic(sceneSeconds, random)),
    rain: many(sizes.rain, () => rain(sceneSeconds, random)),
    pitched: pitchedKinds.flatMap((kind) => many(sizes.pitched[kind] ?? 0, () => pitchedMakers[kind](sceneSeconds, random))),
    recorded,
  };
}

/** A sound as it is played faster, and higher, by a factor. */
function faster(sound: Float32Array, factor: number): Float32Array {
  return Float32Array.from({ length: Math.floor((sound.length - 1) / factor) }, (_, i) => {
    const at = Math.floor(i * factor);
    const share = i * factor - at;
    return (1 - share) * (sound[at] ?? 0) + share * (sound[at + 1] ?? 0);
  });
}

/** Recordings with so many copies of each by its label, at 0.7 to 1.4 times the speed: of few cocks many. */
export function withCopies(recorded: Bank['recorded'], copies: (label: number) => number, seed: number): Bank['recorded'] {
  const random = uniform(seed);
  return recorded.flatMap(({ samples, label }) => [{ samples, label }, ...Array.from({ length: copies(label) }, () => ({ samples: faster(samples, 0.7 * 2 ** random()), label }))]);
}

/** Signals of which some are slower and lower, or faster and higher, at 0.65 to 1.5 times the speed: a student that knew sirens of the norm alone would not hear older ones. */
export function atOtherSpeeds(signals: readonly Signal[], share: number, seed: number): Signal[] {
  const random = uniform(seed);
  return signals.map(({ kind, samples }) => ({ kind, samples: random() < share ? faster(samples, 0.65 * 2.3 ** random()) : samples }));
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

/** Share of the scenes with something that has a pitch, where the bank has any. */
export const pitchedShare = 0.12;

/** A recording, traffic, rain or something with a pitch; half of the recordings are in traffic or rain. */
export function backgroundOf(bank: Bank, samples: number, random: () => number, pitched = pitchedShare): Background {
  const kind = random();
  const road = (): Float32Array => excerptOf(anyOf(random() < 0.75 ? bank.traffic : bank.rain, random), samples, random);
  if (kind < 0.3 || bank.recorded.length === 0) return { samples: road().slice(), label: -1 };
  if (kind < 0.3 + pitched && bank.pitched.length > 0) return { samples: sumOf(excerptOf(anyOf(bank.pitched, random), samples, random), road(), 25 * random()), label: -1 };
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
