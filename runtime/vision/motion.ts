/** When the detector may rest. Times are the frames' own capture times, milliseconds. */
export interface MotionGateSettings {
  enabled: boolean;
  cell_threshold: number;
  min_cells: number;
  hold_ms: number;
  full_pass_every_ms: number;
}

/**
 * Counts the cells of a small grey picture that left a slowly learned background. A change of the whole picture's
 * brightness (a lamp, the camera's exposure) is subtracted first; what stays in place becomes background.
 */
export class MotionDetector {
  /** Share of the difference that the background takes over each frame: a still object is background after about 2 s at 25/s. */
  static readonly learningRate = 0.05;
  #background: Float32Array | undefined;

  /** Number of cells that differ by more than `threshold` grey levels; all of them for the first picture or a new size. */
  update(cells: Uint8Array, threshold: number): number {
    const background = this.#background;
    if (background?.length !== cells.length) {
      this.#background = Float32Array.from(cells);
      return cells.length;
    }
    let shift = 0;
    for (let i = 0; i < cells.length; i++) shift += (cells[i] ?? 0) - (background[i] ?? 0);
    shift /= cells.length;
    let changed = 0;
    for (let i = 0; i < cells.length; i++) {
      const difference = (cells[i] ?? 0) - (background[i] ?? 0);
      if (Math.abs(difference - shift) > threshold) changed++;
      background[i] = (background[i] ?? 0) + difference * MotionDetector.learningRate;
    }
    return changed;
  }
}

/**
 * The pixel gate before the detector: open while something moves, for a hold time after the last motion or the last face
 * (somebody who stands still must not vanish), and for one frame every full-pass interval whatever it sees.
 */
export class MotionGate {
  readonly #settings: MotionGateSettings;
  #lastActivityMs = -Infinity;
  #lastPassMs = -Infinity;

  constructor(settings: MotionGateSettings) {
    this.#settings = settings;
  }

  get enabled(): boolean {
    return this.#settings.enabled;
  }

  /** Whether the detector should run on the frame of `nowMs` in which `changedCells` cells moved. */
  decide(changedCells: number, nowMs: number): boolean {
    const { enabled, min_cells, hold_ms, full_pass_every_ms } = this.#settings;
    if (changedCells >= min_cells) this.#lastActivityMs = nowMs;
    const open = !enabled || nowMs - this.#lastActivityMs <= hold_ms || nowMs - this.#lastPassMs >= full_pass_every_ms;
    if (open) this.#lastPassMs = nowMs;
    return open;
  }

  /** The detector found faces in the frame of `nowMs`. */
  sawFace(nowMs: number): void {
    this.#lastActivityMs = nowMs;
  }
}
