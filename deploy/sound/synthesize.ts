/** Sound from nothing: sirens, horns and what they drown in. Everything follows from the generator, so that a recipe and its measure can be repeated. */

export const rate = 16_000;

type Random = () => number;

export const sirenKinds = ['wail', 'yelp', 'hi-lo', 'air-horn'] as const;
export type SirenKind = (typeof sirenKinds)[number];

const between = (random: Random, low: number, high: number): number => low + (high - low) * random();

/** Pitch of a siren at each moment, hertz; 0 while it is silent. Ranges: SAE J1849 for wail and yelp, two tones a third to a fifth apart for hi-lo. */
function pitchOf(kind: SirenKind, random: Random): (seconds: number) => number {
  const phase = random();
  switch (kind) {
    case 'wail':
    case 'yelp': {
      const [low, high] = [between(random, 450, 850), between(random, 1100, 1850)];
      const period = kind === 'wail' ? between(random, 2, 6) : between(random, 0.2, 0.4);
      const rise = between(random, 0.3, 0.6);
      return (seconds) => {
        const at = (seconds / period + phase) % 1;
        const height = at < rise ? at / rise : (1 - at) / (1 - rise);
        return low * (high / low) ** (0.5 - 0.5 * Math.cos(Math.PI * height));
      };
    }
    case 'hi-lo': {
      const low = between(random, 380, 700);
      const high = low * between(random, 1.2, 1.5);
      const hold = between(random, 0.4, 0.8);
      return (seconds) => ((seconds / hold + 2 * phase) % 2 < 1 ? low : high);
    }
    case 'air-horn': {
      const pitch = between(random, 250, 480);
      const [sounds, rests] = [between(random, 0.4, 2), between(random, 0, 0.4)];
      return (seconds) => ((seconds + phase * sounds) % (sounds + rests) < sounds ? pitch : 0);
    }
  }
}

/** Speed of sound, metres a second. */
const soundSpeed = 343;

/** A vehicle that passes: by what its pitch and its amplitude are multiplied at each moment. */
function passing(random: Random, seconds: number): (at: number) => { pitch: number; gain: number } {
  const speed = between(random, 0, 25);
  const distance = between(random, 5, 30);
  const meets = between(random, -0.5, 1.5) * seconds;
  return (at) => {
    const along = speed * (meets - at);
    const range = Math.hypot(along, distance);
    return { pitch: soundSpeed / (soundSpeed - (speed * along) / range), gain: distance / range };
  };
}

/** Sum of the first harmonics, as a loudspeaker driven into saturation makes them. */
function voice(random: Random, seconds: number, pitch: (at: number) => number): Float32Array {
  const count = Math.round(seconds * rate);
  const tilt = between(random, 0.8, 2);
  const drive = between(random, 0.5, 3);
  const way = passing(random, seconds);
  const heights = Array.from({ length: 6 }, (_, i) => (i % 2 === 0 ? 1 : random()) / (i + 1) ** tilt);
  let phase = 2 * Math.PI * random();
  return Float32Array.from({ length: count }, (_, i) => {
    const at = i / rate;
    const hertz = pitch(at);
    const { pitch: shift, gain } = way(at);
    phase += (2 * Math.PI * hertz * shift) / rate;
    if (hertz === 0) return 0;
    const sum = heights.reduce((total, height, k) => ((k + 1) * hertz * shift > rate / 2.2 ? total : total + height * Math.sin((k + 1) * phase)), 0);
    return gain * Math.tanh(drive * sum);
  });
}

/** Early reflections and a tail: sparse taps that decay. */
function reverberate(samples: Float32Array, random: Random): Float32Array {
  const decay = between(random, 0.05, 0.4);
  const taps = Array.from({ length: 24 }, () => {
    const seconds = between(random, 0.005, decay * 1.5);
    return { offset: Math.round(seconds * rate), gain: (random() < 0.5 ? -0.5 : 0.5) * Math.exp((-3 * seconds) / decay) };
  });
  const wet = samples.slice();
  for (const { offset, gain } of taps) for (let i = offset; i < wet.length; i++) wet[i] = (wet[i] ?? 0) + gain * (samples[i - offset] ?? 0);
  return wet;
}

export function siren(kind: SirenKind, seconds: number, random: Random): Float32Array {
  const dry = voice(random, seconds, pitchOf(kind, random));
  return random() < 0.7 ? reverberate(dry, random) : dry;
}

