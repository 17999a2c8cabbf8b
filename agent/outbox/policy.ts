/** Decides what the outbox keeps when it cannot keep everything. Pure. */
export const outboxClasses = ['critical', 'event', 'summary', 'raw'] as const;
/**
 * Classes of messages, the most important first. Critical: answers, and all events but findings. Event: findings. Summary: telemetry windows. Raw:
 * values that can be done without.
 */
export type OutboxClass = (typeof outboxClasses)[number];

export const rankOf = (c: OutboxClass): number => outboxClasses.indexOf(c);

/**
 * How long a message may wait, milliseconds in which the machine is switched on. An old finding still has value as history; an old raw value has none.
 */
export const MAX_AGE_MS: Record<OutboxClass, number> = {
  critical: 90 * 86_400_000,
  event: 30 * 86_400_000,
  summary: 30 * 86_400_000,
  raw: 86_400_000,
};

/**
 * The most that a class may fill, as a share of the whole. Beyond it the class drops messages of its own. The shares add up to more than the whole, so
 * that a class can use what others leave free; when the whole is full, less important classes make room first.
 */
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

/** A token bucket, which decides whether one more waiting message may be sent now. `tokens` never exceeds a second's worth (at least one). */
export interface Bucket {
  tokens: number;
  atMs: number;
}

export function takeToken(bucket: Bucket, nowMs: number, perSecond: number): { taken: boolean; bucket: Bucket } {
  const burst = Math.max(1, perSecond);
  const tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * perSecond);
  return tokens >= 1 ? { taken: true, bucket: { tokens: tokens - 1, atMs: nowMs } } : { taken: false, bucket: { tokens, atMs: nowMs } };
}
