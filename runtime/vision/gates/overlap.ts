import type { Detection } from '../../stages/finding.js';

/** Intersection over union of two boxes x, y, width, height. */
export function overlap([ax, ay, aw, ah]: Detection['box'], [bx, by, bw, bh]: Detection['box']): number {
  const width = Math.min(ax + aw, bx + bw) - Math.max(ax, bx);
  const height = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  if (width <= 0 || height <= 0) return 0;
  return (width * height) / (aw * ah + bw * bh - width * height);
}

/** Boxes of a label that overlap by this much are the same thing in two frames. */
const sameThing = 0.3;

export const isSame = (a: Pick<Detection, 'box' | 'label'>, b: Pick<Detection, 'box' | 'label'>): boolean => a.label === b.label && overlap(a.box, b.box) >= sameThing;

/** Those of `found` that none of `known` is. */
export function newAmong<T extends Pick<Detection, 'box' | 'label'>>(found: readonly T[], known: readonly Pick<Detection, 'box' | 'label'>[]): T[] {
  return found.filter((one) => !known.some((other) => isSame(one, other)));
}
