/** The login of the page with OpenID Connect: with a real provider end to end, with one that lies, and in a browser. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { oidcOf, type PageOidcOptions } from '../../../deploy/cli/oidc-options.js';
import { Collector } from '../../../deploy/collector/collector.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { Dashboard, type DashboardOptions } from '../../../deploy/dashboard/server.js';
import { freePort } from '../../../deploy/demo/device-process.js';
import { AuditLog } from '../../../deploy/users/audit.js';
import { OidcLogin, type OidcOptions, type OidcUser } from '../../../deploy/users/oidc.js';
import { nameOf, roleOf, valuesOf } from '../../../deploy/users/oidc-claims.js';
import { Sessions } from '../../../deploy/users/sessions.js';
import { addUser, UserDirectory } from '../../../deploy/users/users.js';
import { chromiumMissing, picture, usePages } from '../browser.js';
import { Browser, CLIENT, realProvider, scriptedProvider, SECRET, type RealProvider, type ScriptedProvider } from './oidc-provider.js';

const GROUPS = { 'ada-1': ['fleet-operators', 'staff'], 'vic-2': ['fleet-viewers'], 'eve-3': ['staff'] };
const PASSWORD = 'correct horse battery';
const MINUTE_MS = 60_000;
let folder: string;
let audit: AuditLog;
let store: CollectorStore;
let dashboard: Dashboard;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sterna-oidc-'));
  audit = new AuditLog(':memory:');
  store = new CollectorStore(':memory:');
});
afterEach(async () => {
  vi.useRealTimers();
  await dashboard?.stop();
  audit.close();
  store.close();
  rmSync(folder, { recursive: true });
});

const optionsOf = (issuer: string, publicUrl: string): OidcOptions => ({
  issuer: new URL(issuer), clientId: CLIENT, clientSecret: SECRET, publicUrl: new URL(publicUrl), name: 'Example SSO', scopes: 'openid profile', rolesClaim: 'groups', operators: ['fleet-operators'],
  viewers: ['fleet-viewers'], sessionMs: 60 * MINUTE_MS,
});

async function startPage(port: number, issuer: string, over: Partial<DashboardOptions['access']> = {}): Promise<string> {
  const url = `http://127.0.0.1:${port}`;
  dashboard = new Dashboard({
    port, collector: new Collector({ url: 'mqtt://127.0.0.1:1' }, store), store,
    access: { users: new UserDirectory(join(folder, 'users.json')), audit, oidc: new OidcLogin(optionsOf(issuer, url)), ...over },
  });
  await dashboard.start();
  return url;
}

/** A page and a real provider that know each other. */
async function both(): Promise<{ url: string; provider: RealProvider }> {
  const port = await freePort();
  const provider = await realProvider(`http://127.0.0.1:${port}/api/oidc/callback`, GROUPS);
  return { url: await startPage(port, provider.issuer), provider };
}

const start = (browser: Browser, url: string, headers: Record<string, string> = {}): Promise<Response> => browser.ask(`${url}/api/oidc/start`, { method: 'POST', headers });
const addressOf = async (answer: Response): Promise<string> => (await answer.json() as { url: string }).url;
const session = async (browser: Browser, url: string): Promise<unknown> => (await browser.ask(`${url}/api/session`)).json();

async function logIn(browser: Browser, url: string): Promise<{ answer: Response; way: string[] }> {
  return browser.go(await addressOf(await start(browser, url)));
}

/** Stops where the provider sends the browser back to the page. */
async function answerOf(browser: Browser, url: string): Promise<string> {
  return (await browser.go(await addressOf(await start(browser, url)), `${url}/api/oidc/callback`)).way.at(-1) ?? '';
}
const whither = async (browser: Browser, address: string): Promise<string | null> => (await browser.ask(address)).headers.get('location');
const noted = (): string[] => audit.list({ limit: 20 }).map(({ user, action, target, result }) => `${user ?? '-'} ${action} ${target} ${result}`);
const nobody = { login: true, user: null, role: null, oidc: { name: 'Example SSO' } };

