import type { CellMask } from './addon.js';

export type { CellMask };

/** A mask that outlives the next frame of the grid that it came from. */
export const copyOfMask = ({ width, height, bits }: CellMask): CellMask => ({ width, height, bits: bits.slice() });

/** The bits of `count` active cells. */
export function everyCell(count: number): Uint8Array {
  const bits = new Uint8Array((count + 7) >> 3).fill(0xff);
  if ((count & 7) !== 0) bits[bits.length - 1] = (1 << (count & 7)) - 1;
  return bits;
}
