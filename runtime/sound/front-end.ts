/** From the definition of features to the numbers that the native front end takes. */
import { FrontEnd } from '../../kernels/binding/audio.js';
import type { FrontEndConfig } from '../../kernels/binding/audio.js';
import type { Isa } from '../../kernels/binding/index.js';
import { featuresOf } from './definition.js';
import type { FeatureDefinition } from './definition.js';
import { melMatrix, sparse } from './mel.js';

/** Codes in which a quantized model takes its input: value = (code - zero_point) * scale. */
export interface FeatureCodes {
  type: 'int8' | 'uint8';
  scale: number;
  zero_point: number;
}

/**
 * An extractor whose ring holds `rows` rows.
 * @throws KernelError E_ARGUMENT, E_NATIVE_MISSING
 */
export function createFrontEnd(definition: FeatureDefinition, rows: number, options: { codes?: FeatureCodes | undefined; isa?: Isa | undefined } = {}): FrontEnd {
  return new FrontEnd({ ...frontEndConfig(definition, options.codes), ...(options.isa === undefined ? {} : { isa: options.isa }) }, rows);
}

export function frontEndConfig(definition: FeatureDefinition, codes?: FeatureCodes): FrontEndConfig {
  const { hop, points, padding, frame, gain, remove_mean: removeMean, preemphasis, spectrum, mel, normalize } = definition;
  return {
    hop, points, padding, removeMean, preemphasis, magnitude: spectrum === 'magnitude',
    window: Float32Array.from(windowOf(definition.window, frame), (value) => value * gain),
    bands: sparse(melMatrix(mel, definition)),
    compression: compressionOf(definition),
    ...(definition.cepstrum === undefined ? {} : { cosines: cosinesOf(definition.cepstrum, mel.bands) }),
    ...(normalize === undefined ? {} : { normalize: normalizationOf(normalize, featuresOf(definition)) }),
    ...(codes === undefined ? {} : { codes: { type: codes.type, scale: codes.scale, zeroPoint: codes.zero_point } }),
  };
}

/** A window of `size` samples (definition.ts says which is which). */
export function windowOf(name: FeatureDefinition['window'], size: number): Float64Array {
  const period = name === 'hann' || name === 'hamming' ? size : Math.max(1, size - 1);
  const wave = (i: number): number => Math.cos((2 * Math.PI * i) / period);
  const value = {
    hann: (i: number) => 0.5 - 0.5 * wave(i),
    'hann-symmetric': (i: number) => 0.5 - 0.5 * wave(i),
    hamming: (i: number) => 0.54 - 0.46 * wave(i),
    'hamming-symmetric': (i: number) => 0.54 - 0.46 * wave(i),
    povey: (i: number) => (0.5 - 0.5 * wave(i)) ** 0.85,
    rectangular: () => 1,
  }[name];
  return Float64Array.from({ length: size }, (_, i) => value(i));
}

function compressionOf({ compression }: FeatureDefinition): FrontEndConfig['compression'] {
  if (compression.type !== 'log') return compression;
  const { floor, offset, factor, shift } = compression;
  return { type: 'log', floor, offset, scale: factor, shift };
}

/** Orthonormal DCT II with the lifter folded in, row-major [coefficients][bands]. */
function cosinesOf({ coefficients, lifter, lifter_first: first }: NonNullable<FeatureDefinition['cepstrum']>, bands: number): Float32Array {
  return Float32Array.from({ length: coefficients * bands }, (_, i) => {
    const [k, m] = [Math.floor(i / bands), i % bands];
    const lift = lifter === 0 ? 1 : 1 + (lifter / 2) * Math.sin((Math.PI * (k + first)) / lifter);
    return lift * Math.sqrt((k === 0 ? 1 : 2) / bands) * Math.cos((Math.PI * k * (2 * m + 1)) / (2 * bands));
  });
}

function normalizationOf({ mean, std }: NonNullable<FeatureDefinition['normalize']>, features: number): { mean: Float32Array; factor: Float32Array } {
  const each = (values: readonly number[]): Float32Array => Float32Array.from({ length: features }, (_, i) => values[values.length === 1 ? 0 : i] ?? 0);
  return { mean: each(mean), factor: each(std).map((value) => 1 / value) };
}
