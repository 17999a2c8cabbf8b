import { createHash, timingSafeEqual } from 'node:crypto';
import { getConnInfo } from '@hono/node-server/conninfo';
import { Hono, type Context, type MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { matchedRoutes } from 'hono/route';
import { z } from 'zod';
import { Attempts } from '../users/attempts.js';
import type { AuditEntry, AuditLog } from '../users/audit.js';
import type { OidcLogin, OidcUser } from '../users/oidc.js';
import { Sessions, type Session, type SessionLimits } from '../users/sessions.js';
import { PASSWORD_LENGTH, passwordFits, type UserDirectory } from '../users/users.js';
import { failure } from './failure.js';
import { oidcApi } from './oidc-api.js';
import { filledIn, pageRoutes, type PageRoute } from './routes.js';
import { sameOrigin } from './same-origin.js';
import { untilEnded } from './until-ended.js';

export interface AccessOptions {
  /** Without, or as long as it has nobody, the page needs no login, unless there is `oidc`. */
  users?: UserDirectory;
  /** A provider of OpenID Connect, whose users may log in beside those of `users`. */
  oidc?: OidcLogin;
  audit?: AuditLog;
  limits?: SessionLimits;
  /** Lets Prometheus read `/metrics` without a session. */
  metricsToken?: string;
}

/** Who asks. Without a login, `user` is null and everything is allowed. */
export type Who = Omit<Session, 'user'> & { readonly user: string | null };
export interface PageEnv { Variables: { who: Who } }

const SWEEP_MS = 1000;
const LOGIN_BYTES = 4096;
/** Attempts that wait for their turn: each takes 32 MiB and a part of a second. */
const WAITING = 16;
/** Failed logins a minute that are written one by one; a flood of them must not fill the disk. */
const FAILURES_A_MINUTE = 30;
const LISTED = 500;

const loginSchema = z.object({ user: z.string().max(64), password: z.string().max(4 * PASSWORD_LENGTH.most) });
const routeOf = new Map(pageRoutes.map((route) => [`${route.method} ${route.path}`, route]));

/** Login, sessions and roles of the page, and what of it goes into the audit log. */
export class Access {
  readonly #users: UserDirectory | null;
  readonly #oidc: OidcLogin | null;
  readonly #audit: AuditLog | null;
  readonly #sessions: Sessions | null;
  readonly #metricsToken: string | null;
  readonly #secure: boolean;
  readonly #attempts = new Attempts();
  /** Ends the streams of those without a login once one is needed. */
  readonly #open = new AbortController();
  readonly #failures = { minute: 0, written: 0, skipped: 0 };
  #timer: NodeJS.Timeout | null = null;
  #waiting = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param secure whether the page is served with TLS */
  constructor({ users, oidc, audit, limits, metricsToken }: AccessOptions, secure: boolean) {
    this.#users = users ?? null;
    this.#oidc = oidc ?? null;
    this.#audit = audit ?? null;
    this.#sessions = users === undefined && oidc === undefined ? null : new Sessions(users ?? null, limits);
    this.#metricsToken = metricsToken ?? null;
    this.#secure = secure;
  }

  get required(): boolean {
    return this.#oidc !== null || this.#users?.required === true;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#sessions?.endAll();
    this.#tellSkipped();
  }

  /** Lets a request through to its route if whoever asks has the role that it needs, and writes changes into the audit log. */
  guard(): MiddlewareHandler<PageEnv> {
    return async (context, next) => {
      const { method, path } = context.req;
      if (method !== 'GET' && method !== 'HEAD' && !sameOrigin(context, this.#secure)) return failure(context, 403, 'E_ORIGIN', 'Only this page may change anything');
      const matched = matchedRoutes(context).filter((route) => route.path !== '/*');
      const found = matched.map((route) => routeOf.get(`${route.method} ${route.path}`));
      if (found.includes(undefined)) return failure(context, 403, 'E_ROLE', `No role is stated for ${method} ${path}`);
      const route = found[0];
      if (route?.needs === 'anyone') return next();
      const who = this.#who(context, route);
      if (who === null) return path === '/' || path === '/index.html' ? context.redirect('/login') : failure(context, 401, 'E_SESSION', 'Log in first: there is no session, or it has ended');
      context.set('who', who);
      if (route?.needs === 'operator' && who.role !== 'operator') {
        this.#note(context, who, route, 'E_ROLE');
        return failure(context, 403, 'E_ROLE', 'Only an operator may do this; you are a viewer');
      }
      await next();
      const { res: answer } = context;
      if (answer.body !== null && answer.headers.get('content-type')?.startsWith('text/event-stream') === true) context.res = new Response(untilEnded(answer.body, who.ended), answer);
      if (route !== undefined) this.#note(context, who, route, await resultOf(answer));
      return undefined;
    };
  }

  /** `GET session`, `POST login`, `POST logout` and `GET audit`. */
  api(): Hono<PageEnv> {
    const api = new Hono<PageEnv>();
    api.get('/session', (context) => context.json(this.about(this.#who(context, undefined))));
    api.post('/login', bodyLimit({ maxSize: LOGIN_BYTES, onError: (context) => failure(context, 413, 'E_LOGIN', `Expected at most ${LOGIN_BYTES} bytes`) }), (context) => this.#login(context));
    api.post('/logout', (context) => this.#logout(context));
    api.route('/oidc', oidcApi({
      oidc: this.#oidc, cookie: (context) => this.#cookie(context, '-oidc'), secure: this.#secure,
      admit: (context, user) => this.#admit(context, user),
      refused: (context, { code, user, why }) => this.#noteFailure(context, { user, result: code, target: why }),
    }));
    api.get('/audit', (context) => context.json({ kept: this.#audit !== null, entries: this.#audit?.list({ limit: LISTED }) ?? [] }));
    return api;
  }

  /** What the page says about whoever reads it. */
  about(who: Who | null): { login: boolean; user: string | null; role: string | null; oidc?: { name: string } } {
    return { login: this.required, user: who?.shown ?? who?.user ?? null, role: who?.role ?? null, ...(this.#oidc === null ? {} : { oidc: { name: this.#oidc.name } }) };
  }

  #who(context: Context, route: PageRoute | undefined): Who | null {
    if (!this.required) return { user: null, role: 'operator', ended: this.#open.signal };
    if (route?.path === '/metrics' && this.#metricsToken !== null && equal(context.req.header('authorization') ?? '', `Bearer ${this.#metricsToken}`)) return { user: 'metrics', role: 'viewer', ended: this.#open.signal };
    const id = getCookie(context, this.#cookie(context));
    return id === undefined ? null : this.#sessions?.find(id, Date.now()) ?? null;
  }

  async #login(context: Context): Promise<Response> {
    if (!this.required) return failure(context, 409, 'E_LOGIN', 'This page needs no login');
    const given = loginSchema.safeParse(await context.req.json().catch(() => null));
    if (!given.success) return failure(context, 400, 'E_LOGIN', 'Expected a name and a password');
    const { user: name, password } = given.data;
    const address = addressOf(context);
    if (this.#waiting >= WAITING) return this.#refuse(context, name, 'E_LOGIN_LIMIT', 1000);
    const waitMs = this.#attempts.begin(name, address, Date.now());
    if (waitMs > 0) return this.#refuse(context, name, 'E_LOGIN_LIMIT', waitMs);
    const record = JSON.stringify(this.#users?.find(name));
    const fits = await this.#fits(name, password);
    // Meanwhile the user may have been removed, or have another password.
    const user = this.#users?.find(name);
    if (!fits || user === undefined || JSON.stringify(user) !== record) return this.#refuse(context, name, 'E_LOGIN', 0);
    this.#attempts.succeed(name, address);
    this.#write(context, { user: name, action: 'login', result: 'ok' });
    this.#give(context, this.#sessions?.begin(user, Date.now()) ?? '');
    return context.json({ login: true, user: user.name, role: user.role });
  }

  /** Begins the session of a provider's user. The audit log has the name once, and from then on whom the provider means by it. */
  #admit(context: Context, user: OidcUser): void {
    this.#write(context, { user: user.id, action: 'login', target: user.name, result: 'ok' });
    this.#give(context, this.#sessions?.beginOidc(user, this.#oidc?.sessionMs ?? 0, Date.now()) ?? '');
  }

  /** The cookie of a new session; the one before ends. */
  #give(context: Context, id: string): void {
    const before = getCookie(context, this.#cookie(context));
    if (before !== undefined) this.#sessions?.end(before);
    setCookie(context, this.#cookie(context), id, { path: '/', httpOnly: true, sameSite: 'Strict', secure: this.#secure });
  }

  async #logout(context: Context): Promise<Response> {
    const id = getCookie(context, this.#cookie(context));
    const who = this.#who(context, undefined);
    if (id !== undefined) this.#sessions?.end(id);
    deleteCookie(context, this.#cookie(context), { path: '/', secure: this.#secure });
    if (who !== null && who.user !== null) this.#write(context, { user: who.user, action: 'logout', result: 'ok' });
    // Else the next one at this screen would be let in by the provider without a question.
    const provider = who?.idToken === undefined ? null : await this.#oidc?.endSessionUrl(who.idToken, Date.now()) ?? null;
    return context.json({ login: this.required, user: null, role: null, ...(provider === null ? {} : { provider }) });
  }

  /** One after the other: each takes memory and a core. */
  async #fits(name: string, password: string): Promise<boolean> {
    this.#waiting += 1;
    const attempt = this.#turn.then(() => passwordFits(this.#users?.find(name), password));
    this.#turn = attempt.catch(() => undefined);
    return attempt.finally(() => { this.#waiting -= 1; });
  }

  #refuse(context: Context, name: string, code: 'E_LOGIN' | 'E_LOGIN_LIMIT', waitMs: number): Response {
    // A name that nobody has may be a password in the wrong field.
    this.#noteFailure(context, { user: this.#users?.find(name) === undefined ? null : name, result: code });
    if (code === 'E_LOGIN') return failure(context, 401, code, 'The name or the password is wrong');
    const seconds = Math.ceil(waitMs / 1000);
    context.header('retry-after', String(seconds));
    return failure(context, 429, code, `Too many attempts. Try again in ${seconds} s`);
  }

  #noteFailure(context: Context, { user, ...entry }: { user: string | null; result: string; target?: string }): void {
    const minute = Math.floor(Date.now() / 60_000);
    if (minute !== this.#failures.minute) this.#tellSkipped();
    this.#failures.minute = minute;
    if (this.#failures.written++ < FAILURES_A_MINUTE) this.#write(context, { user: user ?? '(unknown)', action: 'login', ...entry });
    else this.#failures.skipped += 1;
  }

  #tellSkipped(): void {
    const { skipped } = this.#failures;
    Object.assign(this.#failures, { written: 0, skipped: 0 });
    if (skipped > 0) this.#audit?.add({ time_ms: Date.now(), user: null, address: '', action: 'login', target: `${skipped} more failed attempts`, result: 'E_LOGIN_LIMIT' });
  }

  #note(context: Context, who: Who, route: PageRoute, result: string): void {
    const { audit } = route;
    if (audit === undefined) return;
    const { path } = context.req;
    this.#write(context, { user: who.user, action: filledIn(audit.action, route, path), target: filledIn(audit.target, route, path), result });
  }

  #write(context: Context, entry: Pick<AuditEntry, 'user' | 'action' | 'result'> & { target?: string }): void {
    this.#audit?.add({ time_ms: Date.now(), address: addressOf(context), target: '', ...entry });
  }

  #sweep(): void {
    if (this.required && !this.#open.signal.aborted) this.#open.abort();
    this.#sessions?.sweep(Date.now());
  }

  /** Cookies do not know ports: two pages on one machine need two names. `__Host-`: browsers take it with TLS alone, and from no other host. */
  #cookie(context: Context, purpose = ''): string {
    const { incoming } = context.env as { incoming: { socket: { localPort?: number } } };
    return `${this.#secure ? '__Host-' : ''}sterna${purpose}-${incoming.socket.localPort ?? 0}`;
  }
}

const addressOf = (context: Context): string => getConnInfo(context).remote.address ?? 'unknown';
const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
const equal = (a: string, b: string): boolean => timingSafeEqual(hash(a), hash(b));

/** `ok`, or the code in the answer. */
async function resultOf(answer: Response): Promise<string> {
  if (answer.ok) return 'ok';
  const body = await answer.clone().json().catch(() => null) as { error?: { code?: unknown } } | null;
  return typeof body?.error?.code === 'string' ? body.error.code.slice(0, 64) : `HTTP ${answer.status}`;
}
