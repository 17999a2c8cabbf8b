/**
 * Base-2 exponential histograms (OpenTelemetry data model, "ExponentialHistogram"): bucket i of scale s holds the
 * values in (base^i, base^(i+1)] with base = 2^(2^-s). At scale 5 the middle of a bucket is within 1.1 % of every
 * value in it, and two histograms merge by adding counts: a fleet's p99 is a real p99.
 */
import { z } from 'zod';
import { count } from './codec.js';

export const HISTOGRAM_SCALE = 5;
const BUCKETS_PER_OCTAVE = 2 ** HISTOGRAM_SCALE;
/** Values at or below count as zero: a nanosecond, when the unit is the millisecond. */
export const ZERO_THRESHOLD = 1e-6;
/** 2^30 ms is 12 days; larger values fall into the last bucket and `max` tells the truth. */
const MAX_INDEX = 30 * BUCKETS_PER_OCTAVE - 1;
const MIN_INDEX = bucketIndex(ZERO_THRESHOLD);
const MAX_BUCKETS = MAX_INDEX - MIN_INDEX + 1;

export const histogramSchema = z.object({
  scale: z.literal(HISTOGRAM_SCALE),
  count,
  sum: z.number().nonnegative(),
  /** Exact minimum of the values, independent of buckets; 0 if there are none. */
  min: z.number().nonnegative(),
  max: z.number().nonnegative(),
  zero_count: count,
  positive: z.object({
    /** Index of the first bucket. */
    offset: z.number().int().min(MIN_INDEX).max(MAX_INDEX),
    bucket_counts: z.array(count).max(MAX_BUCKETS),
  }),
}).refine((h) => h.zero_count + h.positive.bucket_counts.reduce((a, b) => a + b, 0) === h.count, {
  message: 'count is not the sum of the buckets',
});
export type HistogramData = z.infer<typeof histogramSchema>;

/** Index of the bucket of a positive value. */
export function bucketIndex(value: number): number {
  return Math.ceil(Math.log2(value) * BUCKETS_PER_OCTAVE) - 1;
}

/** The bucket's middle in the sense of relative error: between lower and upper bound, equally far from both in ratio. */
function bucketMiddle(index: number): number {
  return 2 ** ((index + 0.5) / BUCKETS_PER_OCTAVE);
}

/** A histogram under construction. Values are non-negative; NaN, negative and infinite ones are ignored by contract of the caller. */
export class Histogram {
  #counts = new Map<number, number>();
  #count = 0;
  #sum = 0;
  #min = Infinity;
  #max = 0;
  #zeros = 0;

  static from(data: HistogramData): Histogram {
    const histogram = new Histogram();
    histogram.merge(data);
    return histogram;
  }

  get count(): number {
    return this.#count;
  }

  /** Record a value `times` times. @throws RangeError for a negative or non-finite value: that is a bug of the caller */
  record(value: number, times = 1): void {
    if (!(value >= 0) || !Number.isFinite(value)) throw new RangeError(`Expected a non-negative finite number but received ${value}`);
    this.#count += times;
    this.#sum += value * times;
    this.#min = Math.min(this.#min, value);
    this.#max = Math.max(this.#max, value);
    if (value <= ZERO_THRESHOLD) this.#zeros += times;
    else this.#add(Math.min(Math.max(bucketIndex(value), MIN_INDEX), MAX_INDEX), times);
  }

  merge(other: HistogramData): void {
    if (other.count === 0) return;
    this.#count += other.count;
    this.#sum += other.sum;
    this.#min = Math.min(this.#min, other.min);
    this.#max = Math.max(this.#max, other.max);
    this.#zeros += other.zero_count;
    other.positive.bucket_counts.forEach((n, i) => { if (n > 0) this.#add(other.positive.offset + i, n); });
  }

  #add(index: number, times: number): void {
    this.#counts.set(index, (this.#counts.get(index) ?? 0) + times);
  }

  toData(): HistogramData {
    const indices = [...this.#counts.keys()];
    const offset = indices.length === 0 ? 0 : Math.min(...indices);
    const buckets = indices.length === 0 ? [] : new Array<number>(Math.max(...indices) - offset + 1).fill(0);
    for (const [index, n] of this.#counts) buckets[index - offset] = n;
    return {
      scale: HISTOGRAM_SCALE,
      count: this.#count,
      sum: this.#sum,
      min: this.#count === 0 ? 0 : this.#min,
      max: this.#max,
      zero_count: this.#zeros,
      positive: { offset, bucket_counts: buckets },
    };
  }
}

/** All values of both, exactly. */
export function mergeHistograms(a: HistogramData, b: HistogramData): HistogramData {
  const merged = Histogram.from(a);
  merged.merge(b);
  return merged.toData();
}

/**
 * The q-quantile (0..1), nearest rank, within 1.1 % of a value that was recorded, and within [min, max].
 * Null when the histogram is empty.
 */
export function quantile(histogram: HistogramData, q: number): number | null {
  if (histogram.count === 0) return null;
  const rank = Math.max(1, Math.ceil(Math.min(Math.max(q, 0), 1) * histogram.count));
  let seen = histogram.zero_count;
  if (rank <= seen) return histogram.min;
  for (const [i, n] of histogram.positive.bucket_counts.entries()) {
    seen += n;
    if (rank <= seen) return Math.min(Math.max(bucketMiddle(histogram.positive.offset + i), histogram.min), histogram.max);
  }
  return histogram.max;
}
