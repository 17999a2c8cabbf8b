/** Which numbers a value takes on this device, in bounded memory, and which grid represents them best. */
import { noise } from '../noise.js';
import type { Range } from '../quantize/ranges/range.js';
import { bounds } from './apply.js';
import type { Grid, ThresholdGroup } from './thresholds.js';

/** So many numbers of each group of values are kept. */
const keptNumbers = 8192;

/** A fair sample of all numbers that were seen (Vitter's algorithm R), and their extremes. */
export class SeenNumbers {
  readonly #kept = new Float32Array(keptNumbers);
  readonly #random: () => number;
  #count = 0;
  #least = 0;
  #most = 0;

  constructor(seed: number) {
    this.#random = noise(seed + 1);
  }

  /** Adds numbers; extremes may lie outside of them. */
  add(numbers: Float32Array, { min, max }: Range): void {
    this.#least = Math.min(this.#least, min);
    this.#most = Math.max(this.#most, max);
    for (const number of numbers) {
      const at = this.#count < keptNumbers ? this.#count : Math.floor((this.#random() / 2 ** 32) * (this.#count + 1));
      if (at < keptNumbers) this.#kept[at] = number;
      this.#count++;
    }
  }

  get numbers(): Float32Array {
    return this.#kept.subarray(0, Math.min(this.#count, keptNumbers));
  }

  /** Smallest and largest number; zero is always among them. */
  get range(): Range {
    return { min: this.#least, max: this.#most };
  }
}

/** Mean squared error of numbers on a grid; numbers beyond the limits count as the limits, because nothing tells them apart. */
function errorOf(numbers: Float32Array, { scale, zeroPoint }: Grid, lowest: number, limits: Range): number {
  let error = 0;
  for (const seen of numbers) {
    const number = seen < limits.min ? limits.min : seen > limits.max ? limits.max : seen;
    const code = Math.min(Math.max(Math.round(number / scale) + zeroPoint, lowest), lowest + 255);
    error += (number - (code - zeroPoint) * scale) ** 2;
  }
  return error / Math.max(1, numbers.length);
}

export const everything: Range = { min: -Infinity, max: Infinity };
const factors = Array.from({ length: 33 }, (_, i) => 2 ** ((i - 16) / 16));

/** Whole zero-points around `middle`, within the codes and the bounds. */
const around = ({ zeroPoint, lowest, shifts }: ThresholdGroup, middle: number, reach: number, step: number): number[] => {
  if (!shifts) return [zeroPoint];
  const offsets = Array.from({ length: 2 * Math.floor(reach / step) + 1 }, (_, i) => (i - Math.floor(reach / step)) * step);
  return offsets.map((offset) => middle + offset).filter((zero) => zero >= lowest && zero <= lowest + 255 && Math.abs(zero - zeroPoint) <= bounds.codes);
};

export interface Choice extends Grid {
  /** Mean squared error of the values with this grid, and with that of the package. */
  readonly error: number;
  readonly before: number;
}

/** The grid within the bounds with the least mean squared error. Of equal ones the package's own wins. */
export function leastError(group: ThresholdGroup, seen: SeenNumbers, limits: Range = everything): Choice {
  const numbers = seen.numbers;
  const before = errorOf(numbers, group, group.lowest, limits);
  let best: Choice = { scale: group.scale, zeroPoint: group.zeroPoint, error: before, before };
  const consider = (factor: number, zeroPoint: number): void => {
    const scale = Math.fround(group.scale * factor);
    const error = errorOf(numbers, { scale, zeroPoint }, group.lowest, limits);
    if (error < best.error) best = { scale, zeroPoint, error, before };
  };
  // With every second number of codes first; a grid that is a little off has a little more error, so that the finer search begins near the best.
  for (const factor of factors) for (const zero of around(group, group.zeroPoint, bounds.codes, 16)) consider(factor, zero);
  const [coarse, middle] = [best.scale / group.scale, best.zeroPoint];
  for (const nearby of factors.filter((factor) => Math.abs(Math.log2(factor / coarse)) < 0.2)) for (const zero of around(group, middle, 16, 2)) consider(nearby, zero);
  return best;
}

/** The grid within the bounds that just holds everything that was seen. */
export function wholeRange(group: ThresholdGroup, seen: SeenNumbers, limits: Range = everything): Choice {
  const numbers = seen.numbers;
  const before = errorOf(numbers, group, group.lowest, limits);
  const [min, max] = [Math.max(seen.range.min, limits.min), Math.min(seen.range.max, limits.max)];
  const [below, above] = [group.zeroPoint - group.lowest, group.lowest + 255 - group.zeroPoint];
  // An end on which there are no codes limits nothing: nothing can be held there.
  const codes = group.shifts ? max - min : 255 * Math.max(above === 0 ? 0 : max / above, below === 0 ? 0 : -min / below);
  const factor = Math.min(Math.max(codes / 255 / group.scale, bounds.factor[0]), bounds.factor[1]);
  const scale = Math.fround(group.scale * factor);
  const wanted = group.shifts ? Math.round(group.lowest - min / scale) : group.zeroPoint;
  const zeroPoint = Math.min(Math.max(wanted, group.zeroPoint - bounds.codes, group.lowest), group.zeroPoint + bounds.codes, group.lowest + 255);
  return { scale, zeroPoint, error: errorOf(numbers, { scale, zeroPoint }, group.lowest, limits), before };
}
