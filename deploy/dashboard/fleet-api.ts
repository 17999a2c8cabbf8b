import { Hono, type Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import { DEFAULT_PIPELINE, ofPipeline, type Event } from '../../agent/contracts/index.js';
import type { Collector } from '../collector/collector.js';
import { healthOf } from '../collector/health.js';
import type { FleetPast } from '../collector/fleet-past.js';
import type { FleetRow, FleetTable } from '../collector/fleet-table.js';
import type { CollectorStore, DeviceRecord } from '../collector/store.js';
import { historyPoint, inferenceEnergy, recentWindow, telemetryView } from '../collector/view.js';
import { addressOf } from './address.js';
import { PastWatch } from './past-watch.js';
import type { DeviceGateway } from './device-proxy.js';
import type { EventStreams } from './event-streams.js';
import { failure } from './failure.js';

export interface FleetApiOptions {
  collector: Collector;
  store: CollectorStore;
  past: FleetPast;
  streams: EventStreams;
  table: FleetTable;
  gateway?: DeviceGateway;
}

/** Quantiles on the page are those of the last minute: enough frames for a p99, recent enough to see a change. */
const RECENT_MS = 60_000;
const HISTORY_WINDOWS = 180;
const EVENTS = 60;
/** Devices that a list to choose from can have; of a larger fleet the table is for that. */
const LISTED = 50;

/**
 * What the page reads: `GET fleet` (the devices of a small fleet, else one of them), `GET table?since=REVISION&instance=ID&connected=BOOLEAN` (rows of the
 * fleet's table that changed), `GET devices/{fleet}/{device}?pipeline=NAME` (everything about one device and one of its pipelines, by default the first), and
 * `GET stream` (server-sent events that say what changed).
 */
export function fleetApi({ collector, store, past, streams, table, gateway }: FleetApiOptions): Hono {
  const api = new Hono();
  const watch = new PastWatch(past, table);
  const deviceOf = (context: Context): DeviceRecord | null => {
    const address = addressOf(context);
    return address === null ? null : store.device(address);
  };
  api.get('/fleet', async (context) => {
    const rows = table.rows();
    const devices = listed(rows).map(({ fleet, device, state }) => ({ fleet, device, state })).sort((a, b) => (`${a.fleet}/${a.device}` < `${b.fleet}/${b.device}` ? -1 : 1));
    return context.json({ now_ms: Date.now(), broker_connected: collector.connected, collector: collector.stats, store: await watch.state(), size: rows.length, devices });
  });
  api.get('/table', (context) => {
    const known = context.req.query('instance') === table.instance && context.req.query('connected') === String(collector.connected);
    const rows = table.rows(known ? Number(context.req.query('since') ?? 0) || 0 : 0);
    return context.json({ now_ms: Date.now(), broker_connected: collector.connected, instance: table.instance, revision: table.revision, complete: !known, rows });
  });
  api.get('/devices/:fleet/:device', async (context) => {
    const record = deviceOf(context);
    if (record === null) return failure(context, 404, 'E_NOT_FOUND', 'No such device has been heard');
    const pipeline = pipelineOf(context, record);
    const windows = store.windows(record, HISTORY_WINDOWS);
    const last = windows.at(-1);
    const recent = recentWindow(windows, RECENT_MS);
    const events = await newestEvents(past, store, record);
    return context.json({
      now_ms: Date.now(),
      health: healthOf(record, collector.connected, collector.guard.refused(record)),
      energy: inferenceEnergy(windows),
      fleet: record.fleet,
      device: record.device,
      seen_ms: record.seenMs,
      status: record.status,
      caps: record.caps,
      pipelines: record.reported?.pipelines.map(({ name, input }) => ({ name, input })) ?? [],
      pipeline,
      reported: ofPipeline(record.reported, pipeline),
      latest: last === undefined ? null : telemetryView(last, pipeline),
      recent: recent === null ? null : telemetryView(recent, pipeline),
      history: windows.map((window) => historyPoint(window, pipeline)),
      events,
      local: gateway?.(record) != null,
    });
  });
  api.get('/stream', (context) => {
    const subscription = streams.subscribe();
    if (subscription === null) return failure(context, 503, 'E_BUSY', 'Too many pages are open');
    return streamSSE(context, async (stream) => {
      stream.onAbort(() => streams.unsubscribe(subscription));
      try {
        for await (const message of subscription) await stream.writeSSE(message);
      } finally {
        streams.unsubscribe(subscription);
      }
    });
  });
  return api;
}

/** The pipeline that the page asks for, if the device has it; else its first. */
function pipelineOf(context: Context, { reported }: DeviceRecord): string {
  const asked = context.req.query('pipeline') ?? '';
  return (ofPipeline(reported, asked) ?? reported?.pipelines[0])?.name ?? DEFAULT_PIPELINE;
}

/** All devices of a small fleet; of a larger one a single one, if possible one that is online. */
function listed(rows: readonly FleetRow[]): readonly FleetRow[] {
  if (rows.length <= LISTED) return rows;
  const online = rows.findLast(({ state }) => state === 'online');
  return online === undefined ? rows.slice(0, 1) : [online];
}

/** What has come since the page began is shown at once, and without the store of the past. */
async function newestEvents(past: FleetPast, store: CollectorStore, record: DeviceRecord): Promise<Event[]> {
  const stored = await past.events(record, EVENTS).catch(() => []);
  const byId = new Map([...stored, ...store.events(record, EVENTS)].map((event) => [event.event_id, event]));
  return [...byId.values()].sort((a, b) => b.time_ms - a.time_ms).slice(0, EVENTS);
}
