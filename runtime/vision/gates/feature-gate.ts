import { FeatureGrid, type FeatureView } from '../../../kernels/binding/feature-grid.js';
import { copyOfMask, type CellMask } from '../../../kernels/binding/cell-mask.js';
import type { SplitRun } from '../../session-types.js';
import type { Detection } from '../../stages/finding.js';
import type { Tensor } from '../../tensor.js';
import type { FitTransform } from '../decoders/candidates.js';
import { isSame } from './overlap.js';
import type { FeatureGateSettings } from './settings.js';

/** Cells that left their background; a test brings its own. */
export interface FeatureCells {
  update(map: FeatureView, threshold: number): number;
  readonly mask: CellMask;
}

/** A box that is being found again and again, and when it was last. */
interface Kept {
  box: Detection['box'];
  label: string;
  lastMs: number;
}

/** Largest value of a float map that the whole numbers of the gate hold: a quarter more than the first map had. */
const headroom = 1.25;

/**
 * The gate on a detector's features: closed while no cell leaves the learned background. When it is open, boxes without an active
 * cell are kept only if they continue one that was there before. A frame that runs because of time alone keeps all its boxes.
 */
export class FeatureGate {
  readonly #settings: FeatureGateSettings;
  readonly #cells: FeatureCells;
  #kept: Kept[] = [];
  #lastPassMs = -Infinity;
  #scale: number | undefined;

  constructor(settings: FeatureGateSettings, cells: FeatureCells = gridFor(settings)) {
    this.#settings = settings;
    this.#cells = cells;
  }

  /** Whether the detector goes on with the features of the frame of `nowMs`. `factor`: of the threshold; below 1 is stricter. */
  decide(features: FeatureView, nowMs: number, factor = 1): { open: boolean; due: boolean; mask: CellMask } {
    const active = this.#cells.update(features, this.#settings.threshold * factor);
    const due = nowMs - this.#lastPassMs >= this.#settings.full_pass_every_ms;
    const open = active > 0 || due;
    if (open) this.#lastPassMs = nowMs;
    return { open, due, mask: copyOfMask(this.#cells.mask) };
  }

  /** The boxes that stay, of what the detector found in the frame of `nowMs`; `toMap`: where in the map a point of the frame lies. */
  keep<T extends { detection: Detection }>(found: readonly T[], { mask, due, nowMs, toMap }: { mask: CellMask; due: boolean; nowMs: number; toMap: CellOf }): T[] {
    const alive = this.#kept.filter(({ lastMs }) => nowMs - lastMs <= this.#settings.track_ms);
    const stays = found.filter(({ detection }) => due || touches(detection.box, mask, toMap) || alive.some((track) => isSame(track, detection)));
    const gone = alive.filter((track) => !stays.some(({ detection }) => isSame(track, detection)));
    this.#kept = [...stays.map(({ detection: { box, label } }) => ({ box, label, lastMs: nowMs })), ...gone];
    return stays;
  }

  /** A feature map as the gate reads it. Float maps become bytes on a scale that the first one sets. */
  viewOf({ features: { dims }, zeroPoint }: Pick<SplitRun, 'features' | 'zeroPoint'>, { data }: Tensor): FeatureView {
    const [, height = 1, width = 1, channels = 1] = dims;
    if (data instanceof Uint8Array || data instanceof Int8Array) return { width, height, channels, data, zeroPoint };
    const floats = data as Float32Array;
    this.#scale ??= 127 / (headroom * (floats.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1));
    const bytes = new Int8Array(floats.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.max(-127, Math.min(127, Math.round((floats[i] ?? 0) * this.#scale)));
    return { width, height, channels, data: bytes, zeroPoint: 0 };
  }
}

/** Where in the map a point of the frame lies, as shares of the map's width and height. */
export type CellOf = (x: number, y: number) => readonly [number, number];

/** From pixels of the frame to shares of the detector's input, which its feature maps cover too. */
export function cellOf(fit: FitTransform, { width, height }: { width: number; height: number }): CellOf {
  return (x, y) => [(x / fit.scaleX + fit.offsetX) / width, (y / fit.scaleY + fit.offsetY) / height];
}

function gridFor({ learning_shift, patience_frames, renewal_share }: FeatureGateSettings): FeatureGrid {
  return new FeatureGrid({ shift: learning_shift, patience: patience_frames, renewal: renewal_share });
}

/** Whether a box covers an active cell, if only in part. */
function touches([x, y, w, h]: Detection['box'], { width, height, bits }: CellMask, toMap: CellOf): boolean {
  const [left, top] = toMap(x, y);
  const [right, bottom] = toMap(x + w, y + h);
  const columns = range(left, right, width);
  for (const row of range(top, bottom, height)) for (const column of columns) if (isActive(bits, row * width + column)) return true;
  return false;
}

const isActive = (bits: Uint8Array, cell: number): boolean => ((bits[cell >> 3] ?? 0) & (1 << (cell & 7))) !== 0;

/** The cells of an axis that a part of it covers, at least one. */
function range(from: number, to: number, cells: number): number[] {
  const at = (share: number): number => Math.max(0, Math.min(cells - 1, Math.floor(share * cells)));
  const first = at(from);
  return Array.from({ length: at(to) - first + 1 }, (_, i) => first + i);
}
