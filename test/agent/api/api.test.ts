import { createConnection } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadToken } from '../../../agent/api/auth.js';
import { allowedHost, allowedOrigin } from '../../../agent/api/guard.js';
import { parseConfig, startAgent, type Agent } from '../../../agent/main.js';
import { FakeRuntime, packageBytes } from '../support/fake-runtime.js';
import { quietLog, temporaryFolder, until } from '../support/tools.js';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

let token = '';

/** As the owner of the device asks: with its token. */
function ask(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...init, headers: { authorization: `Bearer ${token}`, ...Object.fromEntries(new Headers(init.headers)) } });
}

async function device(over: Record<string, unknown> = {}): Promise<{ agent: Agent; url: string; runtime: FakeRuntime }> {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'faces.sterna'), packageBytes({ name: 'faces', version: '1.0.0' }));
  const runtime = new FakeRuntime();
  const agent = await startAgent(parseConfig({
    state_dir: join(folder, 'state'), camera: { input: '/camera' }, api: { port: 0, allowed_origins: ['http://127.0.0.1:8480'] }, telemetry: { interval_ms: 1000 },
    pipeline: { package: join(folder, 'faces.sterna') }, ...over,
  }), { runtime, log: quietLog, env: {} });
  onTestFinished(() => agent.stop());
  token = readFileSync(join(folder, 'state', 'api.token'), 'utf8').trim();
  return { agent, runtime, url: agent.apiUrl ?? '' };
}

const modelOf = (agent: Agent): unknown => (agent.status()['pipelines'] as { model: unknown }[])[0]?.model;

describe('the guard', () => {
  const options = { host: '127.0.0.1', port: 8481, allowedOrigins: ['http://page'] };

  it('lets names of this machine pass, and no others', () => {
    const hosts = ['127.0.0.1:8481', 'localhost:8481', 'LOCALHOST:8481', '[::1]:8481', 'evil.example:8481', '127.0.0.1:80', '127.0.0.1', 'localhost.evil.example:8481', '127.0.0.1:8481@evil', undefined, ''];
    expect(hosts.map((h) => allowedHost(h, options))).toEqual([true, true, true, true, false, false, false, false, false, false, false]);
  });

  it('lets addresses pass where the API is open to the network', () => {
    expect(allowedHost('192.168.1.7:8481', { ...options, host: '0.0.0.0' })).toBe(true);
    expect(allowedHost('192.168.1.7:8481', options)).toBe(false);
    expect(allowedHost('evil.example:8481', { ...options, host: '0.0.0.0' })).toBe(false);
  });

  it('lets known pages, the API\'s own and programs pass', () => {
    expect([undefined, 'http://page', 'http://127.0.0.1:8481', 'http://evil', 'null'].map((o) => allowedOrigin(o, '127.0.0.1:8481', options))).toEqual([true, true, true, false, false]);
  });
});

