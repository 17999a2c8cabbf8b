/** Deletes what is kept no longer: without it, a device that makes up names of streams, or a fleet over the years, would fill the disk. */
import type { PoolClient } from 'pg';
import { LEVELS } from './history-levels.js';

export interface Retention {
  /** Events that were received longer ago are deleted, milliseconds. */
  eventsMs: number;
  /** The newest streams of a device, of which the numbers of windows are known. A stream begins with each start of an agent that lost its state. */
  streamsPerDevice: number;
}

export const defaultRetention: Retention = { eventsMs: 90 * 86_400_000, streamsPerDevice: 64 };

/** Chosen once; it only has to be the same for every collector. */
const RETENTION_LOCK = 5_738_202;
/** Rows that one statement deletes, so that no batch waits long for it. */
const MOST_ROWS = 5000;

/** @returns rows that were deleted; at most `MOST_ROWS` of a table, and none while another collector deletes */
export async function deleteOld(client: PoolClient, { eventsMs, streamsPerDevice }: Retention, nowMs: number): Promise<number> {
  const { rows: [lock] } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS taken', [RETENTION_LOCK]);
  if (lock?.taken !== true) return 0;
  const events = await client.query(
    'DELETE FROM event WHERE ctid = ANY (ARRAY (SELECT ctid FROM event WHERE received_ms < $1 ORDER BY received_ms LIMIT $2))', [Math.round(nowMs - eventsMs), MOST_ROWS]);
  // A row that is written meanwhile has another ctid, and stays.
  const streams = await client.query(
    `DELETE FROM stream WHERE ctid = ANY (ARRAY (SELECT ctid FROM
       (SELECT ctid, row_number() OVER (PARTITION BY fleet, device ORDER BY seen_ms DESC, stream) AS newer FROM stream) AS numbered
     WHERE newer > $1 LIMIT $2))`, [streamsPerDevice, MOST_ROWS]);
  let deleted = (events.rowCount ?? 0) + (streams.rowCount ?? 0);
  for (const { stepMs, keepMs } of LEVELS) {
    const rows = await client.query('DELETE FROM history WHERE ctid = ANY (ARRAY (SELECT ctid FROM history WHERE step_ms = $1 AND slot_ms < $2 ORDER BY slot_ms LIMIT $3))', [stepMs, Math.round(nowMs - keepMs - stepMs), MOST_ROWS]);
    deleted += rows.rowCount ?? 0;
  }
  return deleted;
}
