/** Sound from nothing: sirens, horns and what they drown in. Everything follows from the generator, so that a recipe and its measure can be repeated. */

export const rate = 16_000;

export type Random = () => number;

export const sirenKinds = ['wail', 'yelp', 'hi-lo'] as const;
export type SirenKind = (typeof sirenKinds)[number];
/** Kinds that no student learns from: they show what it makes of a siren that it does not know. */
export const strangerKinds = ['phaser', 'motor', 'three-tone'] as const;
export type StrangerKind = (typeof strangerKinds)[number];
/** A car's horn has two discs, an air horn one pipe; both are steady tones, which sirens are not. */
export const hornKinds = ['car-horn', 'air-horn'] as const;
export type HornKind = (typeof hornKinds)[number];

export const between = (random: Random, low: number, high: number): number => low + (high - low) * random();

/** Pitch at each moment, hertz; 0 while there is silence. */
export type Pitch = (seconds: number) => number;

/** Pitch of a siren. Ranges: SAE J1849 for wail and yelp, two tones a third to a fifth apart for hi-lo. */
function pitchOf(kind: SirenKind | StrangerKind, random: Random): Pitch {
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
    case 'phaser': {
      const [low, high, period] = [between(random, 500, 800), between(random, 1300, 1800), between(random, 0.07, 0.12)];
      return (seconds) => high * (low / high) ** ((seconds / period + phase) % 1);
    }
    case 'motor': {
      // A motor that winds up and runs down, as it does in old sirens: the pitch nears its ends ever more slowly.
      const [high, period] = [between(random, 500, 900), between(random, 4, 8)];
      return (seconds) => {
        const at = (seconds / period + phase) % 1;
        const rest = at < 0.5 ? 1 - Math.exp(-8 * at) : Math.exp(-3 * (at - 0.5));
        return high * (0.35 + 0.65 * rest);
      };
    }
    case 'three-tone': {
      const low = between(random, 380, 600);
      const steps = [1, between(random, 1.15, 1.3), between(random, 1.35, 1.6)];
      const hold = between(random, 0.3, 0.6);
      return (seconds) => low * (steps[Math.floor(seconds / hold + 3 * phase) % 3] ?? 1);
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
export function voice(random: Random, seconds: number, pitch: Pitch): Float32Array {
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
    return gain * Math.tanh(drive * harmonics(phase, heights, Math.floor(rate / 2.2 / (hertz * shift))));
  });
}

/** Sum of so many harmonics of a phase: sin((k + 1) x) = 2 cos(x) sin(k x) - sin((k - 1) x), which takes two calls for all of them. */
function harmonics(phase: number, heights: readonly number[], most: number): number {
  const twice = 2 * Math.cos(phase);
  let [before, wave, sum] = [0, Math.sin(phase), 0];
  for (let k = 0; k < heights.length && k < most; k++) {
    sum += (heights[k] ?? 0) * wave;
    [before, wave] = [wave, twice * wave - before];
  }
  return sum;
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

const placed = (dry: Float32Array, random: Random): Float32Array => (random() < 0.7 ? reverberate(dry, random) : dry);

export function siren(kind: SirenKind | StrangerKind, seconds: number, random: Random): Float32Array {
  return placed(voice(random, seconds, pitchOf(kind, random)), random);
}

/** Sounds for a while, then rests. */
export function bursts(pitch: number, { sounds, rests, phase }: { sounds: number; rests: number; phase: number }): Pitch {
  return (at) => ((at + phase * sounds) % (sounds + rests) < sounds ? pitch : 0);
}

/** Horns in bursts: an air horn has one pitch, a car's horn two that are a third apart. */
export function horn(kind: HornKind, seconds: number, random: Random): Float32Array {
  if (kind === 'air-horn') {
    const rhythm = { sounds: between(random, 0.4, 2), rests: between(random, 0, 0.4), phase: random() };
    return placed(voice(random, seconds, bursts(between(random, 250, 480), rhythm)), random);
  }
  const low = between(random, 340, 440);
  const rhythm = { sounds: between(random, 0.25, 1.5), rests: between(random, 0.1, 0.8), phase: random() };
  const [a, b] = [voice(random, seconds, bursts(low, rhythm)), voice(random, seconds, bursts(low * between(random, 1.18, 1.3), rhythm))];
  return placed(a.map((sample, i) => sample + (b[i] ?? 0)), random);
}

const heightsOf = (tilt: number): number[] => Array.from({ length: 10 }, (_, i) => 1 / (i + 1) ** tilt);

/** Road noise: rolling tyres, engines with their harmonics, cars that pass. */
export function traffic(seconds: number, random: Random): Float32Array {
  const count = Math.round(seconds * rate);
  const [smooth, hiss] = [between(random, 0.01, 0.08), between(random, 0.02, 0.3)];
  const engines = Array.from({ length: 1 + Math.floor(3 * random()) }, () => ({
    hertz: between(random, 25, 110), gain: between(random, 0.05, 0.5), drift: between(random, -0.1, 0.2), phase: random(), way: passing(random, seconds), heights: heightsOf(between(random, 0.7, 1.5)),
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
      return sum + engine.gain * gain * harmonics(2 * Math.PI * engine.phase, engine.heights, 10);
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
