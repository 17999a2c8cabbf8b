export { percentile } from '../../runtime/percentile.js';

/**
 * Geometric mean of positive numbers: the only mean of ratios that does not depend on which side is the numerator
 * (Fleming and Wallace, Communications of the ACM 29 (3), 1986). NaN for none.
 */
export function geometricMean(ratios: readonly number[]): number {
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
}

/** The item with the least value; undefined for none. */
export function leastBy<T>(items: readonly T[], value: (item: T) => number): T | undefined {
  return items.reduce<T | undefined>((least, item) => (least === undefined || value(item) < value(least) ? item : least), undefined);
}
