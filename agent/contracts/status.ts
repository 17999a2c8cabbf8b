/** `status`, up, retained, and the will. */
import { z } from 'zod';
import { bootId, count, epochMs, openSet, schemaVersion, shortText } from './codec.js';

export const statusSchema = z.object({
  schema_version: schemaVersion,
  /** `stopped`: the device disconnected regularly. `offline`: the broker published its will. */
  state: openSet(['online', 'stopped', 'offline']),
  boot_id: bootId,
  /** Grows with every connection, across restarts. The will carries the number of the connection that it belongs to. */
  birth_seq: count,
  /** Of the agent. */
  version: shortText,
  time_ms: epochMs,
  clock_synchronized: z.boolean(),
});
export type Status = z.infer<typeof statusSchema>;

/** A late will must not end a newer connection: false when `next` is older than what the consumer knows. */
export function supersedes(next: Status, known: Status | null): boolean {
  return known === null || next.birth_seq >= known.birth_seq;
}