/** A car's horn: two discs a third apart, in bursts. */
export function carHorn(seconds: number, random: Random): Float32Array {
  const low = between(random, 340, 440);
  const [sounds, rests, phase] = [between(random, 0.25, 1.5), between(random, 0.1, 0.8), random()];
  const gate = (pitch: number) => (at: number): number => ((at + phase * sounds) % (sounds + rests) < sounds ? pitch : 0);
  const [a, b] = [voice(random, seconds, gate(low)), voice(random, seconds, gate(low * between(random, 1.18, 1.3)))];
  const both = a.map((sample, i) => sample + (b[i] ?? 0));
  return random() < 0.7 ? reverberate(both, random) : both;
}

/** Road noise: rolling tyres, engines with their harmonics, cars that pass. */
export function traffic(seconds: number, random: Random): Float32Array {
  const count = Math.round(seconds * rate);
  const [smooth, hiss] = [between(random, 0.01, 0.08), between(random, 0.02, 0.3)];
  const engines = Array.from({ length: 1 + Math.floor(3 * random()) }, () => ({
    hertz: between(random, 25, 110), gain: between(random, 0.05, 0.5), drift: between(random, -0.1, 0.2), phase: random(), way: passing(random, seconds), tilt: between(random, 0.7, 1.5),
  }));
  let [low, lower] = [0, 0];
  return Float32Array.from({ length: count }, (_, i) => {
    const white = 2 * random() - 1;
    low += smooth * (white - low);
    lower += 0.2 * (low - lower);
    const at = i / rate;
    const motors = engines.reduce((sum, engine) => {
      const { pitch, gain } = engine.way(at);
      engine.phase += (engine.hertz * (1 + (engine.drift * at) / seconds) * pitch) / rate;
      let own = 0;
      for (let k = 1; k <= 10; k++) own += Math.sin(2 * Math.PI * k * engine.phase) / k ** engine.tilt;
      return sum + engine.gain * gain * own;
    }, 0);
    return 4 * lower + hiss * (white * 0.1 + low) + 0.3 * motors;
  });
}

/** Hiss with drops. */
export function rain(seconds: number, random: Random): Float32Array {
  const count = Math.round(seconds * rate);
  const [drops, bright] = [between(random, 20, 400) / rate, between(random, 0.2, 0.9)];
  let [previous, ring] = [0, 0];
  return Float32Array.from({ length: count }, () => {
    const white = 2 * random() - 1;
    const high = white - bright * previous;
    previous = white;
    ring = random() < drops ? random() : 0.99 * ring;
    return 0.2 * high + 0.3 * ring * white;
  });
}

/** What has a pitch and is no siren: melodies, beeps, hums, and syllables. */
export function tonal(seconds: number, random: Random): Float32Array {
  const form = Math.floor(4 * random());
  const base = between(random, 110, 600);
  const pace = [between(random, 0.15, 0.6), between(random, 0.3, 1.2), 100, between(random, 0.12, 0.3)][form] ?? 1;
  const scale = [0, 2, 3, 5, 7, 8, 10, 12];
  const notes = Array.from({ length: 64 }, () => base * 2 ** ((scale[Math.floor(random() * scale.length)] ?? 0) / 12));
  return voice(random, seconds, (at) => {
    const note = Math.floor(at / pace);
    const within = at / pace - note;
    if (form === 0) return notes[note % 64] ?? base;
    if (form === 1) return within < 0.5 ? 2 * base : 0;
    if (form === 2) return base / 2;
    return within < 0.7 ? 90 + 0.3 * (notes[note % 64] ?? base) * (1 - 0.2 * within) : 0;
  });
}

export function powerOf(samples: Float32Array): number {
  return samples.reduce((sum, sample) => sum + sample * sample, 0) / Math.max(1, samples.length);
}

/** A signal in noise so many decibels below it, at a level (root mean square) that is given. */
export function mixAt(signal: Float32Array, noise: Float32Array, ratioDb: number, level: number): Float32Array {
  const [loud, soft] = [Math.sqrt(powerOf(signal)) + 1e-9, Math.sqrt(powerOf(noise)) + 1e-9];
  const gain = 10 ** (ratioDb / 20);
  const total = level / Math.sqrt(gain * gain + 1);
  return signal.map((sample, i) => Math.max(-1, Math.min(1, total * ((gain * sample) / loud + (noise[i] ?? 0) / soft))));
}

export function atLevel(samples: Float32Array, level: number): Float32Array {
  const gain = level / (Math.sqrt(powerOf(samples)) + 1e-9);
  return samples.map((sample) => Math.max(-1, Math.min(1, gain * sample)));
}
