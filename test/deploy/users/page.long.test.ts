/** Login, roles, TLS and the audit log of the page, with its server and in a browser. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { Collector } from '../../../deploy/collector/collector.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { allowedHosts } from '../../../deploy/dashboard/hosts.js';
import { pageRoutes } from '../../../deploy/dashboard/routes.js';
import { Dashboard, type DashboardOptions } from '../../../deploy/dashboard/server.js';
import { RolloutStore } from '../../../deploy/rollout/store.js';
import { defaultSpec, parseWave } from '../../../deploy/rollout/spec.js';
import { AuditLog } from '../../../deploy/users/audit.js';
import { addUser, changeUser, removeUser, UserDirectory } from '../../../deploy/users/users.js';
import { chromiumMissing, picture, usePages } from '../browser.js';
import { listenOn } from '../fixtures.js';

const PASSWORD = 'correct horse battery';
const METRICS = 'a-token-of-prometheus';
let folder: string;
let file: string;
let audit: AuditLog;
let rollouts: RolloutStore;
let store: CollectorStore;
let dashboard: Dashboard;
let deviceUrl: string;
const device = createServer((request, response) => {
  if (request.url?.startsWith('/api/events') === true) response.writeHead(200, { 'content-type': 'text/event-stream' }).write('event: frame\ndata: {}\n\n');
  else response.end('{}');
});

beforeAll(async () => { deviceUrl = `http://127.0.0.1:${await listenOn(device)}`; });
afterAll(() => { device.closeAllConnections(); device.close(); });
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sterna-page-'));
  file = join(folder, 'users.json');
  audit = new AuditLog(':memory:');
  rollouts = new RolloutStore(':memory:');
  store = new CollectorStore(':memory:');
  rollouts.create({ id: 'faces-2', fleet: 'demo', package: { name: 'faces', version: '2.0.0', digest: 'ab'.repeat(32), size_bytes: 1, block_bytes: 65_536 }, spec: { ...defaultSpec, waves: [parseWave('100%')], seed: 's' }, created_ms: Date.now(), created_by: 'ada' },
    [{ device: 'door-1', pipeline: 'main', wave: 0, offset_ms: 0 }]);
});
afterEach(async () => {
  vi.useRealTimers();
  await dashboard.stop();
  for (const open of [audit, rollouts, store]) open.close();
  rmSync(folder, { recursive: true });
});

function make(options: Partial<DashboardOptions> = {}): Dashboard {
  dashboard = new Dashboard({
    port: 0, collector: new Collector({ url: 'mqtt://127.0.0.1:1' }, store), store, rollouts: () => rollouts, gateway: () => ({ baseUrl: deviceUrl, token: null }),
    access: { users: new UserDirectory(file), audit, metricsToken: METRICS }, ...options,
  });
  return dashboard;
}

async function withUsers(): Promise<void> {
  await addUser(file, { name: 'ada', role: 'operator', password: PASSWORD });
  await addUser(file, { name: 'vic', role: 'viewer', password: PASSWORD });
  await make().start();
}

const login = (user: string, password = PASSWORD, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${dashboard.url}/api/login`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ user, password }) });

async function cookieOf(user: string): Promise<string> {
  const answer = await login(user);
  expect(answer.status).toBe(200);
  return answer.headers.get('set-cookie')?.split(';')[0] ?? '';
}
const ask = (path: string, cookie = '', init: RequestInit = {}): Promise<Response> => fetch(`${dashboard.url}${path}`, { redirect: 'manual', ...init, headers: { cookie, ...init.headers } });
const sample = (path: string): string => path.replace(/:recording\{[^}]+\}/, 'ab-12').replace(/:frame\{.*\}/, '1.jpg').replace(/:person\{[^}]+\}/, '7').replace(':fleet', 'demo').replace(':device', 'door-1').replace(':id', 'faces-2').replace(':kind', 'pause');

describe('the routes', () => {
  it('are all in the table of roles, and the table has no others', async () => {
    const registered = (await make().routes()).routes.filter(({ path }) => path !== '/*').map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(registered)].sort()).toEqual(pageRoutes.map(({ method, path }) => `${method} ${path}`).sort());
  });

  it('refuse whoever has no session, and viewers what only operators may', async () => {
    await withUsers();
    const vic = await cookieOf('vic');
    for (const { method, path, needs } of pageRoutes) {
      if (needs === 'anyone') continue;
      const url = sample(path);
      const [nobody, viewer] = [await ask(url, '', { method }), needs === 'operator' ? await ask(url, vic, { method }) : null];
      if (url === '/' || url === '/index.html') expect([nobody.status, nobody.headers.get('location')]).toEqual([302, '/login']);
      else expect([nobody.status, await nobody.json()], url).toMatchObject([401, { error: { code: 'E_SESSION' } }]);
      if (viewer !== null) expect([viewer.status, await viewer.json()], url).toMatchObject([403, { error: { code: 'E_ROLE' } }]);
    }
    expect(rollouts.nextRequest('faces-2')).toBeNull();
    expect(audit.list({ limit: 9 }).map(({ user, action, target, result }) => [user, action, target, result])).toEqual([
      ['vic', 'recording.delete', 'demo/door-1 recording ab-12', 'E_ROLE'], ['vic', 'person.delete', 'demo/door-1 person 7', 'E_ROLE'],
      ['vic', 'person.enroll', 'demo/door-1', 'E_ROLE'], ['vic', 'rollout.pause', 'faces-2', 'E_ROLE'], ['vic', 'login', '', 'ok'],
    ]);
  });
});

describe('a login', () => {
  it('gives an HttpOnly, SameSite=Strict cookie, names who asks, and ends with the log out', async () => {
    await withUsers();
    const answer = await login('ada');
    expect(answer.headers.get('set-cookie')).toMatch(/^sterna-\d+=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
    const ada = answer.headers.get('set-cookie')?.split(';')[0] ?? '';
    expect(await (await ask('/api/session', ada)).json()).toEqual({ login: true, user: 'ada', role: 'operator' });
    expect((await ask('/api/rollouts/faces-2/pause', ada, { method: 'POST' })).status).toBe(202);
    expect(rollouts.nextRequest('faces-2')).toMatchObject({ kind: 'pause', by: 'ada' });
    expect(await (await ask('/api/rollouts', ada)).json()).toMatchObject({ rollouts: [{ requested: 'pause', requested_by: 'ada' }] });
    expect((await ask('/api/rollouts/none/pause', ada, { method: 'POST' })).status).toBe(409);
    expect((await ask('/api/logout', ada, { method: 'POST' })).status).toBe(200);
    expect((await ask('/api/fleet', ada)).status).toBe(401);
    expect(audit.list({ limit: 9 }).map(({ action, result }) => `${action} ${result}`)).toEqual(['logout ok', 'rollout.pause E_ROLLOUT', 'rollout.pause ok', 'login ok']);
  });

  it('fails alike for wrong passwords and unknown names, is bounded, and is noted without what may be a password', async () => {
    await withUsers();
    // The limit is over after a second, and each answer takes as long on a busy machine.
    vi.useFakeTimers({ toFake: ['Date'] });
    const [wrong, unknown] = [await login('ada', 'wrong'), await login('hunter2')];
    expect([wrong.status, await wrong.text()]).toEqual([unknown.status, await unknown.text()]);
    for (let i = 0; i < 4; i++) await login('ada', 'wrong');
    const limited = await login('ada');
    expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '1']);
    expect(await limited.json()).toMatchObject({ error: { code: 'E_LOGIN_LIMIT' } });
    expect(audit.list({ limit: 20 }).map(({ user, result }) => `${user ?? ''} ${result}`)).toEqual(['ada E_LOGIN_LIMIT', ...Array<string>(4).fill('ada E_LOGIN'), '(unknown) E_LOGIN', 'ada E_LOGIN']);
  });

  it('and every change are refused from other origins, also from another port of the same host', async () => {
    await withUsers();
    const ada = await cookieOf('ada');
    for (const headers of [{ origin: 'http://evil.example' }, { origin: 'http://127.0.0.1:1' }, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }]) {
      expect((await login('ada', PASSWORD, headers as Record<string, string>)).status).toBe(403);
      for (const { method, path } of pageRoutes) {
        if (method !== 'GET') expect((await ask(sample(path), ada, { method, headers: headers as Record<string, string> })).status, path).toBe(403);
      }
    }
    expect(rollouts.nextRequest('faces-2')).toBeNull();
  });

  it.each<[string, (cookie: string) => Promise<unknown>]>([
    ['log out', (cookie) => ask('/api/logout', cookie, { method: 'POST' })],
    ['the user is removed', () => removeUser(file, 'ada')],
    ['the password changes', () => changeUser(file, 'ada', { password: `${PASSWORD} 2` })],
    ['the role changes', () => changeUser(file, 'ada', { role: 'viewer' })],
  ])('ends its streams of the page and of a device: %s', async (_what, end) => {
    await withUsers();
    const ada = await cookieOf('ada');
    const streams = await Promise.all(['/api/stream', '/api/devices/demo/door-1/local/events'].map((path) => ask(path, ada)));
    expect(streams.map(({ status }) => status)).toEqual([200, 200]);
    const ended = streams.map((stream) => stream.text());
    await end(ada);
    expect((await Promise.all(ended))[1]).toContain('event: frame');
    expect((await ask('/api/stream', ada)).status).toBe(401);
  });

  it('is needed as soon as there is a user; before, the page is open', async () => {
    await make().start();
    expect((await ask('/api/fleet')).status).toBe(200);
    expect((await ask('/api/rollouts/faces-2/pause', '', { method: 'POST' })).status).toBe(202);
    expect(audit.list({ limit: 1 })).toMatchObject([{ user: null, action: 'rollout.pause', address: '127.0.0.1' }]);
    const stream = (await ask('/api/stream')).text();
    await addUser(file, { name: 'ada', role: 'operator', password: PASSWORD });
    expect((await ask('/api/fleet')).status).toBe(401);
    await stream;
    await removeUser(file, 'ada');
    expect((await ask('/api/fleet')).status).toBe(401);
  });

  it('lets Prometheus read its figures with a token, and nothing else', async () => {
    await withUsers();
    const headers = { authorization: `Bearer ${METRICS}` };
    expect((await ask('/metrics', '', { headers })).status).toBe(200);
    expect((await ask('/metrics', '', { headers: { authorization: 'Bearer other' } })).status).toBe(401);
    expect((await ask('/api/fleet', '', { headers })).status).toBe(401);
  });
});

describe('other addresses', () => {
  it('need a certificate and a user', async () => {
    await expect(make({ listen: '0.0.0.0' }).start()).rejects.toThrow(/--tls-cert and --tls-key/);
    await expect(make({ listen: '0.0.0.0', tls: { cert: Buffer.from(''), key: Buffer.from('') } }).start()).rejects.toThrow(/sterna users add/);
    await expect(make({ tls: { cert: Buffer.from('x'), key: Buffer.from('y') } }).start()).rejects.toMatchObject({ code: 'E_TLS' });
  });

  it('are known by their names alone', () => {
    const allowed = allowedHosts('192.0.2.7', ['fleet.example']);
    expect(['localhost:1', '[::1]:8480', '192.0.2.7:8480', 'Fleet.Example:8480'].map(allowed)).toEqual([true, true, true, true]);
    expect(['', 'evil.example', 'fleet.example.evil', '192.0.2.8', 'fleet.example@evil'].map(allowed)).toEqual([false, false, false, false, false]);
    expect(allowedHosts('0.0.0.0', [])('0.0.0.0')).toBe(false);
  });

  it('speak TLS, with a cookie that browsers send nowhere else', async () => {
    await addUser(file, { name: 'ada', role: 'operator', password: PASSWORD });
    const [cert, key] = [join(folder, 'page.crt'), join(folder, 'page.key')];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-subj', '/CN=fleet.example', '-addext', 'subjectAltName=DNS:fleet.example'], { stdio: 'ignore' });
    await make({ tls: { cert: readFileSync(cert), key: readFileSync(key) }, hosts: ['fleet.example'] }).start();
    expect(dashboard.url).toMatch(/^https:\/\/fleet\.example:\d+$/);
    const post = (headers: Record<string, string>): Promise<{ status: number; cookie: string }> => new Promise((resolve, reject) => {
      tlsRequest({ host: '127.0.0.1', port: dashboard.port, path: '/api/login', method: 'POST', ca: readFileSync(cert), servername: 'fleet.example', headers: { 'content-type': 'application/json', ...headers } },
        (answer) => { answer.resume(); resolve({ status: answer.statusCode ?? 0, cookie: answer.headers['set-cookie']?.[0] ?? '' }); }).on('error', reject).end(JSON.stringify({ user: 'ada', password: PASSWORD }));
    });
    const host = `fleet.example:${dashboard.port}`;
    expect(await post({ host, origin: `https://${host}` })).toMatchObject({ status: 200, cookie: expect.stringMatching(/^__Host-sterna-\d+=[\w-]{43}; Path=\/; HttpOnly; Secure; SameSite=Strict$/) as string });
    expect((await post({ host, origin: `http://${host}` })).status).toBe(403);
    expect((await post({ host: 'evil.example' })).status).toBe(403);
  });
});

describe.skipIf(chromiumMissing !== undefined)(`the login in a browser${chromiumMissing === undefined ? '' : ` (${chromiumMissing})`}`, () => {
  const { open, problems } = usePages();

  it('logs in, shows operators the audit log, logs out, and shows viewers what they may not do', async () => {
    await withUsers();
    const page = await open(dashboard.url, { colorScheme: 'dark' });
    expect(new URL(page.url()).pathname).toBe('/login');
    await picture(page, 'login-dark');
    await page.fill('#login-user', 'ada');
    await page.fill('#login-password', 'wrong');
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('#login-message').innerText()).toBe('The name or the password is wrong');
    expect(problems.splice(0).every((text) => text.includes('401'))).toBe(true);
    await page.fill('#login-password', PASSWORD);
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('#account').innerText()).toContain('ada · operator');
    await page.click('#rollouts [data-kind="pause"]');
    await page.click('#confirm-ok');
    await expect.poll(() => page.locator('#rollouts').innerText()).toContain('pause was requested by ada');
    await page.click('#audit summary');
    await expect.poll(() => page.locator('#audit-rows').innerText()).toMatch(/rollout\.pause\s+faces-2\s+ok[\s\S]*E_LOGIN/);
    await picture(page, 'audit-dark');
    await page.click('#logout');
    await page.waitForSelector('#login');
    await page.goto('about:blank');

    const phone = await open(dashboard.url, { colorScheme: 'light', viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    const [field, heading] = [await phone.locator('#login-user').boundingBox(), await phone.locator('h1').boundingBox()];
    expect(field?.width).toBeGreaterThan(250);
    expect((heading?.y ?? 0) + (heading?.height ?? 0)).toBeLessThan(field?.y ?? 0);
    await picture(phone, 'login-phone-light');
    await phone.fill('#login-user', 'vic');
    await phone.fill('#login-password', PASSWORD);
    await phone.click('#login-ok');
    await phone.waitForSelector('#rollouts [data-kind="pause"]');
    const button = phone.locator('#rollouts [data-kind="pause"]');
    expect([await button.isDisabled(), await button.getAttribute('title')]).toEqual([true, 'Only an operator may do this. You are a viewer.']);
    expect(await phone.locator('#audit').isVisible()).toBe(false);
    expect([await phone.locator('#enrol').isVisible(), await phone.locator('#enrol-reason').isVisible()]).toEqual([false, true]);
    expect(await phone.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await picture(phone, 'viewer-phone-light');
    await removeUser(file, 'vic');
    await phone.waitForSelector('#login', { timeout: 15_000 });
    problems.splice(0); // the browser logs what was refused
  });
});
