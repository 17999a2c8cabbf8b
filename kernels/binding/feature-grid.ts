import { everyCell, type CellMask } from './cell-mask.js';
import { KernelError } from './errors.js';
import { loadAddon } from './load.js';

/** A feature map [1, H, W, C]: bytes as a model stores them, and the value that stands for 0. */
export interface FeatureView {
  width: number;
  height: number;
  channels: number;
  data: Uint8Array | Int8Array;
  zeroPoint: number;
}

export interface FeatureGridOptions {
  /** The background takes over 2^-shift of the difference each frame, 1..7. Default 4. */
  shift?: number;
  /** A cell that has been active for more than so many frames in a row becomes background, 0..255. Default 10. */
  patience?: number;
  /** When more than this share of the cells are active, the whole frame becomes the background. Default 0.8. */
  renewal?: number;
}

/** More channels than this could overflow the kernel's sums. */
const maxChannels = 1 << 15;

/**
 * A gate over the feature map of a network: a cell is active when its direction differs from that of a learned background.
 * All sums are of whole numbers and equal on every CPU (kernels/families/cell_cosine).
 */
export class FeatureGrid {
  readonly #shift: number;
  readonly #patience: number;
  readonly #renewal: number;
  #background = new Int16Array(0);
  #streaks = new Uint8Array(0);
  #mask: CellMask = { width: 0, height: 0, bits: new Uint8Array(0) };
  #size = '';

  constructor({ shift = 4, patience = 10, renewal = 0.8 }: FeatureGridOptions = {}) {
    const whole = (value: number, low: number, high: number): boolean => Number.isInteger(value) && value >= low && value <= high;
    if (!whole(shift, 1, 7)) throw expected('an integer of 1..7', 'shift', shift);
    if (!whole(patience, 0, 255)) throw expected('an integer of 0..255', 'patience', patience);
    if (!(renewal >= 0 && renewal <= 1)) throw expected('a number of 0..1', 'renewal', renewal);
    this.#shift = shift;
    this.#patience = patience;
    this.#renewal = renewal;
  }

  /** The cells that the last `update` counted; overwritten by the next one. */
  get mask(): CellMask {
    return this.#mask;
  }

  /** Forgets the background. */
  reset(): void {
    this.#size = '';
  }

  /**
   * Number of cells for which 1 - max(0, cosine with the background) is at least `threshold`, 0..1; all cells for the first map and when its
   * size changes. The background then learns where cells are quiet, and where they have been active for longer than `patience`.
   * @throws KernelError E_ARGUMENT
   */
  update(map: FeatureView, threshold: number): number {
    if (!(threshold >= 0 && threshold <= 1)) throw expected('a number of 0..1', 'threshold', threshold);
    const { width, height, channels, data, zeroPoint } = checked(map);
    const signed = data instanceof Int8Array;
    const bytes = signed ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : data;
    const zero = signed ? zeroPoint + 128 : zeroPoint;
    const { image } = loadAddon();
    const size = [width, height, channels, zero].join();
    if (size !== this.#size) {
      const cells = width * height;
      this.#background = new Int16Array(bytes.length);
      this.#streaks = new Uint8Array(cells);
      this.#mask = { width, height, bits: everyCell(cells) };
      image.learnBackground(bytes, channels, zero, signed, this.#background, this.#streaks);
      this.#size = size;
      return cells;
    }
    return image.featureGate(bytes, channels, zero, signed, this.#background, this.#streaks, this.#mask.bits, threshold, this.#shift, this.#patience, this.#renewal);
  }
}

function expected(what: string, argument: string, received: number | string): KernelError {
  return new KernelError('E_ARGUMENT', `Expected ${what} for ${argument} but received ${String(received)}`, { details: { argument } });
}

function checked(map: FeatureView): FeatureView {
  const { width, height, channels, data, zeroPoint } = map;
  const side = (value: number): boolean => Number.isInteger(value) && value >= 1;
  if (!side(width) || !side(height) || !side(channels) || channels > maxChannels) throw expected(`a map of up to ${maxChannels} channels`, 'the features', [height, width, channels].join(' x '));
  if (data.length !== width * height * channels) throw expected(`${width * height * channels} bytes`, 'the features', data.length);
  const low = data instanceof Int8Array ? -128 : 0;
  if (!Number.isInteger(zeroPoint) || zeroPoint < low || zeroPoint > low + 255) throw expected(`an integer of ${low}..${low + 255}`, 'zeroPoint', zeroPoint);
  return map;
}
