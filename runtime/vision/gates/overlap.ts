import type { Detection } from '../../stages/finding.js';

/** Intersection over union of two boxes x, y, width, height. */
export function overlap([ax, ay, aw, ah]: Detection['box'], [bx, by, bw, bh]: Detection['box']): number {
  const width = Math.min(ax + aw, bx + bw) - Math.max(ax, bx);
  const height = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  if (width <= 0 || height <= 0) return 0;
  return (width * height) / (aw * ah + bw * bh - width * height);
}
