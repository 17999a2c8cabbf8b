/** What has a pitch and is no siren: hard examples to learn from, and music. */
import { between, bursts, voice, type Pitch, type Random } from './synthesize.js';

/** Notes that follow each other: their pitches in hertz (0: a rest), how long each lasts, and what happens within one (0..1). */
function notes(random: Random, { pace, pitch, within }: { pace: number; pitch: () => number; within: (at: number, hertz: number) => number }): Pitch {
  const all = Array.from({ length: 64 }, pitch);
  const phase = random();
  return (seconds) => {
    const at = seconds / pace + phase;
    return within(at % 1, all[Math.floor(at) % all.length] ?? 0);
  };
}

/** Somebody sings: notes with vibrato. */
function singing(random: Random): Pitch {
  const [base, depth, speed] = [between(random, 130, 600), between(random, 0.01, 0.06), between(random, 4, 7)];
  const held = notes(random, { pace: between(random, 0.3, 2), pitch: () => base * 2 ** (Math.floor(13 * random()) / 12), within: (at, hertz) => (at < 0.9 ? hertz : 0) });
  return (at) => held(at) * (1 + depth * Math.sin(2 * Math.PI * speed * at));
}

/** Somebody whistles: short notes that glide. */
function whistling(random: Random): Pitch {
  const glide = between(random, -0.3, 0.3);
  return notes(random, { pace: between(random, 0.2, 0.7), pitch: () => between(random, 900, 3000), within: (at, hertz) => (at < 0.8 ? hertz * (1 + glide * at) : 0) });
}

/** Brakes: high, steady, falling a little. */
function squeal(random: Random): Pitch {
  const [hertz, fall] = [between(random, 1800, 5500), between(random, 0, 0.04)];
  const sounding = bursts(hertz, { sounds: between(random, 0.5, 3), rests: between(random, 0.2, 2), phase: random() });
  return (at) => sounding(at) * (1 - fall * at) * (1 + 0.004 * Math.sin(180 * at));
}

/** Birds: short sweeps. */
function chirps(random: Random): Pitch {
  const [width, share] = [between(random, -0.4, 0.6), between(random, 0.2, 0.7)];
  return notes(random, { pace: between(random, 0.1, 0.7), pitch: () => (random() < 0.3 ? 0 : between(random, 1500, 6000)), within: (at, hertz) => (at < share ? hertz * (1 + width * (at / share)) : 0) });
}

/** Sweeps that happen once and not in a rhythm: glissandos, motorcycles that change gear, voices that call. */
function slides(random: Random): Pitch {
  return notes(random, { pace: between(random, 0.2, 0.9), pitch: () => (random() < 0.4 ? 0 : between(random, 150, 1500)), within: (at, hertz) => (at < 0.8 ? hertz * (1 + (hertz % 1 - 0.4) * at) : 0) });
}

/** Arcs, as infants cry and cocks crow. */
function cries(random: Random): Pitch {
  const [top, height] = [between(random, 300, 1100), between(random, 0.1, 0.4)];
  return notes(random, { pace: between(random, 0.3, 1.5), pitch: () => top * between(random, 0.7, 1.2), within: (at, hertz) => (at < 0.7 ? hertz * (1 - height * (2 * at / 0.7 - 1) ** 2) : 0) });
}

/** Beeps of one pitch or two, as alarm clocks, smoke detectors and reversing lorries have them. */
function beeps(random: Random): Pitch {
  const [hertz, other] = [between(random, 900, 4000), random() < 0.5 ? 0 : between(random, 0.7, 1.4)];
  return notes(random, { pace: between(random, 0.1, 0.9), pitch: () => hertz, within: (at, pitch) => (at < 0.5 ? pitch : other * pitch) });
}

const forms = [singing, whistling, squeal, chirps, slides, cries, beeps];

/** Calls: one of the forms above. */
export function calls(seconds: number, random: Random): Float32Array {
  const form = forms[Math.floor(forms.length * random())] ?? singing;
  return voice(random, seconds, form(random));
}

/** Chords over a bass with a beat of noise. */
export function music(seconds: number, random: Random): Float32Array {
  const [base, pace] = [between(random, 110, 260), between(random, 0.25, 0.8)];
  const scale = [0, 2, 4, 5, 7, 9, 11, 12];
  const note = (): number => base * 2 ** ((scale[Math.floor(scale.length * random())] ?? 0) / 12);
  const voices = [0.5, 1, 2, 2.52].map((part) => voice(random, seconds, notes(random, { pace: part < 1 ? pace : pace * (1 + Math.floor(3 * random())), pitch: () => part * note(), within: (at, hertz) => (at < 0.92 ? hertz : 0) })));
  let beat = 0;
  return Float32Array.from({ length: voices[0]?.length ?? 0 }, (_, i) => {
    beat = (i / 16_000) % pace < 1 / 16_000 ? 1 : beat * 0.9994;
    return voices.reduce((sum, one) => sum + (one[i] ?? 0), 0) + 1.5 * beat * (2 * random() - 1);
  });
}
