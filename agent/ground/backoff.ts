/**
 * Decorrelated jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): next = min(cap, uniform(base, 3 * previous)). It
 * spreads the reconnections of a fleet that lost its broker over time. Milliseconds.
 */
export const BACKOFF_BASE_MS = 1000;
export const BACKOFF_CAP_MS = 300_000;

/** @param previousMs the delay before this one, 0 at first @param random uniform in [0, 1) */
export function nextBackoff(previousMs: number, random: number, base = BACKOFF_BASE_MS, cap = BACKOFF_CAP_MS): number {
  const upper = Math.max(base, previousMs * 3);
  return Math.min(cap, base + random * (upper - base));
}
