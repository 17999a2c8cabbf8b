import type { Bands } from '../../kernels/binding/audio.js';
import type { FeatureDefinition, MelDefinition } from './definition.js';

type Scale = MelDefinition['scale'];

/** 2595 log10(x) = 2595 / ln(10) * ln(x); Kaldi writes 1127.0, HTK 2595 log10: the triangles are the same, since only ratios of mels matter. */
const htkFactor = 2595 / Math.LN10;
const linearStep = 200 / 3;
const logStart = 1000;
const logStep = Math.log(6.4) / 27;

/** Mels of a frequency in hertz. `htk`: O'Shaughnessy, as HTK and Kaldi compute it. `slaney`: Slaney's Auditory Toolbox, 1998. */
export function melOf(hz: number, scale: Scale): number {
  if (scale === 'htk') return htkFactor * Math.log1p(hz / 700);
  return hz < logStart ? hz / linearStep : logStart / linearStep + Math.log(hz / logStart) / logStep;
}

export function hzOf(mel: number, scale: Scale): number {
  if (scale === 'htk') return 700 * Math.expm1(mel / htkFactor);
  const start = logStart / linearStep;
  return mel < start ? mel * linearStep : logStart * Math.exp(logStep * (mel - start));
}

/** Triangles over the bins of a Fourier transform, one row for each band, dense: [bands][points / 2 + 1]. */
export function melMatrix(mel: MelDefinition, { rate, points }: Pick<FeatureDefinition, 'rate' | 'points'>): Float64Array[] {
  const { bands, scale, triangles, norm } = mel;
  const [low, high] = [melOf(mel.low_hz, scale), melOf(mel.high_hz, scale)];
  const inMels = Array.from({ length: bands + 2 }, (_, i) => low + ((high - low) * i) / (bands + 1));
  const corners = triangles === 'mel' ? inMels : inMels.map((value) => hzOf(value, scale));
  const place = (bin: number): number => {
    const hz = (bin * rate) / points;
    return triangles === 'mel' ? melOf(hz, scale) : hz;
  };
  const places = Float64Array.from({ length: points / 2 + 1 }, (_, bin) => place(bin));
  return Array.from({ length: bands }, (_, m) => {
    const [left = 0, centre = 0, right = 0] = corners.slice(m, m + 3);
    const height = norm === 'slaney' ? 2 / (hzOf(inMels[m + 2] ?? 0, scale) - hzOf(inMels[m] ?? 0, scale)) : 1;
    return places.map((at) => height * Math.max(0, Math.min((at - left) / (centre - left), (right - at) / (right - centre))));
  });
}

/** The rows of a matrix without the zeros around them. */
export function sparse(matrix: readonly Float64Array[]): Bands {
  const spans = matrix.map((row) => {
    const first = row.findIndex((value) => value !== 0);
    return first < 0 ? { first: 0, weights: row.subarray(0, 0) } : { first, weights: row.subarray(first, row.findLastIndex((value) => value !== 0) + 1) };
  });
  return {
    first: Uint32Array.from(spans, ({ first }) => first),
    length: Uint32Array.from(spans, ({ weights }) => weights.length),
    weights: Float32Array.from(spans.flatMap(({ weights }) => [...weights])),
  };
}
