import { Hono, type Context } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import type { OidcLogin, OidcUser } from '../users/oidc.js';
import { failure } from './failure.js';

interface OidcApiOptions {
  /** Null: there is no provider. */
  oidc: OidcLogin | null;
  /** Name of the cookie that belongs to a login on its way. */
  cookie: (context: Context) => string;
  secure: boolean;
  /** Begins the session of a user, in the answer to this request. */
  admit: (context: Context, user: OidcUser) => void;
  /** A login failed; `user` is whom the provider vouched for, if it came that far. */
  refused: (context: Context, failed: { code: string; user: string | null; why: string }) => void;
}

/**
 * `POST start` says where the browser is to go; `GET callback` is where the provider sends it back to. What it is sent on to is always the form of the login, which
 * knows why it failed by a code, or finds that there is a session now: a browser sends no cookie of `SameSite=Strict` on the way from another site.
 */
export function oidcApi({ oidc, cookie, secure, admit, refused }: OidcApiOptions): Hono {
  const api = new Hono();
  const told = (context: Context, error: unknown): string => {
    if (!(error instanceof DeployError)) throw error;
    const { user } = error.details as { user?: unknown };
    refused(context, { code: error.code, user: typeof user === 'string' ? user : null, why: error.message });
    return error.code;
  };
  api.post('/start', async (context) => {
    if (oidc === null) return failure(context, 404, 'E_NOT_FOUND', 'This page knows no provider of OpenID Connect');
    // The provider sends the browser back to that address, which has not the cookies of this one.
    if (context.req.header('host')?.toLowerCase() !== oidc.publicUrl.host) return failure(context, 409, 'E_OIDC_STATE', `Open the page as ${oidc.publicUrl.href} to log in with ${oidc.name}`);
    try {
      const { url, cookie: value, maxAgeSeconds } = await oidc.begin(Date.now());
      // Lax: it has to come along from the provider's site.
      setCookie(context, cookie(context), value, { path: '/', httpOnly: true, sameSite: 'Lax', secure, maxAge: maxAgeSeconds });
      return context.json({ url });
    } catch (error) {
      return failure(context, 502, told(context, error), messageOf(error));
    }
  });
  api.get('/callback', async (context) => {
    if (oidc === null) return failure(context, 404, 'E_NOT_FOUND', 'This page knows no provider of OpenID Connect');
    const value = getCookie(context, cookie(context));
    deleteCookie(context, cookie(context), { path: '/', secure });
    context.header('cache-control', 'no-store');
    try {
      admit(context, await oidc.finish(value, new URL(context.req.url).searchParams, Date.now()));
      return context.redirect('/login');
    } catch (error) {
      return context.redirect(`/login?error=${told(context, error)}`);
    }
  });
  return api;
}
