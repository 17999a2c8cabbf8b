import type { Context } from 'hono';

/**
 * A browser says where a request comes from; a script without a browser says nothing, and has no session of a browser's to misuse. Cookies with
 * `SameSite=Strict` still go along from other ports of the same host: this tells them apart.
 */
export function sameOrigin(context: Context, secure: boolean): boolean {
  const site = context.req.header('sec-fetch-site');
  if (site !== undefined && site !== 'same-origin') return false;
  const origin = context.req.header('origin');
  return origin === undefined || origin === `${secure ? 'https' : 'http'}://${context.req.header('host') ?? ''}`;
}
