import type { CellMask } from '../../kernels/binding/index.js';

/** The cells of either mask; undefined stands for all of a picture, and so does the union of masks over different grids. */
function union(a: CellMask | undefined, b: CellMask | undefined): CellMask | undefined {
  if (a === undefined || b === undefined || a.width !== b.width || a.height !== b.height) return undefined;
  return { ...a, bits: a.bits.map((byte, i) => byte | (b.bits[i] ?? 0)) };
}

/** Cells of a picture that the first part of a program has computed and the second has not, because runs stopped in between. */
export class MissedCells {
  /** Null: none. */
  #missed: { cells: CellMask | undefined } | null = { cells: undefined };

  /** The first part has computed these; undefined: all. */
  add(cells: CellMask | undefined): void {
    const own = cells === undefined ? undefined : { ...cells, bits: cells.bits.slice() };
    this.#missed = { cells: this.#missed === null ? own : union(this.#missed.cells, own) };
  }

  /** What the second part has to compute, which it then has; undefined: all. */
  take(): CellMask | undefined {
    const cells = this.#missed?.cells;
    this.#missed = null;
    return cells;
  }
}
