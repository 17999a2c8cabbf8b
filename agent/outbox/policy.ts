/** What the outbox keeps when it cannot keep everything. Pure. */
export const outboxClasses = ['critical', 'event', 'summary', 'raw'] as const;
/** Most important first. Critical: faults and answers. Event: recognitions. Summary: telemetry windows. Raw: what can be done without. */
export type OutboxClass = (typeof outboxClasses)[number];

export const rankOf = (c: OutboxClass): number => outboxClasses.indexOf(c);

/** Longest stay, milliseconds of a machine that is switched on: an old recognition is still history, an old raw value is nothing. */
export const MAX_AGE_MS: Record<OutboxClass, number> = {
  critical: 90 * 86_400_000,
  event: 30 * 86_400_000,
  summary: 30 * 86_400_000,
  raw: 86_400_000,
};

/** A class may fill so much of the whole before it makes room by itself; what others leave free it may use. */
export const SHARE: Record<OutboxClass, number> = { critical: 1, event: 0.75, summary: 0.5, raw: 0.1 };

/**
 * Why a message was dropped.
 * - `full`: the outbox is at its cap; `age`: it waited longer than `MAX_AGE_MS`.
 * - `disk_full`, `read_only`, `storage`: the database could not be written (no space, no right, another error), and memory was full.
 * - `restart`: it was only in memory when the process ended, or it is a number of the sequence that may have been used
 *   shortly before a power cut.
 * - `outdated`: an earlier version wrote it in a form that the other end no longer takes.
 * - `refused`: the broker rejects it; `malformed`: it is no JSON.
 */
export const dropReasons = ['full', 'age', 'disk_full', 'read_only', 'storage', 'restart', 'outdated', 'refused', 'malformed'] as const;
export type DropReason = (typeof dropReasons)[number];

/** Numbers by `class/reason`. */
export type Tally = Map<string, number>;

export function addTo(tally: Tally, key: string, n: number): void {
  if (n > 0) tally.set(key, (tally.get(key) ?? 0) + n);
}

export function sumOf(...tallies: ReadonlyMap<string, number>[]): Tally {
  const sum: Tally = new Map();
  for (const tally of tallies) for (const [key, n] of tally) addTo(sum, key, n);
  return sum;
}

/** Token bucket: whether one more message may catch up now. `tokens` never exceeds a second's worth (at least one). */
export interface Bucket {
  tokens: number;
  atMs: number;
}

export function takeToken(bucket: Bucket, nowMs: number, perSecond: number): { taken: boolean; bucket: Bucket } {
  const burst = Math.max(1, perSecond);
  const tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * perSecond);
  return tokens >= 1 ? { taken: true, bucket: { tokens: tokens - 1, atMs: nowMs } } : { taken: false, bucket: { tokens, atMs: nowMs } };
}
