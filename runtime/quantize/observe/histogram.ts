/** Bins on each side of zero. 4096 of them put an 8-bit step of the full range across at least 8 bins. */
const binsPerSide = 4096;

/**
 * Streaming histogram of one value over all calibration samples, in bounded memory. Zero is always a bin edge and the
 * width of a bin a power of two, so that the range can double by merging pairs of bins and histograms can be added.
 */
export class Histogram {
  /** Bins of [0, limit) outwards from zero, and of (-limit, 0). */
  #positive: Float64Array = new Float64Array(binsPerSide);
  #negative: Float64Array = new Float64Array(binsPerSide);
  /** Exact zeros apart: they are most of a ReLU's output, and quantization makes no error on them. */
  #zeros = 0;
  #binWidth = 0;
  #min = Infinity;
  #max = -Infinity;
  #count = 0;

  /** @param keepsBins false: only count, smallest and largest value are kept, which is much faster */
  constructor(private readonly keepsBins = true) {}

  get count(): number {
    return this.#count;
  }

  /** Smallest value seen; Infinity when empty. */
  get min(): number {
    return this.#min;
  }

  /** Largest value seen; -Infinity when empty. */
  get max(): number {
    return this.#max;
  }

  /** Adds values; returns false, having added nothing, when one of them is NaN or infinite. */
  add(values: Float32Array): boolean {
    let min = this.#min;
    let max = this.#max;
    let sum = 0;
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? 0;
      if (value < min) min = value;
      if (value > max) max = value;
      sum += Math.abs(value);
    }
    // float32 magnitudes cannot overflow a double sum, so it is finite exactly when every value is.
    if (!Number.isFinite(sum)) return false;
    if (values.length === 0) return true;
    this.#min = min;
    this.#max = max;
    this.#count += values.length;
    if (!this.keepsBins) return true;
    this.#grow(Math.max(-min, max));
    if (this.#binWidth > 0) this.#fill(values);
    else this.#zeros += values.length;
    return true;
  }

  #fill(values: Float32Array): void {
    const scale = 1 / this.#binWidth;
    const positive = this.#positive;
    const negative = this.#negative;
    let zeros = 0;
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? 0;
      if (value === 0) {
        zeros++;
      } else if (value > 0) {
        const bin = Math.min(Math.floor(value * scale), binsPerSide - 1);
        positive[bin] = (positive[bin] ?? 0) + 1;
      } else {
        const bin = Math.min(Math.floor(-value * scale), binsPerSide - 1);
        negative[bin] = (negative[bin] ?? 0) + 1;
      }
    }
    this.#zeros += zeros;
  }

  /** Makes magnitudes up to `magnitude` fit. */
  #grow(magnitude: number): void {
    if (magnitude === 0 || magnitude <= this.#binWidth * binsPerSide) return;
    const width = 2 ** Math.ceil(Math.log2(magnitude / binsPerSide));
    if (this.#binWidth === 0) {
      this.#binWidth = width;
      return;
    }
    const factor = width / this.#binWidth;
    this.#positive = mergeBins(this.#positive, factor);
    this.#negative = mergeBins(this.#negative, factor);
    this.#binWidth = width;
  }

  /** Adds everything that `other` has seen. Both keep bins, or neither does. */
  merge(other: Histogram): void {
    if (other.#count === 0) return;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
    this.#count += other.#count;
    if (!this.keepsBins) return;
    this.#grow(Math.max(-other.#min, other.#max));
    for (const { value, count } of other.bins()) {
      if (value === 0) {
        this.#zeros += count;
        continue;
      }
      const side = value < 0 ? this.#negative : this.#positive;
      const bin = Math.min(Math.floor(Math.abs(value) / this.#binWidth), binsPerSide - 1);
      side[bin] = (side[bin] ?? 0) + count;
    }
  }

  /** Bins that are not empty, from the most negative up, zero being one of its own; `value` is the centre, kept within what was seen. */
  *bins(): Generator<{ value: number; count: number }> {
    for (let bin = binsPerSide - 1; bin >= 0; bin--) {
      const count = this.#negative[bin] ?? 0;
      if (count > 0) yield { value: Math.max(this.#min, -(bin + 0.5) * this.#binWidth), count };
    }
    if (this.#zeros > 0) yield { value: 0, count: this.#zeros };
    for (let bin = 0; bin < binsPerSide; bin++) {
      const count = this.#positive[bin] ?? 0;
      if (count > 0) yield { value: Math.min(this.#max, (bin + 0.5) * this.#binWidth), count };
    }
  }
}

function mergeBins(bins: Float64Array, factor: number): Float64Array {
  const merged = new Float64Array(bins.length);
  bins.forEach((count, bin) => {
    const target = Math.floor(bin / factor);
    merged[target] = (merged[target] ?? 0) + count;
  });
  return merged;
}
