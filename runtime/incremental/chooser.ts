import { cellGrid, greyCells, type CellMask, type ImageView } from '../../kernels/binding/image.js';

/** Which parts of a picture a detector computes anew. */
export interface ChooserSettings {
  /** A cell has changed when its mean grey differs by more than this from what it was last computed from, grey levels of 0..255. */
  threshold: number;
  /** How far around a changed cell cells are computed too, in cells. */
  dilation: number;
  /** Every so many frames everything is computed. */
  fullEvery: number;
  /** Everything is computed when a larger share of the cells would be. */
  fullShare: number;
}

/** Pixels a cell side. */
const cellSide = 8;

/** Sets the cells within `distance` of a set one, along one axis: `lines` of `length` cells, `step` apart, `next` from line to line. */
function spread(from: Uint8Array, to: Uint8Array, distance: number, [lines, length, next, step]: readonly [number, number, number, number]): void {
  for (let line = 0; line < lines; line++) {
    let done = 0; // cells of the line before this one need no setting any more
    for (let i = 0; i < length; i++) {
      if (from[line * next + i * step] === 0) continue;
      const end = Math.min(i + distance + 1, length);
      for (let k = Math.max(done, i - distance); k < end; k++) to[line * next + k * step] = 1;
      done = end;
    }
  }
}

/** The cells within `distance` of a set one, in rows and columns: a square around each. */
export function dilate(cells: Uint8Array, { width, height }: { width: number; height: number }, distance: number): Uint8Array {
  const [across, both] = [new Uint8Array(cells.length), new Uint8Array(cells.length)];
  spread(cells, across, distance, [height, width, width, 1]);
  spread(across, both, distance, [width, height, 1, width]);
  return both;
}

/**
 * Chooses the cells of a picture that have changed since they were last computed. Each cell is compared with the value that it was computed from,
 * not with a running background, which would absorb slow change: whatever has been computed is never further from the picture than the threshold.
 */
export class CellChooser {
  readonly #settings: ChooserSettings;
  /** What each cell was last computed from; empty: nothing was. */
  #computed = new Uint8Array(0);
  #grid = { width: 0, height: 0 };
  #sinceFull = 0;

  constructor(settings: ChooserSettings) {
    this.#settings = settings;
  }

  /** What was computed is lost: the next picture is computed in full. */
  forget(): void {
    this.#computed = new Uint8Array(0);
  }

  /**
   * The cells to compute of a picture, which are then taken as computed; null: all of it.
   * @param factor multiplies the threshold: above 1 less is computed
   * @throws KernelError E_ARGUMENT
   */
  choose(picture: ImageView, factor = 1): CellMask | null {
    const grid = cellGrid(picture, cellSide);
    const cells = new Uint8Array(grid.width * grid.height);
    if (cells.length > 0) greyCells(picture, cellSide, cells);
    const mask = this.#compare(cells, grid, this.#settings.threshold * factor);
    if (mask === null) {
      this.#computed = cells;
      this.#grid = grid;
      this.#sinceFull = 0;
    }
    return mask;
  }

  #compare(cells: Uint8Array, grid: { width: number; height: number }, threshold: number): CellMask | null {
    const { dilation, fullEvery, fullShare } = this.#settings;
    const computed = this.#computed;
    if (computed.length === 0 || grid.width !== this.#grid.width || grid.height !== this.#grid.height || ++this.#sinceFull >= fullEvery) return null;
    const changed = new Uint8Array(cells.length);
    for (let i = 0; i < cells.length; i++) changed[i] = Math.abs((cells[i] ?? 0) - (computed[i] ?? 0)) > threshold ? 1 : 0;
    const active = dilate(changed, grid, dilation);
    let count = 0;
    for (let i = 0; i < active.length; i++) count += active[i] ?? 0;
    if (count > fullShare * active.length) return null;
    const bits = new Uint8Array(Math.ceil(active.length / 8));
    for (let i = 0; i < active.length; i++) {
      if (active[i] === 0) continue;
      bits[i >> 3] = (bits[i >> 3] ?? 0) | (1 << (i & 7));
      computed[i] = cells[i] ?? 0;
    }
    return { ...grid, bits };
  }
}
