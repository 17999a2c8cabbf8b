/** Providers of OpenID Connect on loopback: a real one, and one whose answers a test chooses. */
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { Provider } from 'oidc-provider';
import { onTestFinished } from 'vitest';
import { listenOn } from '../fixtures.js';

type Grant = InstanceType<Provider['Grant']>;

export const CLIENT = 'sterna';
export const SECRET = 'a secret of the client, known to both';

function closeAfterTest(server: Server): void {
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
}

export interface RealProvider {
  issuer: string;
  /** Who logs in next, without being asked. */
  account: string;
  stop(): void;
}

/** A real provider, whose users need no password: what it checks of the client is what counts here. @param groups of each account */
export async function realProvider(redirect: string, groups: Readonly<Record<string, readonly string[]>>, port = 0): Promise<RealProvider> {
  const server = createServer();
  closeAfterTest(server);
  const issuer = `http://127.0.0.1:${await listenOn(server, port)}`;
  const provider: Provider = new Provider(issuer, {
    clients: [{ client_id: CLIENT, client_secret: SECRET, redirect_uris: [redirect], response_types: ['code'], grant_types: ['authorization_code'] }],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: ['a key of the test'] },
    jwks: { keys: [{ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] } as never,
    features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true, logoutSource: (context, form) => { context.body = form; } } },
    interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id.replace(/-\d+$/, ''), groups: groups[id] ?? [] }) }),
    loadExistingGrant: async (context): Promise<Grant> => {
      const grant: Grant = new provider.Grant({ accountId: context.oidc.session?.accountId ?? '', clientId: CLIENT });
      grant.addOIDCScope('openid profile');
      await grant.save();
      return grant;
    },
  });
  const answer = provider.callback();
  const running: RealProvider = { issuer, account: '', stop: () => { server.closeAllConnections(); server.close(); } };
  server.on('request', (request, response) => {
    if (request.url?.startsWith('/interaction/') === true) void provider.interactionFinished(request, response, { login: { accountId: running.account } }, { mergeWithLastSubmission: false });
    else if (request.url === '/favicon.ico') response.writeHead(204).end(); // a browser asks for it at any time, and would report that it is not there
    else void answer(request, response);
  });
  return running;
}

export interface ScriptedProvider {
  issuer: string;
  /** Changes of the claims of the next ID token. */
  claims: Record<string, unknown>;
  /** What the userinfo endpoint says. */
  userinfo: Record<string, unknown>;
  /** Whether its ID tokens are signed with another key than it publishes. */
  forged: boolean;
  /** The bodies that its token endpoint was sent. */
  readonly asked: URLSearchParams[];
}

/** Says whatever the test wants. @param challenges by code: it checks PKCE as a provider does */
export async function scriptedProvider(challenges: ReadonlyMap<string, string>): Promise<ScriptedProvider> {
  const [own, other] = [0, 1].map(() => generateKeyPairSync('rsa', { modulusLength: 2048 }));
  const server = createServer();
  closeAfterTest(server);
  const issuer = `http://127.0.0.1:${await listenOn(server)}`;
  const script: ScriptedProvider = { issuer, claims: {}, userinfo: {}, forged: false, asked: [] };
  const answers: Record<string, (body: string) => unknown> = {
    '/.well-known/openid-configuration': () => ({
      issuer, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks`, userinfo_endpoint: `${issuer}/me`, authorization_response_iss_parameter_supported: true,
      response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'], token_endpoint_auth_methods_supported: ['client_secret_basic'],
    }),
    '/jwks': () => ({ keys: [{ ...own?.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] }),
    '/me': () => script.userinfo,
    '/token': (body) => {
      const asked = new URLSearchParams(body);
      script.asked.push(asked);
      if (challenges.get(asked.get('code') ?? '') !== createHash('sha256').update(asked.get('code_verifier') ?? '').digest('base64url')) return null;
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: issuer, aud: CLIENT, sub: 'ada-1', iat: now, exp: now + 60, ...script.claims };
      return { access_token: 'access', token_type: 'Bearer', id_token: signed(claims, (script.forged ? other : own)?.privateKey) };
    },
  };
  server.on('request', (request, response) => {
    void text(request).then((body) => {
      const answer = answers[new URL(request.url ?? '/', issuer).pathname]?.(body) ?? null;
      response.writeHead(answer === null ? 400 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? { error: 'invalid_grant' }));
    });
  });
  return script;
}

function signed(claims: object, key: KeyObject | undefined): string {
  if (key === undefined) throw new Error('no key');
  const [head, body] = [{ alg: 'RS256' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return `${head}.${body}.${sign('sha256', Buffer.from(`${head}.${body}`), key).toString('base64url')}`;
}

/** A browser without a screen: follows redirects, and keeps cookies by host, as browsers do. */
export class Browser {
  readonly #cookies = new Map<string, Map<string, string>>();

  /** @returns the last answer that leads nowhere else, and the addresses on the way */
  async go(url: string, stopAt?: string): Promise<{ answer: Response; way: string[] }> {
    const way = [url];
    for (;;) {
      const answer = await this.ask(way.at(-1) ?? url);
      const location = answer.headers.get('location');
      if (answer.status < 300 || answer.status >= 400 || location === null || way.length > 10) return { answer, way };
      way.push(new URL(location, way.at(-1)).href);
      if (stopAt !== undefined && way.at(-1)?.startsWith(stopAt) === true) return { answer, way };
    }
  }

  async ask(url: string, init: RequestInit = {}): Promise<Response> {
    const { hostname } = new URL(url);
    const jar = this.#cookies.get(hostname) ?? new Map<string, string>();
    this.#cookies.set(hostname, jar);
    const answer = await fetch(url, { redirect: 'manual', ...init, headers: { ...init.headers, cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') } });
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (/max-age=0/i.test(cookie) || value === '') jar.delete(name);
      else jar.set(name, value);
    }
    return answer;
  }

  /** As it is now. */
  copy(): Browser {
    const copied = new Browser();
    for (const [host, jar] of this.#cookies) copied.#cookies.set(host, new Map(jar));
    return copied;
  }
}
