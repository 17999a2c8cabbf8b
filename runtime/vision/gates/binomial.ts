/** Logarithm of n! for whole n: exact sums below 32, Stirling's series above (error below 1e-12). */
function logFactorial(n: number): number {
  if (n < 32) {
    let sum = 0;
    for (let i = 2; i <= n; i++) sum += Math.log(i);
    return sum;
  }
  return (n + 0.5) * Math.log(n) - n + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * n) - 1 / (360 * n ** 3);
}

/** Probability of at most k successes in n trials that succeed with probability p. */
export function binomialAtMost(k: number, n: number, p: number): number {
  if (k >= n || p <= 0) return 1;
  if (p >= 1) return 0;
  let sum = 0;
  for (let i = 0; i <= k; i++) sum += Math.exp(logFactorial(n) - logFactorial(i) - logFactorial(n - i) + i * Math.log(p) + (n - i) * Math.log1p(-p));
  return Math.min(1, sum);
}

/** Where a falling function of 0..1 crosses `level`. */
function crossing(falling: (p: number) => number, level: number): number {
  let [low, high] = [0, 1];
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (falling(middle) > level) low = middle;
    else high = middle;
  }
  return high;
}

/**
 * The bounds of a probability after k successes in n trials, each held with 95 % confidence (Clopper and Pearson, one-sided): exact, so never
 * too narrow. Without trials: 0 and 1.
 * @param outside probability that it is beyond a bound; 0.025 makes both bounds together an interval of 95 %
 */
export function rateBounds(k: number, n: number, outside = 0.05): { lower: number; upper: number } {
  const upper = k >= n ? 1 : crossing((p) => binomialAtMost(k, n, p), outside);
  const lower = k === 0 ? 0 : crossing((p) => binomialAtMost(k - 1, n, p), 1 - outside);
  return { lower, upper };
}

/** The fewest trials without a success that show, with 95 % confidence, that the probability is at most `limit`. */
export const trialsToShow = (limit: number): number => Math.ceil(Math.log(0.05) / Math.log1p(-Math.min(limit, 0.999_999)));
