/** Routes for the pictures and clips of events: find, show, delete. */
import type { Hono } from 'hono';
import type { HttpBindings } from '@hono/node-server';
import { z } from 'zod';
import { ID_PATTERN } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { Recording, RecordingFilter } from '../recordings/schema.js';
import type { ApiContext } from './event-stream.js';
import type { ApiParts } from './parts.js';
import { noQuery, readQuery } from './query.js';

const MAX_LIMIT = 200;

const epochMs = z.coerce.number().int().nonnegative();
const filterFields = {
  since: epochMs.optional(),
  until: epochMs.optional(),
  pipeline: z.string().regex(ID_PATTERN).optional(),
  camera: z.string().regex(ID_PATTERN).optional(),
  label: z.string().min(1).max(256).optional(),
  person_id: z.coerce.number().int().positive().optional(),
};
const listQuery = z.strictObject({ ...filterFields, limit: z.coerce.number().int().min(1).max(MAX_LIMIT).default(50) });
const deleteQuery = z.strictObject({ ...filterFields, all: z.literal('1').optional() });
const filterText = '?since and ?until in milliseconds since 1970, ?pipeline, ?camera, ?label, ?person_id';

export function addRecordings(app: Hono<{ Bindings: HttpBindings }>, parts: ApiParts): void {
  app.get('/api/recordings', (c) => {
    const { limit, ...query } = readQuery(c, listQuery, `${filterText}, and ?limit of 1 to ${MAX_LIMIT}`);
    const store = parts.recordings();
    const found = store.list(filterOf(query), limit);
    return c.json({ recordings: found.map((recording) => toJson(recording, parts)), recorded: store.count(), bytes: store.bytes, max_bytes: store.maxBytes, enabled: parts.recordingEnabled() });
  });

  app.get('/api/recordings/:id/snapshot.jpg', async (c) => {
    noQuery(c);
    return picture(c, await parts.recordings().snapshot(c.req.param('id')), 'image/jpeg');
  });

  app.get('/api/recordings/:id/clip.mjpeg', async (c) => {
    noQuery(c);
    return picture(c, await parts.recordings().clip(c.req.param('id')), 'video/x-motion-jpeg');
  });

  app.get('/api/recordings/:id/clip/:frame', async (c) => {
    noQuery(c);
    const frame = /^(\d{1,4})\.jpg$/.exec(c.req.param('frame'))?.[1];
    if (frame === undefined) throw new AgentError('E_REQUEST', `Expected a number and .jpg but received ${JSON.stringify(c.req.param('frame'))}`);
    return picture(c, await parts.recordings().clip(c.req.param('id'), Number(frame)), 'image/jpeg');
  });

  app.delete('/api/recordings/:id', async (c) => {
    noQuery(c);
    const removed = await parts.recordings().remove({ id: c.req.param('id') });
    if (removed === 0) throw new AgentError('E_NOT_FOUND', 'There is no recording of this event');
    return c.json({ removed });
  });

  app.delete('/api/recordings', async (c) => {
    const { all, ...query } = readQuery(c, deleteQuery, `${filterText}, or ?all=1`);
    const filter = filterOf(query);
    // Deleting everything must be asked for by `all`: a request that lost its filter on the way must not delete everything.
    if ((all === undefined) === (Object.values(filter).every((value) => value === undefined))) throw new AgentError('E_REQUEST', `Expected at least one of ${filterText}, or else ?all=1`);
    return c.json({ removed: await parts.recordings().remove(filter) });
  });
}

type Query = z.infer<z.ZodObject<typeof filterFields>>;

function filterOf({ since, until, pipeline, camera, label, person_id: personId }: Query): RecordingFilter {
  return { sinceMs: since, untilMs: until, pipeline, camera, label, personId };
}

function picture(c: ApiContext, bytes: Uint8Array, type: string): Response {
  return c.body(new Uint8Array(bytes), 200, { 'content-type': type });
}

function toJson({ id, timeMs, pipeline, camera, label, personId, width, height, findings, clip }: Recording, parts: ApiParts): Record<string, unknown> {
  return {
    event_id: id, time_ms: timeMs, pipeline, camera, label, person_id: personId, width, height,
    findings: findings.map((finding) => (finding.identity == null ? finding : { ...finding, identity: { ...finding.identity, name: parts.personName(finding.identity.person_id) } })),
    clip: clip === null ? null : { frames: clip.frames.map(({ offsetMs }) => offsetMs) },
  };
}
