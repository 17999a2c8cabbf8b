/** The local HTTP API. JSON out; errors are `{error: {code, message}}`. */
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import type { Event, TelemetryWindow } from '../contracts/index.js';
import { AgentError, SternaError, toCodedError } from '../errors.js';
import type { Gallery, Image, RuntimePort } from '../inference/ports.js';
import { allowedHost, allowedOrigin, type GuardOptions } from './guard.js';

/** What the API shows and does. */
export interface ApiParts {
  guard: () => GuardOptions;
  /** Overall state of the daemon, for people and for `sterna agent --status`. */
  status: () => Record<string, unknown>;
  health: () => { ok: boolean; reasons: string[] };
  recentEvents: () => readonly Event[];
  listenEvents: (listener: (event: Event) => void) => () => void;
  listenTelemetry: (listener: (window: TelemetryWindow) => void) => () => void;
  latestTelemetry: () => TelemetryWindow | null;
  /** Every frame's result, for whoever draws boxes. */
  listenFrames: (listener: (frame: LiveFrame) => void) => () => void;
  metrics: () => Promise<string>;
  gallery: Gallery;
  runtime: Pick<RuntimePort, 'decodeImage' | 'encodeJpeg'>;
  enrol: (name: string, pictures: readonly Image[]) => Promise<Record<string, unknown>>;
  latestFrame: () => (Image & { sequence: number }) | null;
}

export interface LiveFrame {
  sequence: number;
  captured_ms: number;
  width: number;
  height: number;
  exit: string;
  total_ms: number;
  latency_ms: number;
  detections: { box: readonly number[]; score: number; person: { person_id: number; name: string; similarity: number } | null }[];
}

const MAX_BODY_BYTES = 32 * 1024 * 1024;
const MAX_PICTURES = 32;
const MAX_STREAMS = 16;
/** Behind by so many messages: the reader is gone or too slow, and its stream ends. */
const MAX_QUEUED = 64;
const PING_MS = 15_000;

