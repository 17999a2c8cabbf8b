/**
 * Server-sent events (HTML Standard, section 9.2). A stream is live by default. `Last-Event-ID` or `?since=ID` first replays the kept events that are
 * newer. Replayed events have another name (`replay`) and are marked `replayed: true`, so that a program which opens a door on "appeared" does not
 * open it for an event of the past.
 */
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Event, TelemetryWindow } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import { eventIdPattern, type KeptEvent } from '../ground/events.js';
import { readQuery } from './query.js';
import type { LiveSample } from '../ground/frames.js';

export interface StreamParts {
  /** Kept events that came after the event with this id, oldest first; null asks for all kept events. */
  eventsSince: (id: string | null) => readonly KeptEvent[];
  listenEvents: (listener: (event: Event, id: string) => void) => () => void;
  listenTelemetry: (listener: (window: TelemetryWindow) => void) => () => void;
  /** Calls the listener with the result of every frame and every piece of sound, for pages that draw them. Returns how to stop listening. */
  listenFrames: (listener: (frame: LiveSample) => void) => () => void;
}

export type ApiContext = Context<{ Bindings: HttpBindings }>;

const MAX_STREAMS = 16;
/**
 * A reader that is this many bytes behind is gone or too slow. Its connection is closed; with its next connection it may ask for the events that it
 * missed.
 */
export const MAX_STREAM_BACKLOG_BYTES = 256 * 1024;
const PING_MS = 15_000;

const streamQuery = z.strictObject({ frames: z.enum(['0', '1']).default('0'), since: z.union([z.literal('0'), z.string().regex(eventIdPattern)]).optional() });

/** @returns the handler of `GET /api/events`, which counts its readers */
export function eventStreams(parts: StreamParts): (c: ApiContext) => Response {
  let readers = 0;
  return (c) => {
    const { frames, since } = readQuery(c, streamQuery, '?frames=0|1 and ?since=0 or the id of an event');
    const last = since ?? c.req.header('last-event-id');
    if (last !== undefined && last !== '0' && !eventIdPattern.test(last)) throw new AgentError('E_REQUEST', `Expected Last-Event-ID to be the id of an event but received ${JSON.stringify(last)}`);
    if (readers >= MAX_STREAMS) throw new AgentError('E_BUSY', `Expected at most ${MAX_STREAMS} event streams at a time`);
    readers += 1;
    const body = openStream(parts, { frames: frames === '1', since: last }, {
      closed: () => { readers -= 1; },
      drop: () => c.env.outgoing.destroy(),
    });
    return c.body(body, 200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  };
}

interface StreamEnds {
  closed: () => void;
  /** Ends the connection of a reader that does not read, because its unsent events would fill this device's memory. */
  drop: () => void;
}

function openStream(parts: StreamParts, { frames, since }: { frames: boolean; since: string | undefined }, ends: StreamEnds): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let stops: (() => void)[] = [];
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    for (const stop of stops) stop();
    stops = [];
    ends.closed();
  };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const push = (event: string, value: unknown, id?: string): void => {
        if (!open) return;
        const chunk = encoder.encode(`event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(value)}\n\n`);
        if ((controller.desiredSize ?? 0) >= chunk.byteLength) return controller.enqueue(chunk);
        close();
        ends.drop();
        controller.close();
      };
      if (since !== undefined) for (const { event, id } of parts.eventsSince(since === '0' ? null : since)) push('replay', { ...event, replayed: true }, id);
      const ping = setInterval(() => push('ping', {}), PING_MS);
      stops = [
        parts.listenEvents((event, id) => push('event', event, id)),
        parts.listenTelemetry((window) => push('telemetry', window)),
        ...(frames ? [parts.listenFrames((frame) => push('spectrum' in frame ? 'sound' : 'frame', frame))] : []),
        () => clearInterval(ping),
      ];
      push('ping', {}); // The first message tells the reader that the stream is open.
    },
    cancel: close,
  }, new ByteLengthQueuingStrategy({ highWaterMark: MAX_STREAM_BACKLOG_BYTES }));
}