describe('the local API', () => {
  it('tells its health, state and metrics', async () => {
    const { url } = await device();
    await until('frames', async () => {
      const status = await (await ask(`${url}/api/status`)).json() as { pipelines: { counters: Record<string, number>; model: { version: string } | null }[] };
      return status.pipelines[0]?.model?.version === '1.0.0' && (status.pipelines[0].counters['frames_processed_total'] ?? 0) > 3;
    });
    expect(await (await ask(`${url}/health`)).json()).toEqual({ ok: true, reasons: [], warnings: [] });
    await until('a window', async () => (await (await ask(`${url}/api/telemetry`)).json()) !== null);
    const metrics = await (await ask(`${url}/metrics`)).text();
    for (const line of [/^sterna_stage_latency_seconds_bucket\{le="0.001",pipeline="main",stage="detect",kind="warm"\} \d+$/m, /^sterna_frames_dropped_by_swap_total\{pipeline="main"\} 0$/m, /^sterna_info\{.*model_version="1.0.0"\} 1$/m, /^sterna_energy_joules_total\{.*quality="\w+"\} [\d.e-]+$/m, /^sterna_process_resident_bytes \d+$/m]) {
      expect(metrics).toMatch(line);
    }
    expect(metrics).not.toMatch(/NaN/);
  });

  it('gives a picture with the number of its frame', async () => {
    const { url } = await device();
    await until('picture', async () => (await ask(`${url}/api/snapshot.jpg`)).status === 200);
    const picture = await ask(`${url}/api/snapshot.jpg`);
    expect(picture.headers.get('content-type')).toBe('image/jpeg');
    expect(Number(picture.headers.get('x-frame-sequence'))).toBeGreaterThanOrEqual(0);
    expect(new Uint8Array(await picture.arrayBuffer())).toEqual(Uint8Array.of(0xff, 0xd8));
  });

  it('has no picture without a camera', async () => {
    const { url } = await device({ camera: { input: null } });
    const answer = await ask(`${url}/api/snapshot.jpg`);
    expect([answer.status, (await answer.json() as { error: { code: string } }).error.code]).toEqual([404, 'E_NO_FRAME']);
  });

  it('streams events, telemetry and frames', async () => {
    const { url, runtime } = await device();
    runtime.findings = [{ type: 'detection', box: [1, 2, 3, 4], score: 0.9, label: 'face', identity: { personId: 1, name: 'Ann', similarity: 0.8 } }];
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const stream = await ask(`${url}/api/events?frames=1`, { signal: stop.signal });
    expect(stream.headers.get('content-type')).toContain('text/event-stream');
    let text = '';
    const reader = stream.body?.getReader();
    await until('all three kinds', async () => {
      text += new TextDecoder().decode((await reader?.read())?.value);
      return ['event: event', 'event: telemetry', 'event: frame', '"appeared"'].every((part) => text.includes(part));
    });
    expect(text).toMatch(/"findings":\[\{"type":"detection","label":"face","score":0.9,"box":\[1,2,3,4\],"identity":\{"person_id":1,"name":"Ann","similarity":0.8\}\}\]/);
  });

  it('enrols from pictures or from the camera, lists and deletes', async () => {
    const { url, agent } = await device();
    await until('the package runs', () => modelOf(agent) != null);
    const form = new FormData();
    form.set('name', 'Ann');
    for (let i = 0; i < 2; i++) form.append('picture', new File([Uint8Array.of(0xff, 0xd8)], 'a.jpg'));
    const created = await ask(`${url}/api/gallery`, { method: 'POST', body: form });
    expect([created.status, await created.json()]).toMatchObject([201, { name: 'Ann', samples: 2, pictures: 2 }]);
    await until('a frame', async () => (await ask(`${url}/api/snapshot.jpg`)).status === 200);
    expect((await ask(`${url}/api/gallery`, { method: 'POST', body: JSON.stringify({ name: 'Ben', from: 'camera' }), headers: { 'content-type': 'application/json' } })).status).toBe(201);
    expect(await (await ask(`${url}/api/gallery`)).json()).toMatchObject({ people: [{ person_id: 1, name: 'Ann' }, { person_id: 2, name: 'Ben' }] });
    expect((await ask(`${url}/api/gallery/1`, { method: 'DELETE' })).status).toBe(200);
    expect((await ask(`${url}/api/gallery/1`, { method: 'DELETE' })).status).toBe(404);
  });

  it.each([
    ['no name', (): RequestInit => ({ method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }), 400, 'E_REQUEST'],
    ['no JSON', (): RequestInit => ({ method: 'POST', body: '{{{' }), 400, 'E_REQUEST'],
    ['no picture', (): RequestInit => { const f = new FormData(); f.set('name', 'x'); f.set('picture', new File(['text'], 'a.jpg')); return { method: 'POST', body: f }; }, 422, 'E_MEDIA'],
    ['too much', (): RequestInit => ({ method: 'POST', body: Buffer.alloc(33 * 1024 * 1024) }), 413, 'E_REQUEST_SIZE'],
    ['another field', (): RequestInit => { const f = new FormData(); f.set('name', 'x'); f.append('pictures', new File([Uint8Array.of(0xff, 0xd8)], 'a.jpg')); return { method: 'POST', body: f }; }, 400, 'E_REQUEST'],
    ['a picture that is text', (): RequestInit => { const f = new FormData(); f.set('name', 'x'); f.set('picture', 'me'); return { method: 'POST', body: f }; }, 400, 'E_REQUEST'],
    ['a name alone', (): RequestInit => ({ method: 'POST', body: '{"name":"x"}', headers: { 'content-type': 'application/json' } }), 400, 'E_REQUEST'],
    ['camera and picture', (): RequestInit => { const f = new FormData(); f.set('name', 'x'); f.set('from', 'camera'); f.set('picture', new File([Uint8Array.of(0xff, 0xd8)], 'a.jpg')); return { method: 'POST', body: f }; }, 400, 'E_REQUEST'],
    ['a body without a length', (): RequestInit => ({ method: 'POST', body: new ReadableStream({ start: (c) => { c.enqueue(new TextEncoder().encode('{}')); c.close(); } }), duplex: 'half' }) as RequestInit, 411, 'E_REQUEST_LENGTH'],
  ])('refuses an enrolment with %s', async (_, init, status, code) => {
    const { url, agent } = await device();
    await until('the package runs', () => modelOf(agent) != null);
    const answer = await ask(`${url}/api/gallery`, init());
    expect([answer.status, (await answer.json() as { error: { code: string } }).error.code]).toEqual([status, code]);
  });

  it('refuses strangers: another Host, another Origin, an unknown path', async () => {
    const { url } = await device();
    const port = Number(new URL(url).port);
    expect(await raw(port, 'GET /api/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1.1 403/);
    expect((await ask(`${url}/api/gallery/1`, { method: 'DELETE', headers: { origin: 'http://evil.example' } })).status).toBe(403);
    const known = await ask(`${url}/api/status`, { headers: { origin: 'http://127.0.0.1:8480' } });
    expect([known.status, known.headers.get('access-control-allow-origin')]).toEqual([200, 'http://127.0.0.1:8480']);
    expect((await ask(`${url}/api/nothing`)).status).toBe(404);
    expect((await ask(`${url}/api/gallery/x`, { method: 'DELETE' })).status).toBe(400);
  });

  it.each(['/api/status', '/api/telemetry', '/api/snapshot.jpg', '/api/gallery'])('has no parameters for %s', async (path) => {
    const { url } = await device();
    const answer = await ask(`${url}${path}?since=yesterday`);
    expect([answer.status, (await answer.json() as { error: { code: string } }).error.code]).toEqual([400, 'E_REQUEST']);
  });

  it('lets nobody without the token see or change anything but health and metrics', async () => {
    const { url } = await device();
    const stranger = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${url}${path}`, init);
    for (const [path, init] of [['/api/status', {}], ['/api/telemetry', {}], ['/api/events', {}], ['/api/snapshot.jpg', {}], ['/api/gallery', {}], ['/api/nothing', {}],
      ['/api/gallery', { method: 'POST', body: '{"name":"x","from":"camera"}' }], ['/api/gallery/1', { method: 'DELETE' }]] as [string, RequestInit][]) {
      for (const headers of [{}, { authorization: 'Bearer ' }, { authorization: `Bearer ${token}x` }, { authorization: `Basic ${token}` }] as Record<string, string>[]) {
        const answer = await stranger(path, { ...init, headers });
        expect([path, answer.status, answer.headers.get('www-authenticate')]).toEqual([path, 401, 'Bearer realm="sterna"']);
        expect(await answer.json()).toMatchObject({ error: { code: 'E_UNAUTHORIZED' } });
      }
    }
    expect([(await stranger('/health')).status, (await stranger('/metrics')).status]).toEqual([200, 200]);
    expect(JSON.stringify(await (await ask(`${url}/api/status`)).json())).not.toContain(token);
  });

  it('keeps the token for its owner alone, and over starts', async () => {
    const folder = temporaryFolder();
    const first = loadToken({ stateDir: folder }, () => undefined);
    expect(statSync(join(folder, 'api.token')).mode & 0o777).toBe(0o600);
    expect(loadToken({ stateDir: folder }, () => undefined)).toBe(first);
    expect(first.length).toBeGreaterThanOrEqual(40);
    writeFileSync(join(folder, 'short'), 'secret');
    expect(() => loadToken({ stateDir: folder, tokenFile: join(folder, 'short') }, () => undefined)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
    expect(() => loadToken({ stateDir: folder, tokenFile: join(folder, 'absent') }, () => undefined)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
    const complaints: string[] = [];
    expect(loadToken({ stateDir: join(folder, 'no', 'such') }, (error) => complaints.push(error.code))).not.toBe('');
    expect(complaints).toEqual(['E_STATE']);
  });

  it('lets no other site show its pictures, and no cache keep them', async () => {
    const { url } = await device();
    await until('picture', async () => (await ask(`${url}/api/snapshot.jpg`)).status === 200);
    const { headers } = await ask(`${url}/api/snapshot.jpg`);
    expect(['cross-origin-resource-policy', 'cache-control', 'x-content-type-options'].map((name) => headers.get(name))).toEqual(['same-origin', 'no-store', 'nosniff']);
  });

  it('bounds the number of streams', async () => {
    const { url } = await device();
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const readers = await openStreams(url, 16, stop.signal);
    expect(readers.map(({ status }) => status)).toEqual(new Array(16).fill(200));
    expect((await ask(`${url}/api/events`)).status).toBe(503);
    await Promise.all(readers.map(({ body }) => body?.getReader().read())); // all are still open
    stop.abort();
    await until('streams are free again', async () => {
      const again = new AbortController();
      const { status } = await ask(`${url}/api/events`, { signal: again.signal });
      again.abort();
      return status === 200;
    });
  });
});

/** Readers that stay. Keep the answers: `fetch` ends the stream of one that is garbage, and its place is free then. */
async function openStreams(url: string, count: number, signal: AbortSignal): Promise<Response[]> {
  const answers: Response[] = [];
  while (answers.length < count) answers.push(await ask(`${url}/api/events`, { signal }));
  return answers;
}

/** Reads a stream of events until `enough` of its text is there. */
async function readStream(url: string, headers: Record<string, string>, enough: (text: string) => boolean): Promise<string> {
  const stop = new AbortController();
  const stream = await ask(url, { headers, signal: stop.signal });
  const reader = stream.body?.getReader();
  let text = '';
  await until('the messages', async () => {
    text += new TextDecoder().decode((await reader?.read())?.value);
    return enough(text);
  });
  stop.abort();
  return text;
}

describe('events', () => {
  const ann = { type: 'detection' as const, box: [0, 0, 10, 10] as const, score: 0.9, label: 'face', identity: { personId: 1, name: 'Ann', similarity: 0.8 } };
  const messages = (text: string, event: string): { id: string; data: Record<string, unknown> }[] =>
    [...text.matchAll(new RegExp(`^event: ${event}\\nid: (.*)\\ndata: (.*)$`, 'gm'))].map(([, id = '', data = '']) => ({ id, data: JSON.parse(data) as Record<string, unknown> }));

  it('are live by default; what is over comes on request only, marked, in order, and once', async () => {
    const { url, runtime } = await device();
    runtime.findings = [ann];
    const since0 = await readStream(`${url}/api/events?since=0`, {}, (text) => text.includes('"appeared"'));
    // Of those that are kept: the activation and Ann.
    const replayed = messages(await readStream(`${url}/api/events?since=0`, {}, (text) => text.includes('"appeared"')), 'replay');
    expect(since0).toContain('"activated"');
    expect(replayed.map(({ data }) => data['replayed'])).toEqual(replayed.map(() => true));
    const numbers = replayed.map(({ id }) => Number(id.split(':')[1]));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    const live = await readStream(`${url}/api/events`, {}, (text) => text.includes('event: telemetry'));
    expect(live).not.toContain('"appeared"');
    const last = replayed.at(-1)?.id ?? '';
    runtime.findings = [];
    const after = await readStream(`${url}/api/events`, { 'last-event-id': last }, (text) => text.includes('"left"'));
    expect(after).not.toContain('"appeared"');
    const again = messages(await readStream(`${url}/api/events?since=${last}`, {}, (text) => text.includes('"left"')), 'replay');
    expect(again.map(({ data }) => [data['action'], data['replayed']])).toEqual([['left', true]]);
    const earlier = messages(await readStream(`${url}/api/events`, { 'last-event-id': 'another-start:7' }, (text) => text.includes('"left"')), 'replay');
    expect(earlier.length).toBe(replayed.length + 1);
  });

  it.each([['?since=yesterday', {}], ['?frame=1', {}], ['?frames=yes', {}], ['?frames=1&frames=1', {}], ['', { 'last-event-id': 'no id' }]] as [string, Record<string, string>][])('with %s %j are refused', async (query, headers) => {
    const { url } = await device();
    const answer = await ask(`${url}/api/events${query}`, { headers });
    expect([answer.status, (await answer.json() as { error: { code: string } }).error.code]).toEqual([400, 'E_REQUEST']);
  });

  it('of a reader that never reads are dropped with its connection', async () => {
    const { url, runtime } = await device();
    runtime.frameMs = 1;
    runtime.findings = Array.from({ length: 1000 }, () => ann);
    const port = Number(new URL(url).port);
    const socket = createConnection(port, '127.0.0.1', () => socket.write(`GET /api/events?frames=1 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\n\r\n`));
    onTestFinished(() => void socket.destroy());
    socket.pause().on('error', () => undefined);
    // The kernel holds some megabytes for it. Then the daemon hangs up: its place is free for a sixteenth reader that stays.
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const readers = await openStreams(url, 15, stop.signal);
    expect(readers.map(({ status }) => status)).toEqual(new Array(15).fill(200));
    await until('its place is free', async () => {
      await new Promise((resolve) => { setTimeout(resolve, 200); });
      return (await ask(`${url}/api/events`, { signal: stop.signal })).status === 200;
    }, 60_000);
    await Promise.all(readers.map(({ body }) => body?.getReader().read())); // none of the others made room
  }, 90_000);
});

describe('bodies', () => {
  it('have one budget together: what is too much is refused before it is read', async () => {
    const { url } = await device();
    const port = Number(new URL(url).port);
    const head = (bytes: number): string => `POST /api/gallery HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${bytes}\r\n\r\n`;
    const slow = createConnection(port, '127.0.0.1', () => slow.write(head(10 * 1024 * 1024)));
    slow.on('error', () => undefined);
    onTestFinished(() => void slow.destroy());
    let refused = '';
    await until('the budget is used', async () => {
      refused = await raw(port, head(10 * 1024 * 1024).replace('Content-Type', 'Connection: close\r\nContent-Type') + '{}', (text) => text.includes('}'));
      return refused.includes('503');
    });
    expect(refused).toMatch(/^HTTP\/1.1 503[\s\S]*retry-after: 1[\s\S]*"E_BUSY"/);
    slow.destroy();
    await until('the budget is free', async () => (await ask(`${url}/api/gallery`, { method: 'POST', body: '{}' })).status === 400);
  });
});

/** fetch sets Host by itself. */
function raw(port: number, request: string, enough: (text: string) => boolean = () => false): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = createConnection(port, '127.0.0.1', () => socket.write(request));
    socket.on('data', (piece) => {
      text += piece.toString();
      if (enough(text)) socket.destroy();
    });
    socket.once('close', () => resolve(text));
    socket.once('error', reject);
  });
}
