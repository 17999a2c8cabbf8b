/** What features of sound are made of, as data: it is part of a package's manifest, so that a device computes what the model was trained on. */
import { z } from 'zod';

/**
 * Windows over a frame of N samples. `hann` and `hamming` are periodic (their period is N, as SciPy, librosa and TensorFlow make them); the
 * symmetric ones, and `povey`, have the period N - 1, as Kaldi makes them.
 */
export const windowNames = ['hann', 'hamming', 'hann-symmetric', 'hamming-symmetric', 'povey', 'rectangular'] as const;

const positive = z.number().int().positive();

export const melDefinition = z.object({
  bands: positive.max(512),
  low_hz: z.number().min(0),
  high_hz: z.number().positive(),
  /** `htk`: 2595 log10(1 + f / 700), which Kaldi and TensorFlow use too. `slaney`: linear below 1000 Hz, librosa's default. */
  scale: z.enum(['htk', 'slaney']),
  /** Where the triangles are straight: over frequencies in hertz (librosa), or over mels (Kaldi, TensorFlow). */
  triangles: z.enum(['hz', 'mel']),
  /** `slaney`: each triangle has the area 1, librosa's default. `none`: each has the height 1. */
  norm: z.enum(['slaney', 'none']),
}).refine((mel) => mel.low_hz < mel.high_hz, { message: 'Expected low_hz below high_hz' });

export const compressionDefinition = z.discriminatedUnion('type', [
  z.object({ type: z.literal('none') }),
  /** factor * ln(max(x, floor) + offset) + shift */
  z.object({ type: z.literal('log'), floor: z.number().min(0), offset: z.number().min(0), factor: z.number().default(1), shift: z.number().default(0) })
    .refine((log) => log.floor + log.offset > 0, { message: 'Expected a floor or an offset above 0: silence has no logarithm' }),
  /** (x / (epsilon + M)^gain + bias)^power - bias^power; M is x smoothed over time from 1 on (Wang et al., "Trainable frontend", 2017; librosa.pcen). */
  z.object({
    type: z.literal('pcen'), smooth: z.number().gt(0).max(1), gain: z.number().min(0), bias: z.number().positive(), power: z.number().positive(), epsilon: z.number().positive(),
  }),
]);

export const cepstrumDefinition = z.object({
  /** Orthonormal cosine transform (DCT II) of the bands. */
  coefficients: positive.max(512),
  /** 0: none. Coefficient k is multiplied by 1 + lifter / 2 * sin(pi (k + lifter_first) / lifter); Kaldi begins at 0, librosa at 1. */
  lifter: z.number().min(0).default(0),
  lifter_first: z.union([z.literal(0), z.literal(1)]).default(0),
});

export const featureDefinition = z.object({
  /** Whose definition it is, for people. */
  after: z.string().min(1).max(64),
  /** Samples a second. */
  rate: positive.min(1000).max(192_000),
  /** Samples of a frame, of the distance between two, and of the Fourier transform. */
  frame: positive.max(8192),
  hop: positive.max(8192),
  points: positive.max(8192),
  /** Zeros before the first sample: frame / 2 centres frames on their times, as librosa does unless told otherwise. */
  padding: z.number().int().min(0).max(8192).default(0),
  window: z.enum(windowNames),
  /** Samples of -1..1 are multiplied by it; Kaldi wants 32768. */
  gain: z.number().positive().default(1),
  /** Before the window: takes out the mean of the frame; then x[i] -= preemphasis * x[i - 1]. */
  remove_mean: z.boolean().default(false),
  preemphasis: z.number().min(0).max(1).default(0),
  spectrum: z.enum(['power', 'magnitude']),
  mel: melDefinition,
  compression: compressionDefinition,
  cepstrum: cepstrumDefinition.optional(),
  /** (feature - mean) / std; one value for all features, or one for each. */
  normalize: z.object({ mean: z.array(z.number()).min(1).max(512), std: z.array(z.number().positive()).min(1).max(512) }).optional(),
}).superRefine((value, context) => {
  const problem = conflictOf(value);
  if (problem !== null) context.addIssue({ code: 'custom', message: problem });
});

export type FeatureDefinition = z.output<typeof featureDefinition>;
export type MelDefinition = z.output<typeof melDefinition>;

/** Values in a row of features. */
export const featuresOf = ({ mel, cepstrum }: Pick<FeatureDefinition, 'mel' | 'cepstrum'>): number => cepstrum?.coefficients ?? mel.bands;

function conflictOf({ points, frame, hop, rate, mel, cepstrum, normalize }: FeatureDefinition): string | null {
  if (points < 32 || (points & (points - 1)) !== 0) return `Expected a power of two of 32..8192 for points but received ${points}`;
  if (frame > points) return `Expected a frame of at most ${points} samples (points) but received ${frame}`;
  if (hop > frame) return `Expected a hop of at most ${frame} samples (frame) but received ${hop}`;
  if (mel.high_hz > rate / 2) return `Expected mel.high_hz up to ${rate / 2} (half of the rate) but received ${mel.high_hz}`;
  if (cepstrum !== undefined && cepstrum.coefficients > mel.bands) return `Expected at most ${mel.bands} coefficients (mel.bands) but received ${cepstrum.coefficients}`;
  const features = featuresOf({ mel, cepstrum });
  const wrong = Object.entries(normalize ?? {}).find(([, values]) => values.length !== 1 && values.length !== features);
  return wrong === undefined ? null : `Expected 1 or ${features} values for normalize.${wrong[0]} but received ${wrong[1].length}`;
}

/** Log of the power in mel bands, as `librosa.power_to_db(librosa.feature.melspectrogram(...), top_db=None)` makes it. */
export function librosaLogMel(settings: { rate: number; frame: number; hop: number; points: number; bands: number }): FeatureDefinition {
  const { rate, frame, hop, points, bands } = settings;
  return featureDefinition.parse({
    after: 'librosa', rate, frame, hop, points, window: 'hann', spectrum: 'power', padding: frame / 2,
    mel: { bands, low_hz: 0, high_hz: rate / 2, scale: 'slaney', triangles: 'hz', norm: 'slaney' },
    compression: { type: 'log', floor: 1e-10, offset: 0, factor: 10 / Math.LN10 },
  });
}

/** Kaldi's `compute-fbank-feats` with its defaults, without dither and energy: frames of 25 ms every 10 ms, from 20 Hz to half of the rate. */
export function kaldiFbank({ rate, bands }: { rate: number; bands: number }): FeatureDefinition {
  const frame = Math.floor(rate * 0.025);
  return featureDefinition.parse({
    after: 'kaldi', rate, frame, hop: Math.floor(rate * 0.01), points: 2 ** Math.ceil(Math.log2(frame)), window: 'povey', gain: 32_768,
    remove_mean: true, preemphasis: 0.97, spectrum: 'power',
    mel: { bands, low_hz: 20, high_hz: rate / 2, scale: 'htk', triangles: 'mel', norm: 'none' },
    compression: { type: 'log', floor: 2 ** -23, offset: 0 },
  });
}

/** Kaldi's `compute-mfcc-feats` with its defaults, without dither and energy. */
export function kaldiMfcc({ rate, bands = 23, coefficients = 13 }: { rate: number; bands?: number; coefficients?: number }): FeatureDefinition {
  return featureDefinition.parse({ ...kaldiFbank({ rate, bands }), cepstrum: { coefficients, lifter: 22, lifter_first: 0 } });
}
