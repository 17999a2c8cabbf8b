import type { Box } from '../stages/finding.js';

export interface NmsOptions {
  /** A box that overlaps a better one of its class by more than this (intersection over union) is dropped. */
  iouThreshold: number;
  maxDetections: number;
  /** Class of each box; without it all are of one class. */
  classes?: ArrayLike<number>;
}

/**
 * Greedy (hard) non-maximum suppression. Boxes are x1, y1, x2, y2. Returns the indices that stay, best score first; equal
 * scores keep their order, so the result does not depend on the sort.
 */
export function suppress(boxes: Float32Array, scores: Float32Array, options: NmsOptions): number[] {
  const { iouThreshold, maxDetections, classes } = options;
  const order = Array.from(scores.keys()).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
  const kept: number[] = [];
  for (const candidate of order) {
    if (kept.length === maxDetections) break;
    const covered = kept.some((better) => classes?.[better] === classes?.[candidate]
      && intersectionOverUnion(boxes, better, candidate) > iouThreshold);
    if (!covered) kept.push(candidate);
  }
  return kept;
}

export interface SoftNmsOptions {
  /** How slowly a score decays with the overlap: score * exp(-overlap^2 / sigma). */
  sigma: number;
  /** A box whose score decays below this is dropped. */
  scoreThreshold: number;
  maxDetections: number;
  classes?: ArrayLike<number>;
}

/** A box that stays, and its score then. */
export interface Kept {
  index: number;
  score: number;
}

/**
 * Soft non-maximum suppression: a box that overlaps better ones of its class loses score instead of vanishing, so neighbours in a crowd stay
 * (N. Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017, equation 3). Best score first; of equal scores the
 * first index.
 */
export function suppressSoftly(boxes: Float32Array, scores: Float32Array, options: SoftNmsOptions): Kept[] {
  const { sigma, scoreThreshold, maxDetections, classes } = options;
  const left = Array.from(scores, (score, index): Kept => ({ index, score })).filter(({ score }) => score >= scoreThreshold);
  const kept: Kept[] = [];
  while (left.length > 0 && kept.length < maxDetections) {
    const best = left.reduce((most, candidate) => (candidate.score > most.score || (candidate.score === most.score && candidate.index < most.index) ? candidate : most));
    kept.push(best);
    let stay = 0;
    for (const candidate of left) {
      if (candidate === best) continue;
      const overlap = classes?.[best.index] === classes?.[candidate.index] ? intersectionOverUnion(boxes, best.index, candidate.index) : 0;
      candidate.score *= Math.exp(-(overlap * overlap) / sigma);
      if (candidate.score >= scoreThreshold) left[stay++] = candidate;
    }
    left.length = stay;
  }
  return kept;
}

/** Intersection over union of two boxes x, y, width, height. */
export function overlapOf([ax, ay, aw, ah]: Box, [bx, by, bw, bh]: Box): number {
  return intersectionOverUnion([ax, ay, ax + aw, ay + ah, bx, by, bx + bw, by + bh], 0, 1);
}

/** Of boxes `a` and `b` in one array; 0 when they do not touch or have no area. */
export function intersectionOverUnion(boxes: ArrayLike<number>, a: number, b: number): number {
  const ax1 = boxes[a * 4] ?? 0, ay1 = boxes[a * 4 + 1] ?? 0, ax2 = boxes[a * 4 + 2] ?? 0, ay2 = boxes[a * 4 + 3] ?? 0;
  const bx1 = boxes[b * 4] ?? 0, by1 = boxes[b * 4 + 1] ?? 0, bx2 = boxes[b * 4 + 2] ?? 0, by2 = boxes[b * 4 + 3] ?? 0;
  const width = Math.min(ax2, bx2) - Math.max(ax1, bx1);
  const height = Math.min(ay2, by2) - Math.max(ay1, by1);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared);
}
