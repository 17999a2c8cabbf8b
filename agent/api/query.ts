import type { Context } from 'hono';
import { z } from 'zod';
import { AgentError } from '../errors.js';

/**
 * Reads the parameters of a request. Unknown names are refused, so that a misspelt parameter does not silently do something else.
 * @throws AgentError E_REQUEST
 */
export function readQuery<T>(c: Context, schema: z.ZodType<T>, expected: string): T {
  const all = c.req.queries();
  const twice = Object.entries(all).find(([, values]) => values.length > 1);
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(all).map(([key, values]) => [key, values[0]])));
  if (twice === undefined && parsed.success) return parsed.data;
  throw new AgentError('E_REQUEST', `Expected ${expected} but received ${JSON.stringify(new URL(c.req.url).search)}`);
}

const nothing = z.strictObject({});

/** Refuses every parameter, for requests that take none. @throws AgentError E_REQUEST */
export function noQuery(c: Context): void {
  readQuery(c, nothing, 'no query parameters');
}
