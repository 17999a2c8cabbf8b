/** The local HTTP API. Answers are JSON; errors have the form `{error: {code, message}}`. */
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { cors } from 'hono/cors';
import { z } from 'zod';
import { ID_PATTERN } from '../contracts/index.js';
import { AgentError, SternaError, toCodedError } from '../errors.js';
import { authorized } from './auth.js';
import { bodyBudget } from './body-budget.js';
import { eventStreams } from './event-stream.js';
import { addGallery } from './gallery.js';
import { allowedHost, allowedOrigin, isLoopback } from './guard.js';
import type { ApiParts } from './parts.js';
import { noQuery, readQuery } from './query.js';
import { addRecordings } from './recordings.js';

const pipelineQuery = z.strictObject({ pipeline: z.string().regex(ID_PATTERN).optional() });

export function createApp(parts: ApiParts): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  app.onError((error, c) => {
    const status = statusOf(error);
    const coded = toCodedError(error);
    return c.json({ error: coded }, status, status === 401 ? { 'www-authenticate': 'Bearer realm="sterna"' } : coded.code === 'E_BUSY' ? { 'retry-after': '1' } : {});
  });
  app.notFound((c) => c.json({ error: { code: 'E_NOT_FOUND', message: `There is no ${c.req.method} ${c.req.path}` } }, 404));
  guardRequests(app, parts);

  app.get('/health', (c) => {
    const health = parts.health();
    return c.json(health, health.ok ? 200 : 503);
  });
  app.get('/metrics', async (c) => c.text(await parts.metrics(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
  app.get('/api/status', (c) => {
    noQuery(c);
    return c.json(parts.status());
  });
  app.get('/api/telemetry', (c) => {
    noQuery(c);
    return c.json(parts.latestTelemetry());
  });
  app.get('/api/events', eventStreams(parts));
  app.get('/api/snapshot.jpg', async (c) => {
    const { pipeline } = readQuery(c, pipelineQuery, 'no query parameter but ?pipeline=NAME');
    const frame = parts.latestFrame(pipeline);
    if (frame === null) throw new AgentError('E_NO_FRAME', 'No frame has arrived yet');
    const jpeg = await parts.runtime.encodeJpeg(frame);
    return c.body(new Uint8Array(jpeg), 200, { 'content-type': 'image/jpeg', 'x-frame-sequence': String(frame.sequence) });
  });
  addGallery(app, parts);
  addRecordings(app, parts);
  return app;
}

/**
 * Checks first who asks (host, origin, token), and only then how much the request wants to send, so that a stranger cannot use up the budget of
 * bodies.
 */
function guardRequests(app: Hono<{ Bindings: HttpBindings }>, parts: ApiParts): void {
  app.use('*', async (c, next) => {
    // These headers forbid other sites to show a picture of this camera, and caches to keep one.
    c.header('cross-origin-resource-policy', 'same-origin');
    c.header('x-content-type-options', 'nosniff');
    c.header('cache-control', 'no-store');
    const options = parts.guard();
    const host = c.req.header('host');
    if (!allowedHost(host, options)) throw new AgentError('E_REQUEST_ORIGIN', `Expected a host name of this machine but received ${JSON.stringify(host ?? null)}`);
    if (!allowedOrigin(c.req.header('origin'), host, options)) throw new AgentError('E_REQUEST_ORIGIN', 'Expected no Origin, this API itself, or one of api.allowed_origins');
    await next();
  });
  app.use('*', cors({ exposeHeaders: ['x-frame-sequence'], origin: (origin) => (parts.guard().allowedOrigins.includes(origin) ? origin : null) }));
  app.use('*', async (c, next) => {
    const { path } = c.req;
    // Service managers and Prometheus read these two paths without a token. They hold counts and times, but no names, faces or addresses.
    const open = path === '/health' || (path === '/metrics' && isLoopback(parts.guard().host));
    if (!open && !authorized(c.req.header('authorization'), parts.token)) {
      throw new AgentError('E_UNAUTHORIZED', 'Expected "Authorization: Bearer TOKEN" with the token in the file api.token of the state folder (or in api.token_file)');
    }
    await next();
  });
  app.use('*', bodyBudget());
}

function statusOf(error: Error): 400 | 401 | 403 | 404 | 409 | 411 | 413 | 422 | 500 | 503 {
  if (!(error instanceof SternaError)) return 500;
  switch (error.code) {
    case 'E_REQUEST': return 400;
    case 'E_UNAUTHORIZED': return 401;
    case 'E_REQUEST_ORIGIN': return 403;
    case 'E_NOT_FOUND':
    case 'E_PIPELINE_UNKNOWN':
    case 'E_NO_FRAME': return 404;
    case 'E_NO_MODEL': return 409;
    case 'E_REQUEST_LENGTH': return 411;
    case 'E_REQUEST_SIZE': return 413;
    case 'E_MEDIA':
    case 'E_GALLERY': return 422;
    case 'E_BUSY':
    case 'E_RECORDINGS':
    case 'E_GALLERY_KEY':
    case 'E_GALLERY_TAMPERED': return 503;
    default: return 500;
  }
}
