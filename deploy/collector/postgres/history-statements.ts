/** The past of devices in PostgreSQL: what a batch adds to it. The rows of its devices are locked, so nobody else writes theirs meanwhile. */
import type { PoolClient } from 'pg';
import type { DeviceAddress } from '../../../agent/contracts/index.js';
import type { Received } from '../fleet-store.js';
import { packageText, SLOT_MS, slotOf } from '../latency-slots.js';
import { isFiniteRollup, lostFrames, mergeRollups, readRollup, type Rollup } from '../rollup.js';
import { continued, TRACKS_PER_DEVICE, type Growing, type Track } from '../track.js';
import { LEVELS } from './history-levels.js';
import type { WindowPart } from './window-samples.js';

type Windows = (Received & { message: { kind: 'telemetry' } })[];
type Ended = DeviceAddress & { pipeline: string } & Growing;

interface TrackRow extends DeviceAddress { pipeline: string; boot_id: string; seq: string; frames: string; slot_ms: string | null; model: string | null; sums: string | null }

const deviceKey = ({ fleet, device }: DeviceAddress): string => `${fleet}/${device}`;
const isWindow = (one: Received): one is Windows[number] => one.message.kind === 'telemetry';

/**
 * Adds windows that were taken for the first time. Call it in the transaction that takes them.
 * @returns their parts for VictoriaMetrics
 */
export async function addHistory(client: PoolClient, batch: readonly Received[], nowMs: number): Promise<WindowPart[]> {
  const windows = batch.filter(isWindow);
  if (windows.length === 0) return [];
  const tracks = await readTracks(client, [...new Map(windows.map(({ message: { address } }) => [deviceKey(address), address])).values()]);
  const [parts, ended, changed]: [WindowPart[], Ended[], Map<string, DeviceAddress & { pipeline: string; track: Track }>] = [[], [], new Map()];
  for (const { message: { address: { fleet, device }, value: window }, receivedMs } of windows) {
    const slotMs = slotOf(window, receivedMs);
    const own = tracks.get(deviceKey({ fleet, device })) ?? new Map<string, Track>();
    tracks.set(deviceKey({ fleet, device }), own);
    for (const pipeline of window.pipelines) {
      const at = { fleet, device, pipeline: pipeline.name };
      const known = own.get(pipeline.name);
      const { newer, rollup } = continued(window, pipeline, known);
      const model = packageText(pipeline.model);
      const part = slotMs === null || !isFiniteRollup(rollup) ? null : { slotMs, model, rollup };
      if (part !== null) parts.push({ ...at, model, rollup, endMs: window.clock_synchronized ? window.end_ms : receivedMs });
      if (known === undefined && own.size >= TRACKS_PER_DEVICE) {
        if (part !== null) ended.push({ ...at, ...part });
        continue;
      }
      const track = known ?? { bootId: '', seq: 0, frames: 0, growing: null };
      own.set(pipeline.name, track);
      if (newer) Object.assign(track, { bootId: window.boot_id, seq: window.seq, frames: lostFrames(pipeline) });
      const over = part === null ? null : grow(track, part);
      if (over !== null) ended.push({ ...at, ...over });
      changed.set(JSON.stringify([fleet, device, pipeline.name]), { ...at, track });
    }
  }
  await writeTracks(client, [...changed.values()]);
  await addRows(client, ended, nowMs);
  return parts;
}

/** Adds to the roll-up that grows, or begins the next one. @returns what is over: the one before, or a part of an earlier time */
function grow(track: Track, part: Growing): Growing | null {
  const { growing } = track;
  if (growing !== null && part.slotMs < growing.slotMs) return part;
  if (growing?.slotMs === part.slotMs && growing.model === part.model) {
    growing.rollup = mergeRollups(growing.rollup, part.rollup) ?? part.rollup;
    return null;
  }
  track.growing = part;
  return growing;
}