export function createApp(parts: ApiParts): Hono {
  const app = new Hono();
  let streams = 0;

  app.use('*', async (c, next) => {
    const options = parts.guard();
    const host = c.req.header('host');
    if (!allowedHost(host, options)) return refuse(c, 403, `Expected a host name of this machine but received ${JSON.stringify(host ?? null)}`);
    if (!allowedOrigin(c.req.header('origin'), host, options)) return refuse(c, 403, 'Expected no Origin, this API itself, or one of api.allowed_origins');
    await next();
  });
  app.use('*', cors({ exposeHeaders: ['x-frame-sequence'], origin: (origin) => (parts.guard().allowedOrigins.includes(origin) ? origin : null) }));
  app.use('*', bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (c) => refuse(c, 413, `Expected a body of at most ${MAX_BODY_BYTES} bytes`) }));
  app.onError((error, c) => c.json({ error: toCodedError(error) }, statusOf(error)));
  app.notFound((c) => refuse(c, 404, `There is no ${c.req.method} ${c.req.path}`));

  app.get('/health', (c) => {
    const health = parts.health();
    return c.json(health, health.ok ? 200 : 503);
  });
  app.get('/api/status', (c) => c.json(parts.status()));
  app.get('/api/telemetry', (c) => c.json(parts.latestTelemetry()));
  app.get('/metrics', async (c) => c.text(await parts.metrics(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
  app.get('/api/events', (c) => {
    if (streams >= MAX_STREAMS) return refuse(c, 503, `Expected at most ${MAX_STREAMS} event streams at a time`);
    streams += 1;
    return eventStream(c, parts, () => { streams -= 1; });
  });
  app.get('/api/snapshot.jpg', async (c) => {
    const frame = parts.latestFrame();
    if (frame === null) throw new AgentError('E_NO_FRAME', 'No frame has arrived yet');
    const jpeg = await parts.runtime.encodeJpeg(frame);
    return c.body(new Uint8Array(jpeg), 200, { 'content-type': 'image/jpeg', 'cache-control': 'no-store', 'x-frame-sequence': String(frame.sequence) });
  });
  addGallery(app, parts);
  return app;
}

function addGallery(app: Hono, parts: ApiParts): void {
  app.get('/api/gallery', (c) => c.json({ people: parts.gallery.list().map(toPerson) }));

  // multipart/form-data: name, and picture one or more times; without a picture, the camera's present one is taken.
  app.post('/api/gallery', async (c) => {
    const { name, pictures } = await readEnrolment(c, parts);
    return c.json(await parts.enrol(name, pictures), 201);
  });

  app.delete('/api/gallery/:id', (c) => {
    const id = z.coerce.number().int().positive().safeParse(c.req.param('id'));
    if (!id.success) throw new AgentError('E_REQUEST', `Expected the number of a person but received ${JSON.stringify(c.req.param('id'))}`);
    return parts.gallery.remove(id.data) ? c.json({ removed: id.data }) : refuse(c, 404, `There is no person ${id.data}`);
  });
}

async function readEnrolment(c: Context, parts: ApiParts): Promise<{ name: string; pictures: Image[] }> {
  const isForm = (c.req.header('content-type') ?? '').startsWith('multipart/form-data');
  const body: unknown = isForm ? await c.req.parseBody({ all: true }) : await c.req.json().catch(() => null);
  const parsed = z.object({ name: z.string().trim().min(1).max(128), picture: z.unknown().optional() }).safeParse(body);
  if (!parsed.success) throw new AgentError('E_REQUEST', 'Expected a name of 1 to 128 characters, and pictures as multipart/form-data or none for the camera');
  const files = [parsed.data.picture].flat().filter((file): file is File => file instanceof File);
  if (files.length > MAX_PICTURES) throw new AgentError('E_REQUEST', `Expected at most ${MAX_PICTURES} pictures but received ${files.length}`);
  if (files.length === 0) {
    const frame = parts.latestFrame();
    if (frame === null) throw new AgentError('E_NO_FRAME', 'No frame has arrived yet: send a picture');
    return { name: parsed.data.name, pictures: [frame] };
  }
  const pictures: Image[] = [];
  for (const file of files) pictures.push(await parts.runtime.decodeImage(new Uint8Array(await file.arrayBuffer())));
  return { name: parsed.data.name, pictures };
}

/** Named messages: `event` (and the recent ones at first), `telemetry` every window, `frame` every frame with ?frames=1. */
function eventStream(c: Context, parts: ApiParts, onClosed: () => void): Response {
  const frames = c.req.query('frames') === '1';
  return streamSSE(c, async (stream) => {
    const queue: { event: string; data: string }[] = [];
    let wake = (): void => undefined;
    const push = (event: string, value: unknown): void => {
      queue.push({ event, data: JSON.stringify(value) });
      wake();
    };
    for (const event of parts.recentEvents()) push('event', event);
    const stops = [
      parts.listenEvents((event) => push('event', event)),
      parts.listenTelemetry((window) => push('telemetry', window)),
      ...(frames ? [parts.listenFrames((frame) => push('frame', frame))] : []),
    ];
    const ping = setInterval(() => push('ping', {}), PING_MS);
    stream.onAbort(() => wake());
    try {
      while (!stream.aborted && queue.length <= MAX_QUEUED + parts.recentEvents().length) {
        const next = queue.shift();
        if (next !== undefined) await stream.writeSSE(next);
        else await new Promise<void>((resolve) => { wake = resolve; });
      }
    } finally {
      clearInterval(ping);
      for (const stop of stops) stop();
      onClosed();
    }
  });
}

function toPerson(person: ReturnType<Gallery['list']>[number]): Record<string, unknown> {
  return { person_id: person.id, name: person.name, samples: person.samples, embedding_space_id: person.embeddingSpaceId, created_ms: person.createdMs };
}

function refuse(c: Context, status: 403 | 404 | 413 | 503, message: string): Response {
  return c.json({ error: { code: 'E_REQUEST', message } }, status);
}

function statusOf(error: Error): 400 | 404 | 409 | 422 | 500 {
  if (!(error instanceof SternaError)) return 500;
  switch (error.code) {
    case 'E_REQUEST': return 400;
    case 'E_NO_FRAME': return 404;
    case 'E_NO_MODEL': return 409;
    case 'E_MEDIA':
    case 'E_NO_FACE':
    case 'E_GALLERY': return 422;
    default: return 500;
  }
}
