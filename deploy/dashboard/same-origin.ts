import type { Context } from 'hono';

/** A browser says where a request comes from; a script without a browser says nothing, and could do as it likes anyway. */
export function sameOrigin(context: Context): boolean {
  const origin = context.req.header('origin');
  return origin === undefined || origin === `http://${context.req.header('host') ?? ''}`;
}