async function readTracks(client: PoolClient, devices: readonly DeviceAddress[]): Promise<Map<string, Map<string, Track>>> {
  const { rows } = await client.query<TrackRow>(
    'SELECT pipeline.* FROM pipeline JOIN unnest($1::text[], $2::text[]) AS key (fleet, device) USING (fleet, device)', [devices.map((d) => d.fleet), devices.map((d) => d.device)]);
  const tracks = new Map<string, Map<string, Track>>();
  for (const row of rows) {
    const own = tracks.get(deviceKey(row)) ?? new Map<string, Track>();
    const rollup = row.sums === null ? null : readRollup(row.sums);
    own.set(row.pipeline, { bootId: row.boot_id, seq: Number(row.seq), frames: Number(row.frames), growing: rollup === null || row.slot_ms === null || row.model === null ? null : { slotMs: Number(row.slot_ms), model: row.model, rollup } });
    tracks.set(deviceKey(row), own);
  }
  return tracks;
}

async function writeTracks(client: PoolClient, changed: readonly (DeviceAddress & { pipeline: string; track: Track })[]): Promise<void> {
  const tracks = changed.map(({ track }) => track);
  await client.query(
    `INSERT INTO pipeline (fleet, device, pipeline, boot_id, seq, frames, slot_ms, model, sums)
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::text[])
     ON CONFLICT (fleet, device, pipeline) DO UPDATE
     SET boot_id = excluded.boot_id, seq = excluded.seq, frames = excluded.frames, slot_ms = excluded.slot_ms, model = excluded.model, sums = excluded.sums`,
    [changed.map((c) => c.fleet), changed.map((c) => c.device), changed.map((c) => c.pipeline), tracks.map((t) => t.bootId), tracks.map((t) => t.seq), tracks.map((t) => t.frames),
      tracks.map((t) => t.growing?.slotMs ?? null), tracks.map((t) => t.growing?.model ?? null), tracks.map((t) => (t.growing === null ? null : JSON.stringify(t.growing.rollup)))]);
}

/** Adds what is over to its five minutes, its hour and its day, as far as these are kept. */
async function addRows(client: PoolClient, ended: readonly Ended[], nowMs: number): Promise<void> {
  const rows = new Map<string, Ended & { stepMs: number }>();
  for (const one of ended) {
    for (const { stepMs, keepMs } of LEVELS) {
      if (one.slotMs + SLOT_MS < nowMs - keepMs) continue;
      const slotMs = Math.floor(one.slotMs / stepMs) * stepMs;
      const key = rowKey({ ...one, stepMs, slotMs });
      const sum = rows.get(key);
      rows.set(key, { ...one, stepMs, slotMs, rollup: sum === undefined ? one.rollup : added(sum.rollup, one.rollup) });
    }
  }
  if (rows.size === 0) return;
  const all = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  const columns = [all.map((r) => r.fleet), all.map((r) => r.device), all.map((r) => r.stepMs), all.map((r) => r.slotMs), all.map((r) => r.pipeline), all.map((r) => r.model)];
  const { rows: known } = await client.query<DeviceAddress & { step_ms: string; slot_ms: string; pipeline: string; model: string; sums: string }>(
    `SELECT history.* FROM history JOIN unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) AS key (fleet, device, step_ms, slot_ms, pipeline, model)
     USING (fleet, device, step_ms, slot_ms, pipeline, model)`, columns);
  for (const { sums, ...row } of known) {
    const [before, sum] = [readRollup(sums), rows.get(rowKey({ ...row, stepMs: Number(row.step_ms), slotMs: Number(row.slot_ms) }))];
    if (before !== null && sum !== undefined) sum.rollup = added(before, sum.rollup);
  }
  await client.query(
    `INSERT INTO history (fleet, device, step_ms, slot_ms, pipeline, model, sums) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[])
     ON CONFLICT (fleet, device, step_ms, slot_ms, pipeline, model) DO UPDATE SET sums = excluded.sums`, [...columns, all.map(({ rollup }) => JSON.stringify(rollup))]);
}

const rowKey = ({ fleet, device, stepMs, slotMs, pipeline, model }: Omit<Ended, 'rollup'> & { stepMs: number }): string => JSON.stringify([fleet, device, stepMs, slotMs, pipeline, model]);

/** Sums that no number can hold begin anew. */
const added = (a: Rollup, b: Rollup): Rollup => mergeRollups(a, b) ?? b;
