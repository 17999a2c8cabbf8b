/**
 * Base-2 exponential histograms (OpenTelemetry data model, "ExponentialHistogram"): bucket i of scale s holds the
 * values in (base^i, base^(i+1)] with base = 2^(2^-s). At scale 5 the middle of a bucket is within 2^(1/64) - 1 = 1.09 % of
 * every value in it, and two histograms merge by adding counts: a fleet's p99 is a real p99 within that bound.
 */
import { z } from 'zod';
import { count } from './codec.js';

export const HISTOGRAM_SCALE = 5;
const BUCKETS_PER_OCTAVE = 2 ** HISTOGRAM_SCALE;
/** The largest relative error of `quantile`, of values above `ZERO_THRESHOLD`. */
export const QUANTILE_ERROR = 2 ** (0.5 / BUCKETS_PER_OCTAVE) - 1;
/** Values at or below count as zero: a nanosecond, when the unit is the millisecond. */
export const ZERO_THRESHOLD = 1e-6;
/** 2^30 ms is 12 days; larger values fall into the last bucket and `max` tells the truth. */
const MAX_INDEX = 30 * BUCKETS_PER_OCTAVE - 1;
const MIN_INDEX = bucketIndex(ZERO_THRESHOLD);
const MAX_BUCKETS = MAX_INDEX - MIN_INDEX + 1;

/** One character a bucket for counts up to 35, the digits of base 36; `(n)` for a larger count, and a capital letter for a run of empty buckets. */
const BUCKETS = /^(?:-?\d{1,5}:(?:\([1-9]\d{0,14}\)|[0-9a-zA-Z])+)?$/;
/** Values that a histogram holds at most: as many as `BUCKETS` can write for one bucket. */
const MOST_VALUES = 999_999_999_999_999;
/** Longer than any list: a bucket takes at most 17 characters. */
const MAX_BUCKET_TEXT = 8 + 17 * MAX_BUCKETS;
/** Empty buckets for which `A` stands; `Z` stands for 25 more. A single one is `0`. */
const SHORTEST_RUN = 2;
const LONGEST_RUN = SHORTEST_RUN + 25;
const [CODE_OF_0, CODE_OF_9, CODE_OF_A, CODE_OF_Z, CODE_OF_SMALL_A, CODE_OF_SMALL_Z] = [48, 57, 65, 90, 97, 122];

/** Most of a window are histograms, so their buckets are one short text. */
export const histogramSchema = z.object({
  sum: z.number().nonnegative(),
  /** Exact minimum of the values, independent of buckets; 0 if there are none. */
  min: z.number().nonnegative(),
  max: z.number().nonnegative(),
  /** Values of at most a nanosecond; absent: none. */
  zero_count: count.optional(),
  /**
   * `{index}:` of the first bucket, then the counts of it and of those that follow: a digit of base 36 (`0` to `9`, `a` to `z`) for up
   * to 35, `(n)` for more; a capital letter for a run of empty buckets, `A` for 2, `B` for 3, to `Z` for 27. Empty without a value
   * above a nanosecond. Bucket i holds the values in (2^(i/32), 2^((i+1)/32)].
   */
  buckets: z.string().max(MAX_BUCKET_TEXT).regex(BUCKETS),
}).check(({ value, issues }) => { // a refinement would make functions for each of the thousands of histograms that a collector reads in a second
  const problem = problemOf(value);
  if (problem !== null) issues.push({ code: 'custom', message: problem, input: value });
});
export type HistogramData = z.infer<typeof histogramSchema>;

/** Null for buckets within the range that hold a number of values which can be counted. */
function problemOf(histogram: HistogramData): string | null {
  let [least, most, count] = [MIN_INDEX, MAX_INDEX, histogram.zero_count ?? 0];
  eachBucket(histogram, (index, n) => {
    least = Math.min(least, index);
    most = Math.max(most, index);
    count += n;
  });
  if (least < MIN_INDEX || most > MAX_INDEX) return `buckets are outside of ${MIN_INDEX} to ${MAX_INDEX}`;
  return count <= MOST_VALUES ? null : 'the buckets hold too many values';
}

/** How many values it holds. It is not sent, because the buckets tell it. */
export function countOf(histogram: HistogramData): number {
  let count = histogram.zero_count ?? 0;
  eachBucket(histogram, (_, n) => { count += n; });
  return count;
}

/**
 * Calls `visit` for each bucket that is not empty, by ascending index. A window of ten stages has 300 buckets, and a collector reads a
 * thousand windows a second, so it looks at character codes. The schema calls it for text of any form, of which it skips what is no bucket.
 */
export function eachBucket({ buckets }: Pick<HistogramData, 'buckets'>, visit: (index: number, n: number) => void): void {
  const colon = buckets.indexOf(':');
  let index = Number(buckets.slice(0, Math.max(0, colon)));
  for (let at = colon + 1; at < buckets.length; at++) {
    const code = buckets.charCodeAt(at);
    if (code >= CODE_OF_0 && code <= CODE_OF_9) {
      if (code > CODE_OF_0) visit(index, code - CODE_OF_0);
      index += 1;
    } else if (code >= CODE_OF_SMALL_A && code <= CODE_OF_SMALL_Z) {
      visit(index, code - CODE_OF_SMALL_A + 10);
      index += 1;
    } else if (code >= CODE_OF_A && code <= CODE_OF_Z) {
      index += code - CODE_OF_A + SHORTEST_RUN;
    } else if (buckets[at] === '(') {
      const end = buckets.indexOf(')', at);
      if (end < 0) return;
      visit(index, Number(buckets.slice(at + 1, end)));
      index += 1;
      at = end;
    }
  }
}