describe('a login with a real provider', () => {
  it('ends in a session with the role of the group, and in the audit log with issuer and subject', async () => {
    const { url, provider } = await both();
    const browser = new Browser();
    expect((await browser.ask(`${url}/`)).headers.get('location')).toBe('/login');
    expect(await session(browser, url)).toEqual(nobody);
    provider.account = 'ada-1';
    const begun = await start(browser, url);
    expect(begun.headers.get('set-cookie')).toMatch(/^sterna-oidc-\d+=[\w.-]+; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/);
    const { searchParams: asked } = new URL(await addressOf(begun));
    expect(Object.fromEntries(asked)).toMatchObject({ response_type: 'code', client_id: CLIENT, redirect_uri: `${url}/api/oidc/callback`, scope: 'openid profile', code_challenge_method: 'S256' });
    for (const name of ['state', 'nonce', 'code_challenge']) expect(asked.get(name), name).toMatch(/^[\w-]{43}$/);
    const { answer, way } = await logIn(browser, url);
    expect([answer.status, way.at(-1)]).toEqual([200, `${url}/login`]);
    expect(await session(browser, url)).toEqual({ login: true, user: 'ada', role: 'operator', oidc: { name: 'Example SSO' } });
    expect((await browser.ask(`${url}/api/rollouts/none/pause`, { method: 'POST' })).status).not.toBe(403);
    expect(noted()).toEqual([`${provider.issuer}#ada-1 rollout.pause none E_NOT_FOUND`, `${provider.issuer}#ada-1 login ada ok`]);
    const out = await (await browser.ask(`${url}/api/logout`, { method: 'POST' })).json() as { provider: string };
    expect(out.provider).toMatch(new RegExp(`^${provider.issuer}/session/end\\?id_token_hint=`));
    expect(await session(browser, url)).toEqual(nobody);
    expect(noted()[0]).toBe(`${provider.issuer}#ada-1 logout  ok`);
  });

  it('gives viewers no more than their role, and refuses whoever has none', async () => {
    const { url, provider } = await both();
    const [vic, eve] = [new Browser(), new Browser()];
    provider.account = 'vic-2';
    await logIn(vic, url);
    expect(await session(vic, url)).toMatchObject({ user: 'vic', role: 'viewer' });
    expect((await vic.ask(`${url}/api/audit`)).status).toBe(403);
    provider.account = 'eve-3';
    expect((await logIn(eve, url)).way.at(-1)).toBe(`${url}/login?error=E_OIDC_ROLE`);
    expect(await session(eve, url)).toEqual(nobody);
    expect(noted()[0]).toMatch(new RegExp(`^${provider.issuer}#eve-3 login Example SSO knows you as eve, .* E_OIDC_ROLE$`));
  });

  it('takes an answer once, and in the browser alone that asked for it', async () => {
    const { url, provider } = await both();
    provider.account = 'ada-1';
    const [ada, stranger] = [new Browser(), new Browser()];
    const address = await answerOf(ada, url);
    const before = ada.copy();
    expect(await whither(new Browser(), address)).toBe('/login?error=E_OIDC_STATE');
    await start(stranger, url); // it has a cookie of its own: an answer of somebody else's must not log it in as them
    expect(await whither(stranger, address)).toBe('/login?error=E_OIDC_STATE');
    expect(await whither(ada, address)).toBe('/login');
    expect(await whither(ada, address)).toBe('/login?error=E_OIDC_STATE');
    expect(await whither(before, address)).toBe('/login?error=E_OIDC_STATE');
    expect([await session(ada, url), await session(stranger, url), await session(before, url)]).toMatchObject([{ user: 'ada' }, nobody, nobody]);
    // A code of another login with the state of this one.
    const late = new URL(await answerOf(stranger, url));
    late.searchParams.set('code', new URL(address).searchParams.get('code') ?? '');
    expect(await whither(stranger, late.href)).toBe('/login?error=E_OIDC_REFUSED');
    expect(await session(stranger, url)).toEqual(nobody);
  });

  it('is refused by the provider with its own words, for which the audit log has a place', async () => {
    const { url, provider } = await both();
    const browser = new Browser();
    const { searchParams: asked } = new URL(await addressOf(await start(browser, url)));
    const answer = new URLSearchParams({ error: 'access_denied', error_description: 'Not today', state: asked.get('state') ?? '', iss: provider.issuer });
    expect(await whither(browser, `${url}/api/oidc/callback?${answer.toString()}`)).toBe('/login?error=E_OIDC_REFUSED');
    expect(noted()[0]).toBe('(unknown) login Example SSO refuses the login: Not today E_OIDC_REFUSED');
  });

  it('leads nowhere else than to the form of the login', async () => {
    const { url, provider } = await both();
    provider.account = 'ada-1';
    const browser = new Browser();
    for (const query of ['', '?error=https://evil.example', '?state=x&code=y&redirect_uri=https://evil.example', '?state=&error=E_OK//evil.example']) {
      expect(await whither(browser, `${url}/api/oidc/callback${query}`), query).toBe('/login?error=E_OIDC_STATE');
    }
    const address = `${await answerOf(browser, url)}&to=//evil.example&redirect=https://evil.example`;
    expect(await whither(browser, address)).toBe('/login');
  });

  it('is begun by this page alone, under the name to which the provider leads back', async () => {
    const { url } = await both();
    for (const headers of [{ origin: 'http://evil.example' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }] as Record<string, string>[]) {
      const answer = await start(new Browser(), url, headers);
      expect([answer.status, answer.headers.get('set-cookie')]).toEqual([403, null]);
    }
    const other = await start(new Browser(), url.replace('127.0.0.1', 'localhost'));
    expect([other.status, other.headers.get('set-cookie'), await other.json()]).toEqual([409, null, { error: { code: 'E_OIDC_STATE', message: `Open the page as ${url}/ to log in with Example SSO` } }]);
  });

  it('lasts as long as the page was told, and ends for one without touching another', async () => {
    const { url, provider } = await both();
    provider.account = 'ada-1';
    const browser = new Browser();
    await logIn(browser, url);
    vi.useFakeTimers({ toFake: ['Date'] });
    for (const minute of [20, 40, 59]) {
      vi.setSystemTime(Date.now() + (minute === 59 ? 19 : 20) * MINUTE_MS);
      expect(await session(browser, url), `${minute}`).toMatchObject({ user: 'ada' });
    }
    vi.setSystemTime(Date.now() + 2 * MINUTE_MS);
    expect(await session(browser, url)).toEqual(nobody);
  });

  it('fails with a code while the provider is away, when local users still log in, and works when it is back', async () => {
    await addUser(join(folder, 'users.json'), { name: 'ada', role: 'operator', password: PASSWORD });
    const [port, providerPort] = [await freePort(), await freePort()];
    const url = await startPage(port, `http://127.0.0.1:${providerPort}`);
    const browser = new Browser();
    const away = await start(browser, url);
    expect([away.status, await away.json()]).toEqual([502, { error: { code: 'E_OIDC_AWAY', message: expect.stringMatching(/^Example SSO cannot be used now: .*ECONNREFUSED/) as string } }]);
    const local = await browser.ask(`${url}/api/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user: 'ada', password: PASSWORD }) });
    expect(local.status).toBe(200);
    expect(await session(browser, url)).toMatchObject({ user: 'ada', role: 'operator' });
    const provider = await realProvider(`${url}/api/oidc/callback`, GROUPS, providerPort);
    provider.account = 'vic-2';
    const [vic, late] = [new Browser(), new Browser()];
    await logIn(vic, url);
    expect(await session(vic, url)).toMatchObject({ user: 'vic', role: 'viewer' });
    const address = await answerOf(late, url);
    provider.stop();
    expect(await whither(late, address)).toBe('/login?error=E_OIDC_AWAY');
    expect(noted().filter((line) => line.endsWith('E_OIDC_AWAY'))).toHaveLength(2);
  });
});

describe('an answer of a provider', () => {
  const page = 'http://127.0.0.1:1';
  let provider: ScriptedProvider;
  let login: OidcLogin;
  const challenges = new Map<string, string>();
  beforeEach(async () => {
    challenges.clear();
    provider = await scriptedProvider(challenges);
    login = new OidcLogin(optionsOf(provider.issuer, page));
  });

  async function finished({ over = {}, iss = provider.issuer, afterMs = 0 }: { over?: Record<string, unknown>; iss?: string; afterMs?: number }): Promise<OidcUser> {
    const begunMs = Date.now();
    const { url, cookie } = await login.begin(begunMs);
    const { searchParams: asked } = new URL(url);
    challenges.set('the-code', asked.get('code_challenge') ?? '');
    provider.claims = { nonce: asked.get('nonce'), preferred_username: 'ada', groups: ['fleet-viewers'], ...over };
    return login.finish(cookie, new URLSearchParams({ code: 'the-code', state: asked.get('state') ?? '', iss }), begunMs + afterMs);
  }

  it('is believed when everything in it is right', async () => {
    expect(await finished({})).toMatchObject({ id: `${provider.issuer}#ada-1`, name: 'ada', role: 'viewer' });
    expect(provider.asked.map((body) => body.get('redirect_uri'))).toEqual([`${page}/api/oidc/callback`]);
  });

  it.each<[string, Record<string, unknown>]>([
    ['another nonce', { nonce: 'other' }], ['no nonce', { nonce: undefined }], ['another issuer', { iss: 'https://evil.example' }], ['another audience', { aud: 'other' }], ['an end in the past', { exp: 1000 }],
    ['no subject', { sub: undefined }], ['a subject with spaces', { sub: 'ada 1' }], ['an endless subject', { sub: 'x'.repeat(300) }],
  ])('is refused with %s', async (_what, over) => {
    await expect(finished({ over })).rejects.toMatchObject({ code: 'E_OIDC_REFUSED' });
  });

  it('is refused with a key that is not the provider\'s, and from another issuer than was asked', async () => {
    await expect(finished({ iss: 'https://evil.example' })).rejects.toMatchObject({ code: 'E_OIDC_REFUSED' });
    provider.forged = true;
    await expect(finished({})).rejects.toMatchObject({ code: 'E_OIDC_REFUSED' });
  });

  it('is too late after ten minutes', async () => {
    await expect(finished({ afterMs: 10 * MINUTE_MS })).rejects.toMatchObject({ code: 'E_OIDC_EXPIRED' });
    expect(provider.asked).toEqual([]);
    expect(await finished({ afterMs: 10 * MINUTE_MS - 1 })).toMatchObject({ role: 'viewer' });
  });

  it('may have its groups at the userinfo endpoint, of the same subject', async () => {
    provider.userinfo = { sub: 'ada-1', groups: ['fleet-operators'], nonce: 'x', iss: 'https://evil.example' };
    expect(await finished({ over: { groups: undefined } })).toMatchObject({ id: `${provider.issuer}#ada-1`, role: 'operator' });
    provider.userinfo = { sub: 'eve-3', groups: ['fleet-operators'] };
    await expect(finished({ over: { groups: undefined } })).rejects.toMatchObject({ code: 'E_OIDC_REFUSED' });
    provider.userinfo = { sub: 'ada-1' };
    await expect(finished({ over: { groups: undefined } })).rejects.toMatchObject({ code: 'E_OIDC_ROLE', details: { user: `${provider.issuer}#ada-1` } });
  });

  it('is of no use to a server that began anew', async () => {
    const { url, cookie } = await login.begin(Date.now());
    const state = new URL(url).searchParams.get('state') ?? '';
    await expect(new OidcLogin(optionsOf(provider.issuer, page)).finish(cookie, new URLSearchParams({ code: 'c', state }), Date.now())).rejects.toMatchObject({ code: 'E_OIDC_STATE' });
  });
});

describe('roles and names', () => {
  const rule = { rolesClaim: 'groups', operators: ['op'], viewers: ['view'] };
  it('follow from a claim that is a text or a list of texts, also within another one', () => {
    expect([['op', 'view'], ['view'], ['x'], 'op', 'opera', [['op']], { op: 1 }, null, undefined, 7].map((groups) => roleOf({ groups }, rule)))
      .toEqual(['operator', 'viewer', null, 'operator', null, null, null, null, null, null]);
    expect(roleOf({ realm_access: { roles: ['view'] } }, { ...rule, rolesClaim: 'realm_access.roles' })).toBe('viewer');
    expect(roleOf({ 'https://x.example/roles': ['op'] }, { ...rule, rolesClaim: 'https://x.example/roles' })).toBe('operator');
    expect([valuesOf({}, 'constructor.name'), valuesOf({}, '__proto__'), valuesOf({ a: 'text' }, 'a.length')]).toEqual([null, null, null]);
  });

  it('carry nothing that a terminal would obey', () => {
    expect([nameOf({ preferred_username: '\u001b[2Jada\u202e' }), nameOf({ preferred_username: ' ', email: 'a@b' }), nameOf({ sub: 'x'.repeat(99) }).length]).toEqual(['?[2Jada?', 'a@b', 64]);
  });

  it('cannot be those of a local user, whose sessions they leave alone', () => {
    const sessions = new Sessions(null);
    const user: OidcUser = { id: 'https://sso#ada', name: 'ada', role: 'viewer', idToken: 't' };
    const [short, long] = [sessions.beginOidc(user, 1000, 0), sessions.beginOidc(user, 99 * 3_600_000, 0)];
    expect([sessions.find(short, 999)?.user, sessions.find(short, 1000)]).toEqual(['https://sso#ada', null]);
    for (let ms = 0; ms < 12 * 3_600_000; ms += 20 * MINUTE_MS) expect(sessions.find(long, ms)?.shown).toBe('ada');
    expect(sessions.find(long, 12 * 3_600_000)).toBeNull();
  });
});

describe('the options', () => {
  const good: PageOidcOptions = {
    oidcIssuer: new URL('https://sso.example/realms/fleet'), oidcClient: 'sterna', publicUrl: new URL('https://fleet.example'), oidcOperators: ['op'], oidcViewers: [], oidcScopes: 'openid profile', oidcRolesClaim: 'groups', oidcSession: 60,
  };
  it('make a provider, which is called after its host, or none', () => {
    expect(oidcOf(good, true)).toMatchObject({ name: 'sso.example', sessionMs: 60 * MINUTE_MS });
    const { oidcIssuer: _issuer, oidcClient: _client, publicUrl: _url, ...none } = good;
    expect(oidcOf({ ...none, oidcOperators: [] }, true)).toBeNull();
    for (const issuer of ['http://127.0.0.1:9', 'http://[::1]:9', 'http://localhost:9']) expect(oidcOf({ ...good, oidcIssuer: new URL(issuer) }, true)).not.toBeNull();
  });

  it.each<[string, Partial<PageOidcOptions>, boolean]>([
    ['https:', { oidcIssuer: new URL('http://sso.example') }, true], ['https:', { oidcIssuer: new URL('http://127.0.0.1.evil.example') }, true], ['without \\?', { oidcIssuer: new URL('https://sso.example/?a') }, true],
    ['--oidc-operators', { oidcOperators: [] }, true], ['no path', { publicUrl: new URL('https://fleet.example/x') }, true], ['http:, or --tls-cert', {}, false], ['of https:', { publicUrl: new URL('http://fleet.example') }, true],
    ['openid', { oidcScopes: 'profile' }, true], ['720 minutes', { oidcSession: 721 }, true],
  ])('are refused when they cannot be meant: %s', (message, over, tls) => {
    expect(() => oidcOf({ ...good, ...over }, tls)).toThrow(expect.objectContaining({ code: 'E_USAGE', message: expect.stringMatching(message) as string }) as Error);
  });

  it('read the secret from a file that has one', () => {
    const file = join(folder, 'secret');
    expect(() => oidcOf({ ...good, oidcSecretFile: file }, true)).toThrow(/cannot be read/);
    writeFileSync(file, ' \n');
    expect(() => oidcOf({ ...good, oidcSecretFile: file }, true)).toThrow(/which is empty/);
    writeFileSync(file, 'secret\n');
    expect(oidcOf({ ...good, oidcSecretFile: file }, true)).not.toBeNull();
  });
});

describe.skipIf(chromiumMissing !== undefined)(`the login with OpenID Connect in a browser${chromiumMissing === undefined ? '' : ` (${chromiumMissing})`}`, () => {
  const { open, problems } = usePages();

  it('goes over the provider and back to what the address named, and says why it failed', async () => {
    const { url, provider } = await both();
    provider.account = 'eve-3';
    const page = await open(url, { colorScheme: 'dark' });
    await page.goto(`${url}/login#demo%2Fdoor-1`);
    await expect.poll(() => page.locator('#login-oidc').innerText()).toBe('Log in with Example SSO');
    await picture(page, 'login-oidc-dark');
    await page.click('#login-oidc');
    await expect.poll(() => page.locator('#login-message').innerText()).toContain('You have no role on this page');
    expect(new URL(page.url()).search).toBe('?error=E_OIDC_ROLE');
    await page.context().clearCookies(); // the provider's, which would take them for eve again
    provider.account = 'ada-1';
    await page.click('#login-oidc');
    await expect.poll(() => page.locator('#account').innerText()).toContain('ada · operator');
    expect(new URL(page.url())).toMatchObject({ pathname: '/', hash: '#demo%2Fdoor-1' });
    let answerLogout = (): void => undefined;
    const held = new Promise<void>((resolve) => { answerLogout = resolve; });
    await page.route('**/api/logout', async (route) => {
      const response = await route.fetch();
      await held;
      await route.fulfill({ response });
    });
    await page.click('#logout');
    // The session has ended: what the page asks meanwhile must not lead it to the login and past the provider.
    await expect.poll(() => page.evaluate(async () => (await fetch('/api/fleet')).status)).toBe(401);
    await page.evaluate(`import('/api.js').then(({ getJson }) => getJson('/api/fleet')).catch(() => undefined)`);
    answerLogout();
    await expect.poll(() => page.url()).toContain(`${provider.issuer}/session/end`);
    await page.waitForLoadState('networkidle');
    // Nobody knows the device that the address names (404), and the session ended before the page was left (401).
    expect(problems.splice(0).filter((text) => !text.includes(provider.issuer) && !/ status of 40[14] /.test(text))).toEqual([]);
  });
});
