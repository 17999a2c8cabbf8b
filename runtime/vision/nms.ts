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

/** Of boxes `a` and `b` in one array; 0 when they do not touch or have no area. */
export function intersectionOverUnion(boxes: Float32Array, a: number, b: number): number {
  const ax1 = boxes[a * 4] ?? 0, ay1 = boxes[a * 4 + 1] ?? 0, ax2 = boxes[a * 4 + 2] ?? 0, ay2 = boxes[a * 4 + 3] ?? 0;
  const bx1 = boxes[b * 4] ?? 0, by1 = boxes[b * 4 + 1] ?? 0, bx2 = boxes[b * 4 + 2] ?? 0, by2 = boxes[b * 4 + 3] ?? 0;
  const width = Math.min(ax2, bx2) - Math.max(ax1, bx1);
  const height = Math.min(ay2, by2) - Math.max(ay1, by1);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared);
}
