import { cosineSimilarity } from '../../../runtime/vision/embedding.js';

/** How well embeddings tell whether two pictures show the same person. */
export interface Verification {
  /** Share of the pairs of one person that are accepted at the threshold. */
  readonly accepted: number;
  /** Area under the receiver's curve. */
  readonly area: number;
  /** Cosine above which a pair is accepted: at most 1 % of the pairs of two people are. */
  readonly threshold: number;
  readonly same_pairs: number;
  readonly other_pairs: number;
}

/** Of the pairs of two people that may be accepted. */
export const falseAccepts = 0.01;

/** Cosines of pairs of one person, and of two. */
export interface Pairs {
  readonly same: readonly number[];
  readonly other: readonly number[];
}

/** Share of the pairs of two values in which that of `same` is above that of `other`; equal ones count half. */
function areaOf(same: readonly number[], other: Float64Array): number {
  const count = (isBelow: (value: number) => boolean): number => {
    let [low, high] = [0, other.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBelow(other[middle] ?? 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const wins = same.reduce((sum, value) => sum + (count((than) => than < value) + count((than) => than <= value)) / 2, 0);
  return wins / Math.max(1, same.length * other.length);
}

/** @returns null where there are no pairs of one kind */
export function verify({ same, other }: Pairs): Verification | null {
  if (same.length === 0 || other.length === 0) return null;
  const sorted = Float64Array.from(other).sort();
  // Pairs above it are accepted, and those that are equal are not: so never more than the share.
  const threshold = sorted[sorted.length - 1 - Math.floor(falseAccepts * sorted.length)] ?? 1;
  return { accepted: same.filter((cosine) => cosine > threshold).length / same.length, area: areaOf(same, sorted), threshold, same_pairs: same.length, other_pairs: other.length };
}

/** All pairs of two pictures among the embeddings of one model. */
export function pairsOf(embeddings: readonly Float32Array[], people: readonly string[]): Pairs {
  const pairs: { same: number[]; other: number[] } = { same: [], other: [] };
  embeddings.forEach((a, i) => embeddings.slice(0, i).forEach((b, j) => pairs[people[i] === people[j] ? 'same' : 'other'].push(cosineSimilarity(a, b))));
  return pairs;
}

/** All pairs of a picture that one model embeds and another picture that the other does: probes of a student against a gallery that its teacher has filled. */
export function crossPairsOf(probes: readonly Float32Array[], gallery: readonly Float32Array[], people: readonly string[]): Pairs {
  const pairs: { same: number[]; other: number[] } = { same: [], other: [] };
  probes.forEach((a, i) => gallery.forEach((b, j) => {
    if (i !== j) pairs[people[i] === people[j] ? 'same' : 'other'].push(cosineSimilarity(a, b));
  }));
  return pairs;
}
