import { createHash } from 'node:crypto';
import type { Feeds } from '../observe/calibrate.js';
import type { QuantizeWarning } from './warnings.js';

/** From so many samples on, their variety says something. */
const leastSamples = 8;

/** Independent directions, as a share of the samples, below which they are called alike: pictures of different things have a third and more. */
const leastShare = 0.15;

/** All numbers that a sample feeds. */
function vectorOf(feeds: Feeds): Float64Array {
  const tensors = Object.keys(feeds).sort().map((name) => feeds[name]?.data ?? []);
  const vector = new Float64Array(tensors.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const data of tensors) for (let i = 0; i < data.length; i++) vector[at++] = Number(data[i]);
  return vector;
}

/**
 * Along how many independent directions samples differ: the participation ratio of the variances, (sum of eigenvalues) squared over the sum of their
 * squares. It is one less than the number of samples where each differs from all others alike, and 1 for two pictures of which all others are mixtures.
 * Null: samples differ in size, or not at all.
 */
export function independentDirections(samples: readonly Feeds[]): number | null {
  return directionsOf(samples.map(vectorOf));
}

/** @param vectors of the samples; their means are taken out of them */
function directionsOf(vectors: readonly Float64Array[]): number | null {
  const [first] = vectors;
  if (first === undefined || vectors.some(({ length }) => length !== first.length)) return null;
  for (let i = 0; i < first.length; i++) {
    const mean = vectors.reduce((sum, vector) => sum + (vector[i] ?? 0), 0) / vectors.length;
    for (const vector of vectors) vector[i] = (vector[i] ?? 0) - mean;
  }
  let [trace, squares] = [0, 0];
  vectors.forEach((a, row) => vectors.slice(row).forEach((b, further) => {
    const product = a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
    if (further === 0) trace += product;
    squares += (further === 0 ? 1 : 2) * product * product;
  }));
  return squares > 0 ? (trace * trace) / squares : null;
}

/**
 * Warns of calibration data that show little of what the model will see: samples that occur again and again, or differ in a few ways only, as the frames of
 * one scene do. Ranges, and all choices, then fit these alone.
 * @param samples some of them, evenly spread over all
 */
export function narrowWarnings(samples: readonly Feeds[]): QuantizeWarning[] {
  if (samples.length < leastSamples) return [];
  const vectors = samples.map(vectorOf);
  const distinct = new Set(vectors.map((vector) => createHash('sha256').update(vector).digest('hex'))).size;
  const advice = 'add samples of other scenes, people or recordings';
  if (distinct <= samples.length / 2) return [{ kind: 'narrow_data', message: `Of ${samples.length} calibration samples, only ${distinct} ${distinct === 1 ? 'is' : 'are'} different; ${advice}` }];
  const directions = directionsOf(vectors);
  if (directions === null || directions >= leastShare * samples.length) return [];
  return [{ kind: 'narrow_data', message: `The calibration samples are much alike: ${samples.length} of them differ along ${directions.toFixed(1)} independent directions; ${advice}` }];
}
