/** What the outbox keeps when it cannot keep everything. Pure. */
export const outboxClasses = ['critical', 'event', 'summary', 'raw'] as const;
/** Most important first. Critical: faults and answers. Event: recognitions. Summary: telemetry windows. Raw: what can be done without. */
export type OutboxClass = (typeof outboxClasses)[number];

export const rankOf = (c: OutboxClass): number => outboxClasses.indexOf(c);

/** Longest stay, milliseconds: an old recognition is still history, an old raw value is nothing. */
export const MAX_AGE_MS: Record<OutboxClass, number> = {
  critical: 90 * 86_400_000,
  event: 30 * 86_400_000,
  summary: 30 * 86_400_000,
  raw: 86_400_000,
};

/** A class may fill so much of the whole before it makes room by itself; what others leave free it may use. */
export const SHARE: Record<OutboxClass, number> = { critical: 1, event: 0.75, summary: 0.5, raw: 0.1 };

export type DropReason = 'full' | 'age' | 'disk_full' | 'refused' | 'malformed';

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
