import type { Detection } from '../../stages/finding.js';
import { overlapOf } from '../nms.js';

/** Boxes of a label that overlap by this much are the same thing in two frames. */
const sameThing = 0.3;

export const isSame = (a: Pick<Detection, 'box' | 'label'>, b: Pick<Detection, 'box' | 'label'>): boolean => a.label === b.label && overlapOf(a.box, b.box) >= sameThing;

/** Those of `found` that none of `known` is. */
export function newAmong<T extends Pick<Detection, 'box' | 'label'>>(found: readonly T[], known: readonly Pick<Detection, 'box' | 'label'>[]): T[] {
  return found.filter((one) => !known.some((other) => isSame(one, other)));
}
