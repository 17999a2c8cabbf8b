import { intersectionOverUnion } from '../../runtime/vision/nms.js';

/** A box that was found, or one that is there: then its score means nothing. */
export interface ScoredBox {
  /** Number of the picture. */
  image: number;
  label: number;
  score: number;
  /** x1, y1, x2, y2 as shares of the picture. */
  corners: readonly [number, number, number, number];
}

/** A box counts as found when it overlaps the real one by this much. */
const leastOverlap = 0.5;

/** Area that two boxes share, as a share of the area that they cover together. */
export const overlap = (a: Pick<ScoredBox, 'corners'>, b: Pick<ScoredBox, 'corners'>): number => intersectionOverUnion(Float32Array.from([...a.corners, ...b.corners]), 0, 1);

/** Whether each found box, best score first, hits a real one that no better box has hit. */
function hitsOf(found: readonly ScoredBox[], truth: readonly ScoredBox[]): boolean[] {
  const taken = new Set<ScoredBox>();
  const byImage = new Map<number, ScoredBox[]>();
  for (const box of truth) byImage.set(box.image, [...(byImage.get(box.image) ?? []), box]);
  return [...found].sort((a, b) => b.score - a.score).map((box) => {
    const candidates = (byImage.get(box.image) ?? []).filter((real) => !taken.has(real)).map((real) => ({ real, shared: overlap(real, box) }));
    const best = candidates.filter(({ shared }) => shared >= leastOverlap).sort((a, b) => b.shared - a.shared)[0];
    if (best !== undefined) taken.add(best.real);
    return best !== undefined;
  });
}

/** Area below the precision-recall curve of one class, precision made monotone (all points, as COCO's at many recalls). */
export function averagePrecision(found: readonly ScoredBox[], truth: readonly ScoredBox[]): number {
  const hits = hitsOf(found, truth);
  let [right, area, best] = [hits.filter(Boolean).length, 0, 0];
  for (let n = hits.length; n > 0; n--) {
    best = Math.max(best, right / n);
    if (hits[n - 1] !== true) continue;
    area += best / truth.length;
    right--;
  }
  return area;
}

/** AP at an overlap of one half: the mean over the classes that occur in the truth; NaN when none does. */
export function ap50(found: readonly ScoredBox[], truth: readonly ScoredBox[]): number {
  const labels = [...new Set(truth.map(({ label }) => label))];
  const of = (boxes: readonly ScoredBox[], label: number): ScoredBox[] => boxes.filter((box) => box.label === label);
  return labels.reduce((sum, label) => sum + averagePrecision(of(found, label), of(truth, label)), 0) / labels.length;
}