/** Writes the text that `eachBucket` reads, from buckets by ascending index. */
class BucketWriter {
  text = '';
  #next = 0;

  add(index: number, n: number): void {
    this.text += (this.text === '' ? `${index}:` : emptyRun(index - this.#next)) + (n < 36 ? n.toString(36) : `(${n})`);
    this.#next = index + 1;
  }
}

function encodeBuckets(counts: ReadonlyMap<number, number>): string {
  const writer = new BucketWriter();
  for (const [index, n] of [...counts].sort(([a], [b]) => a - b)) writer.add(index, n);
  return writer.text;
}

function emptyRun(length: number): string {
  const long = Math.floor(length / LONGEST_RUN);
  const rest = length % LONGEST_RUN;
  const last = rest < SHORTEST_RUN ? '0'.repeat(rest) : String.fromCharCode(CODE_OF_A + rest - SHORTEST_RUN);
  return 'Z'.repeat(long) + last;
}

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

  /**
   * Adds all values of `other`, or none where both together are more than a histogram can hold: a device may state any numbers, and what a store keeps must
   * stay readable after them.
   */
  merge(other: HistogramData): void {
    const count = countOf(other);
    if (count === 0 || this.#count + count > MOST_VALUES) return;
    this.#count += count;
    this.#sum = Math.min(this.#sum + other.sum, Number.MAX_VALUE);
    this.#min = Math.min(this.#min, other.min);
    this.#max = Math.max(this.#max, other.max);
    this.#zeros += other.zero_count ?? 0;
    eachBucket(other, (index, n) => this.#add(index, n));
  }

  #add(index: number, times: number): void {
    this.#counts.set(index, (this.#counts.get(index) ?? 0) + times);
  }

  toData(): HistogramData {
    return {
      sum: this.#sum,
      min: this.#count === 0 ? 0 : this.#min,
      max: this.#max,
      ...(this.#zeros === 0 ? {} : { zero_count: this.#zeros }),
      buckets: encodeBuckets(this.#counts),
    };
  }
}

/** A histogram from the counts of its buckets, for stores that keep them one by one. `zeros`: values of at most a nanosecond. @throws ZodError for what is no histogram */
export function histogramFrom(counts: ReadonlyMap<number, number>, { sum, min, max, zeros }: { sum: number; min: number; max: number; zeros: number }): HistogramData {
  return histogramSchema.parse({ sum, min, max, ...(zeros === 0 ? {} : { zero_count: zeros }), buckets: encodeBuckets(counts) });
}

/** Counts of the buckets of two histograms while they are merged: a collector merges thousands a second, so this is no map. */
const scratch = new Float64Array(MAX_BUCKETS);

/** All values of both, exactly; of `a` alone where both together are more than a histogram can hold. @throws RangeError for a bucket that no valid histogram has */
export function mergeHistograms(a: HistogramData, b: HistogramData): HistogramData {
  const [countA, countB] = [countOf(a), countOf(b)];
  const counted = [...(countA === 0 ? [] : [a]), ...(countB === 0 || countA + countB > MOST_VALUES ? [] : [b])];
  let [sum, min, max, zeros, least, most] = [0, Infinity, 0, 0, Infinity, -1];
  scratch.fill(0);
  for (const one of counted) {
    sum = Math.min(sum + one.sum, Number.MAX_VALUE);
    min = Math.min(min, one.min);
    max = Math.max(max, one.max);
    zeros += one.zero_count ?? 0;
    eachBucket(one, (index, n) => {
      if (!(index >= MIN_INDEX && index <= MAX_INDEX)) throw new RangeError(`Expected a bucket from ${MIN_INDEX} to ${MAX_INDEX} but received ${index}`);
      const at = index - MIN_INDEX;
      scratch[at] = (scratch[at] ?? 0) + n;
      least = Math.min(least, at);
      most = Math.max(most, at);
    });
  }
  const writer = new BucketWriter();
  for (let at = least; at <= most; at++) {
    const n = scratch[at] ?? 0;
    if (n > 0) writer.add(at + MIN_INDEX, n);
  }
  return { sum, min: counted.length === 0 ? 0 : min, max, ...(zeros === 0 ? {} : { zero_count: zeros }), buckets: writer.text };
}

/**
 * The q-quantile (0..1), nearest rank, within `QUANTILE_ERROR` (1.09 %) of a value that was recorded, and within [min, max].
 * Null when the histogram is empty.
 */
export function quantile(histogram: HistogramData, q: number): number | null {
  const count = countOf(histogram);
  if (count === 0) return null;
  const rank = Math.max(1, Math.ceil(Math.min(Math.max(q, 0), 1) * count));
  let seen = histogram.zero_count ?? 0;
  if (rank <= seen) return histogram.min;
  let found = NaN;
  eachBucket(histogram, (index, n) => {
    seen += n;
    if (Number.isNaN(found) && rank <= seen) found = index;
  });
  return Number.isNaN(found) ? histogram.max : Math.min(Math.max(bucketMiddle(found), histogram.min), histogram.max);
}
