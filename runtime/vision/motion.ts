import type { Image } from '../frame.js';
import type { CellMask, MotionCells } from './pixels.js';

/** When the detector may rest. Times are those of the frames, milliseconds. */
export interface MotionGateSettings {
  enabled: boolean;
  min_cells: number;
  hold_ms: number;
  repeat_ms: number;
  full_pass_every_ms: number;
}

/**
 * The pixel gate before the detector: open while something moves, and for a hold time after the last motion or the last
 * finding (somebody who stands still must not vanish), but not for a picture that the detector has seen already: while
 * nothing has changed since its last look, it looks again only every repeat interval. One frame passes every full-pass
 * interval whatever the gate sees.
 */
export class MotionGate {
  readonly #settings: MotionGateSettings;
  #lastActivityMs = -Infinity;
  #lastPassMs = -Infinity;

  constructor(settings: MotionGateSettings) {
    this.#settings = settings;
  }

  /**
   * Whether the detector should run on the frame of `nowMs`.
   * @param changedCells cells that differ from the background
   * @param newCells counts the cells that differ from the last frame that ran; asked only when that matters
   */
  decide(changedCells: number, nowMs: number, newCells: () => number = () => Infinity): boolean {
    const { enabled, min_cells, hold_ms, repeat_ms, full_pass_every_ms } = this.#settings;
    if (changedCells >= min_cells) this.#lastActivityMs = nowMs;
    const sincePassMs = nowMs - this.#lastPassMs;
    const active = nowMs - this.#lastActivityMs <= hold_ms;
    const open = !enabled || sincePassMs >= full_pass_every_ms || (active && (sincePassMs >= repeat_ms || newCells() >= min_cells));
    if (open) this.#lastPassMs = nowMs;
    return open;
  }

  /** The detector found something in the frame of `nowMs`. */
  sawFinding(nowMs: number): void {
    this.#lastActivityMs = nowMs;
  }
}

/** The cells of the last picture that the detector looked at. */
export class LookedCells {
  #cells = new Uint8Array(0);

  /**
   * Number of `cells` that differ from those by more than `threshold` grey levels, after the whole picture's change of brightness is taken out; all of
   * them when the picture has another size.
   */
  changed(cells: Uint8Array, threshold: number): number {
    const before = this.#cells;
    if (before.length !== cells.length) return cells.length;
    let total = 0;
    for (let i = 0; i < cells.length; i++) total += (cells[i] ?? 0) - (before[i] ?? 0);
    const shift = total / Math.max(1, cells.length);
    let count = 0;
    for (let i = 0; i < cells.length; i++) if (Math.abs((cells[i] ?? 0) - (before[i] ?? 0) - shift) > threshold) count++;
    return count;
  }

  /** Takes the cells of a picture that the detector looks at. */
  keep(cells: Uint8Array): void {
    if (this.#cells.length === cells.length) this.#cells.set(cells);
    else this.#cells = cells.slice();
  }
}

/** The pixel gate with what it sees: pictures go in, decisions come out. */
export class PixelGate {
  readonly #enabled: boolean;
  readonly #threshold: number;
  readonly #gate: MotionGate;
  readonly #grid: MotionCells;
  readonly #looked = new LookedCells();

  constructor(settings: MotionGateSettings & { cell_threshold: number }, grid: MotionCells) {
    this.#enabled = settings.enabled;
    this.#threshold = settings.cell_threshold;
    this.#gate = new MotionGate(settings);
    this.#grid = grid;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** The cells that differed from the background in the last picture; overwritten by the next one. */
  get mask(): CellMask {
    return this.#grid.mask;
  }

  /** Whether the detector should look at the picture of `nowMs`. `factor`: of the threshold; below 1 is stricter. */
  opensFor(image: Image, nowMs: number, factor = 1): boolean {
    const [grid, threshold] = [this.#grid, this.#threshold * factor];
    const open = this.#gate.decide(grid.update(image, threshold), nowMs, () => this.#looked.changed(grid.cells, threshold));
    if (open) this.#looked.keep(grid.cells);
    return open;
  }

  /** The detector found something in the picture of `nowMs`. */
  sawFinding(nowMs: number): void {
    this.#gate.sawFinding(nowMs);
  }
}
