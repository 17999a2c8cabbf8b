import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import { aNumber, checkOptions, type OptionKinds } from '../options.js';
import { cosineSimilarity, meanDirection } from '../vision/embedding.js';
import type { Detection, Gallery, Person, Pipeline } from './types.js';

export interface EnrolmentOptions {
  /** Minimum detector score of a face. Default 0.8. */
  minScore?: number;
  /** Minimum length of the face's longer side, pixels. Default 48: the aligned crop of a smaller face is mostly interpolated. */
  minFacePx?: number;
  /** Number of samples to keep; those that differ most are kept. Default 12. */
  maxSamples?: number;
  /** A sample whose cosine to a kept sample reaches this value is a near-duplicate and is dropped. Default 0.95. */
  duplicateCosine?: number;
  /** Minimum mean cosine of a sample to the other samples; a sample below it probably shows another person. Default 0.3. */
  agreementCosine?: number;
  /** If the mean of the samples has this cosine to somebody else who is enrolled, it is the same face, and nobody is enrolled. Default 0.5; 2 allows it. */
  samePersonCosine?: number;
}

export type SkipReason = 'no face' | 'several faces' | 'unsure' | 'too small' | 'somebody else';

export interface Enrolment {
  person: Person;
  pictures: number;
  /** Number of pictures that could not be used, by reason; near-duplicates are usable and do not count. */
  skipped: Partial<Record<SkipReason, number>>;
}

const defaults = { minScore: 0.8, minFacePx: 48, maxSamples: 12, duplicateCosine: 0.95, agreementCosine: 0.3, samePersonCosine: 0.5 } as const;

const enrolmentOptionKinds: OptionKinds<Required<EnrolmentOptions>> = {
  minScore: aNumber, minFacePx: aNumber, maxSamples: aNumber, duplicateCosine: aNumber, agreementCosine: aNumber, samePersonCosine: aNumber,
};

/** A second face of more than this share of the first one's area makes it unclear who is meant. */
const rivalArea = 0.5;

/**
 * Enrols a person from pictures: checks each picture, drops those that disagree with the others, and keeps the few
 * samples that differ most (views from several sides are worth more than many alike).
 * @throws RuntimeError E_OPTION; E_GALLERY when no picture is usable, with the reasons; E_GALLERY_DUPLICATE when the face is enrolled under
 *   another name
 */
export async function enrolPictures(
  pipeline: Pipeline, gallery: Gallery, name: string, pictures: AsyncIterable<Image> | Iterable<Image>, options: EnrolmentOptions = {},
): Promise<Enrolment> {
  checkOptions('enrolPictures', options, enrolmentOptionKinds);
  const settings = { ...defaults, ...options };
  const space = pipeline.embeddingSpaceId;
  if (space === null) throw new RuntimeError('E_GALLERY', `The pipeline ${pipeline.name} ${pipeline.version} embeds nothing, so nobody can be enrolled`);
  const skipped: Partial<Record<SkipReason, number>> = {};
  const skip = (reason: SkipReason): void => { skipped[reason] = (skipped[reason] ?? 0) + 1; };
  const samples: Float32Array[] = [];
  let count = 0;
  for await (const picture of pictures) {
    count++;
    const faces = await pipeline.embed(picture);
    const reason = unusable(faces.map((face) => face.detection), settings);
    const embedding = faces[0]?.embedding;
    if (reason !== null || embedding === undefined) skip(reason ?? 'no face');
    else samples.push(embedding);
  }
  const agreeing = samples.filter((sample) => agrees(sample, samples, settings.agreementCosine));
  for (let i = agreeing.length; i < samples.length; i++) skip('somebody else');
  if (agreeing.length === 0) {
    const reasons = Object.entries(skipped).map(([reason, times]) => `${reason} (${times})`).join(', ') || 'no pictures given';
    throw new RuntimeError('E_GALLERY', `No picture of ${name} is usable: ${reasons}`, { details: { name, pictures: count, skipped } });
  }
  refuseSecondName({ gallery, space, name: name.trim() }, agreeing, settings.samePersonCosine);
  return { person: gallery.enrol(name, selectDiverse(agreeing, settings), space), pictures: count, skipped };
}

/** One face under two names would be recognized as neither: whoever comes resembles both. */
function refuseSecondName({ gallery, space, name }: { gallery: Gallery; space: string; name: string }, samples: readonly Float32Array[], samePersonCosine: number): void {
  const mean = meanDirection(samples);
  const other = mean === null ? undefined : gallery.nearest(mean, space, 2).find((person) => person.name !== name);
  if (other === undefined || other.similarity < samePersonCosine) return;
  throw new RuntimeError('E_GALLERY_DUPLICATE', `The face of ${name} is enrolled as ${other.name} already (cosine ${other.similarity.toFixed(2)}): remove ${other.name} first, or enroll the pictures under that name`, { details: { name, enrolledAs: other } });
}

/** Why a picture with these faces, largest first, cannot be used; null when it can. */
function unusable([largest, rival]: readonly Detection[], { minScore, minFacePx }: Required<EnrolmentOptions>): SkipReason | null {
  if (largest === undefined) return 'no face';
  if (rival !== undefined && areaOf(rival) > areaOf(largest) * rivalArea) return 'several faces';
  if (largest.score < minScore) return 'unsure';
  return Math.max(largest.box[2], largest.box[3]) < minFacePx ? 'too small' : null;
}

/** One or two samples cannot be judged: they agree. */
function agrees(sample: Float32Array, samples: readonly Float32Array[], threshold: number): boolean {
  if (samples.length < 3) return true;
  const sum = samples.reduce((total, other) => total + (other === sample ? 0 : cosineSimilarity(sample, other)), 0);
  return sum / (samples.length - 1) >= threshold;
}

/**
 * Farthest-point selection: starts with the most typical sample, then always takes the one that is least like those taken,
 * until there are enough or the rest are near-duplicates.
 */
export function selectDiverse(samples: readonly Float32Array[], options: { maxSamples: number; duplicateCosine: number }): Float32Array[] {
  const nearest = samples.map(() => -Infinity);
  const taken: Float32Array[] = [];
  let next = indexOfSmallest(samples.map((sample) => -samples.reduce((sum, other) => sum + cosineSimilarity(sample, other), 0)));
  while (taken.length < Math.min(options.maxSamples, samples.length)) {
    const sample = samples[next];
    if (sample === undefined || (nearest[next] ?? 1) >= options.duplicateCosine) break;
    taken.push(sample);
    samples.forEach((other, i) => { nearest[i] = Math.max(nearest[i] ?? 0, other === sample ? 1 : cosineSimilarity(other, sample)); });
    next = indexOfSmallest(nearest);
  }
  return taken;
}

function indexOfSmallest(values: readonly number[]): number {
  return values.reduce((best, value, i) => (value < (values[best] ?? Infinity) ? i : best), 0);
}

function areaOf({ box: [, , width, height] }: Detection): number {
  return width * height;
}
