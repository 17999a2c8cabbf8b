/** When the detector may rest. Times are those of the frames, milliseconds. */
export interface MotionGateSettings {
  enabled: boolean;
  min_cells: number;
  hold_ms: number;
  full_pass_every_ms: number;
}

/**
 * The pixel gate before the detector: open while something moves, for a hold time after the last motion or the last
 * finding (somebody who stands still must not vanish), and for one frame every full-pass interval whatever it sees.
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

  /** The detector found something in the frame of `nowMs`. */
  sawFinding(nowMs: number): void {
    this.#lastActivityMs = nowMs;
  }
}
