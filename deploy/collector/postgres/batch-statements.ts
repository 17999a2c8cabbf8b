/** The statements of a batch: one for all rows of a kind, whose rows are in the same order for every collector, so that none waits for another in a circle. */
import type { PoolClient } from 'pg';
import { reportedSchema, statusSchema, type DeviceAddress, type Reported, type Status } from '../../../agent/contracts/index.js';
import type { Facet } from '../fleet-message.js';
import type { Outcome, Received } from '../fleet-store.js';
import { NumberRanges } from '../number-ranges.js';
import { isNewer } from '../sqlite-fleet-store.js';

/** Items by a key, in the order of the keys. */
function byKey<T>(items: readonly T[], keyOf: (item: T) => string): [string, T[]][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

const addressKey = ({ fleet, device }: DeviceAddress): string => `${fleet}/${device}`;

/** Notes when devices were heard, and keeps their rows locked: a device's states, streams and events are written by one collector at a time. */
export async function touchDevices(client: PoolClient, batch: readonly Received[]): Promise<void> {
  const devices = byKey(batch, ({ message }) => addressKey(message.address)).map(([, all]) => ({ ...all[0]?.message.address, seenMs: Math.max(...all.map(({ receivedMs }) => receivedMs)) }));
  await client.query(
    `INSERT INTO device (fleet, device, seen_ms) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
     ON CONFLICT (fleet, device) DO UPDATE SET seen_ms = GREATEST(device.seen_ms, excluded.seen_ms)`,
    [devices.map((d) => d.fleet), devices.map((d) => d.device), devices.map((d) => Math.round(d.seenMs))]);
}

type Known = DeviceAddress & { status: Status | null; reported: Reported | null };

/** Writes the newest states; `outcomes` says which were stale. */
export async function noteStates(client: PoolClient, batch: readonly Received[], outcomes: Outcome[]): Promise<void> {
  const states = batch.flatMap(({ message }, i) => (message.kind === 'telemetry' || message.kind === 'event' ? [] : [{ message, i }]));
  if (states.length === 0) return;
  const groups = byKey(states, ({ message }) => addressKey(message.address));
  const known = await knownStates(client, groups.map(([, [first]]) => first?.message.address ?? { fleet: '', device: '' }));
  const changed: (DeviceAddress & Record<Facet, string | null>)[] = [];
  for (const [key, group] of groups) {
    const now: Pick<Known, 'status' | 'reported'> = known.get(key) ?? { status: null, reported: null };
    const row: Record<Facet, string | null> = { status: null, caps: null, reported: null };
    for (const { message, i } of group) {
      if (message.kind !== 'caps' && !isNewer(message, now)) {
        outcomes[i] = 'stale';
        continue;
      }
      if (message.kind === 'status') now.status = message.value;
      if (message.kind === 'reported') now.reported = message.value;
      row[message.kind] = JSON.stringify(message.value);
    }
    const address = group[0]?.message.address;
    if (address !== undefined) changed.push({ ...address, ...row });
  }
  await client.query(
    `UPDATE device SET status = COALESCE(new.status, device.status), caps = COALESCE(new.caps, device.caps), reported = COALESCE(new.reported, device.reported)
     FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::jsonb[], $5::jsonb[]) AS new (fleet, device, status, caps, reported)
     WHERE device.fleet = new.fleet AND device.device = new.device`,
    [changed.map((d) => d.fleet), changed.map((d) => d.device), changed.map((d) => d.status), changed.map((d) => d.caps), changed.map((d) => d.reported)]);
}

/** States of an older schema that can no longer be read count as not said. */
async function knownStates(client: PoolClient, addresses: readonly DeviceAddress[]): Promise<Map<string, Known>> {
  const { rows } = await client.query<DeviceAddress & { status: unknown; reported: unknown }>(
    'SELECT fleet, device, status, reported FROM device JOIN unnest($1::text[], $2::text[]) AS key (fleet, device) USING (fleet, device)', [addresses.map((a) => a.fleet), addresses.map((a) => a.device)]);
  return new Map(rows.map((row) => [addressKey(row), { ...row, status: statusSchema.safeParse(row.status).data ?? null, reported: reportedSchema.safeParse(row.reported).data ?? null }]));
}

/** Takes the numbers of the windows; `outcomes` says which were known. */
export async function takeWindows(client: PoolClient, batch: readonly Received[], outcomes: Outcome[]): Promise<void> {
  const windows = batch.flatMap(({ message }, i) => (message.kind === 'telemetry' ? [{ address: message.address, window: message.value, i }] : []));
  if (windows.length === 0) return;
  const groups = byKey(windows, ({ address, window }) => `${addressKey(address)}/${window.stream_id}`);
  const keys = [groups.map(([, [first]]) => first?.address.fleet), groups.map(([, [first]]) => first?.address.device), groups.map(([, [first]]) => first?.window.stream_id)];
  const { rows } = await client.query<{ fleet: string; device: string; stream: string; seen: string }>(
    'SELECT fleet, device, stream, seen FROM stream JOIN unnest($1::text[], $2::text[], $3::text[]) AS key (fleet, device, stream) USING (fleet, device, stream)', keys);
  const known = new Map(rows.map((row) => [`${addressKey(row)}/${row.stream}`, row.seen]));
  const seenMs = Math.max(...batch.map(({ receivedMs }) => Math.round(receivedMs)));
  const taken = groups.map(([key, group]) => {
    const ranges = new NumberRanges(known.get(key) ?? '');
    let received = 0;
    for (const { window: { first_seq: first, seq }, i } of group) {
      const arrival = ranges.take(first, seq);
      outcomes[i] = arrival;
      if (arrival === 'added') received += seq - first + 1;
    }
    return { seen: ranges.toString(), received };
  });
  await client.query(
    `INSERT INTO stream (fleet, device, stream, seen, received, seen_ms) SELECT *, $6::bigint FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
     ON CONFLICT (fleet, device, stream) DO UPDATE SET seen = excluded.seen, received = stream.received + excluded.received, seen_ms = GREATEST(stream.seen_ms, excluded.seen_ms)`,
    [...keys, taken.map(({ seen }) => seen), taken.map(({ received }) => received), seenMs]);
}

/** Adds events; `outcomes` says which were known, or came twice in this batch. */
export async function addEvents(client: PoolClient, batch: readonly Received[], outcomes: Outcome[]): Promise<void> {
  const events = batch.flatMap(({ message, receivedMs }, i) => (message.kind === 'event' ? [{ address: message.address, event: message.value, receivedMs, i }] : []));
  if (events.length === 0) return;
  const keyOf = ({ address, event }: (typeof events)[number]): string => `${addressKey(address)}/${event.event_id}`;
  const first = byKey(events, keyOf).flatMap(([, [one]]) => one ?? []);
  const { rows } = await client.query<DeviceAddress & { event_id: string }>(
    `INSERT INTO event (fleet, device, event_id, time_ms, type, payload, received_ms) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::jsonb[], $7::bigint[])
     ON CONFLICT (fleet, device, event_id) DO NOTHING RETURNING fleet, device, event_id`,
    [first.map((e) => e.address.fleet), first.map((e) => e.address.device), first.map((e) => e.event.event_id), first.map((e) => Math.round(e.event.time_ms)), first.map((e) => e.event.type), first.map((e) => JSON.stringify(e.event)), first.map((e) => Math.round(e.receivedMs))]);
  const added = new Set(rows.map((row) => `${addressKey(row)}/${row.event_id}`));
  const firsts = new Set(first);
  for (const item of events) outcomes[item.i] = added.has(keyOf(item)) && firsts.has(item) ? 'added' : 'duplicate';
}
