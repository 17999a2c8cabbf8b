/** The enrolled people: list, enrol from pictures or from the camera, delete. */
import type { Hono } from 'hono';
import type { HttpBindings } from '@hono/node-server';
import { z } from 'zod';
import { ID_PATTERN } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { Gallery, Image } from '../ground/runtime.js';
import type { ApiContext } from './event-stream.js';
import type { ApiParts } from './parts.js';
import { noQuery } from './query.js';

const MAX_PICTURES = 32;
/** 4000 x 4000. A picture of more pixels would take more memory than a small device has beside its model. */
export const MAX_PICTURE_PIXELS = 16_000_000;

const picture = z.custom<File>((value) => value instanceof File, { message: 'expected a file' });
const name = z.string().trim().min(1).max(128);
/** Name of the pipeline whose camera and embedder are used. Absent means the first pipeline that has an embedder. */
const pipeline = z.string().regex(ID_PATTERN).optional();
/**
 * Enrolment needs either pictures or the explicit name of a camera. If the camera were the default, a misspelt "picture" would enrol whoever stands
 * before it.
 */
const enrolmentSchema = z.union([
  z.strictObject({ name, pipeline, from: z.literal('camera') }),
  z.strictObject({ name, pipeline, picture: z.union([picture, z.array(picture).min(1).max(MAX_PICTURES)]) }),
]);
const EXPECTED = `Expected the field "name" of 1 to 128 characters, and either "from" with the value "camera", or 1 to ${MAX_PICTURES} files "picture" as multipart/form-data; "pipeline" is optional, and there are no other fields`;

export function addGallery(app: Hono<{ Bindings: HttpBindings }>, parts: ApiParts): void {
  let enrolling = false;
  app.get('/api/gallery', (c) => {
    noQuery(c);
    return c.json({ people: parts.gallery().list().map(toPerson) });
  });

  app.post('/api/gallery', async (c) => {
    noQuery(c);
    if (enrolling) throw new AgentError('E_BUSY', 'Somebody is being enrolled; try again');
    enrolling = true;
    try {
      const { name: label, pictures, pipeline: of } = await readEnrolment(c, parts);
      return c.json(await parts.enrol(label, pictures, of), 201);
    } finally {
      enrolling = false;
    }
  });

  app.delete('/api/gallery/:id', (c) => {
    noQuery(c);
    const id = z.coerce.number().int().positive().safeParse(c.req.param('id'));
    if (!id.success) throw new AgentError('E_REQUEST', `Expected the number of a person but received ${JSON.stringify(c.req.param('id'))}`);
    if (!parts.gallery().remove(id.data)) throw new AgentError('E_NOT_FOUND', `There is no person ${id.data}`);
    return c.json({ removed: id.data });
  });
}

async function readEnrolment(c: ApiContext, parts: ApiParts): Promise<{ name: string; pictures: AsyncIterable<Image> | Iterable<Image>; pipeline?: string }> {
  const isForm = (c.req.header('content-type') ?? '').startsWith('multipart/form-data');
  const body: unknown = await (isForm ? c.req.parseBody({ all: true }) : c.req.json()).catch(() => null);
  const parsed = enrolmentSchema.safeParse(body);
  if (!parsed.success) {
    const fields = typeof body === 'object' && body !== null ? ` but received the fields ${JSON.stringify(Object.keys(body).slice(0, 10)).slice(0, 200)}` : '';
    throw new AgentError('E_REQUEST', `${EXPECTED}${fields}`);
  }
  const of = parsed.data.pipeline === undefined ? {} : { pipeline: parsed.data.pipeline };
  if ('from' in parsed.data) {
    const frame = parts.enrolmentFrame(parsed.data.pipeline);
    if (frame === null) throw new AgentError('E_NO_FRAME', 'No frame has arrived yet: send a picture');
    return { ...of, name: parsed.data.name, pictures: [frame] };
  }
  return { ...of, name: parsed.data.name, pictures: decoded([parsed.data.picture].flat(), parts) };
}

/** Decodes the pictures one after another, so that only one at a time is in memory as pixels. */
async function* decoded(files: readonly File[], parts: ApiParts): AsyncGenerator<Image, void, undefined> {
  for (const file of files) yield await parts.runtime.decodeImage(new Uint8Array(await file.arrayBuffer()), { maxPixels: MAX_PICTURE_PIXELS });
}

function toPerson(person: ReturnType<Gallery['list']>[number]): Record<string, unknown> {
  return { person_id: person.id, name: person.name, samples: person.samples, embedding_space_id: person.embeddingSpaceId, created_ms: person.createdMs };
}
