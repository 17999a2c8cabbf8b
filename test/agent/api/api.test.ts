import { createConnection } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { allowedHost, allowedOrigin } from '../../../agent/api/guard.js';
import { parseConfig, startAgent, type Agent } from '../../../agent/main.js';
import { FakeRuntime, packageBytes } from '../support/fake-runtime.js';
import { quietLog, temporaryFolder, until } from '../support/tools.js';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

async function device(over: Record<string, unknown> = {}): Promise<{ agent: Agent; url: string; runtime: FakeRuntime }> {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'faces.sterna'), packageBytes({ name: 'faces', version: '1.0.0' }));
  const runtime = new FakeRuntime();
  const agent = await startAgent(parseConfig({
    state_dir: join(folder, 'state'), camera: { input: '/camera' }, api: { port: 0, allowed_origins: ['http://127.0.0.1:8480'] }, telemetry: { interval_ms: 1000 },
    pipeline: { package: join(folder, 'faces.sterna') }, ...over,
  }), { runtime, log: quietLog, env: {} });
  onTestFinished(() => agent.stop());
  return { agent, runtime, url: agent.apiUrl ?? '' };
}

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
      const status = await (await fetch(`${url}/api/status`)).json() as { counters: Record<string, number>; model: { version: string } | null };
      return status.model?.version === '1.0.0' && (status.counters['frames_processed_total'] ?? 0) > 3;
    });
    expect(await (await fetch(`${url}/health`)).json()).toEqual({ ok: true, reasons: [] });
    await until('a window', async () => (await (await fetch(`${url}/api/telemetry`)).json()) !== null);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    for (const line of [/^sterna_stage_latency_seconds_bucket\{le="0.001",stage="detect",kind="warm"\} \d+$/m, /^sterna_frames_dropped_by_swap_total 0$/m, /^sterna_info\{.*model_version="1.0.0"\} 1$/m, /^sterna_energy_joules_total\{.*quality="\w+"\} [\d.e-]+$/m, /^sterna_process_resident_bytes \d+$/m]) {
      expect(metrics).toMatch(line);
    }
    expect(metrics).not.toMatch(/NaN/);
  });

  it('gives a picture with the number of its frame', async () => {
    const { url } = await device();
    await until('picture', async () => (await fetch(`${url}/api/snapshot.jpg`)).status === 200);
    const picture = await fetch(`${url}/api/snapshot.jpg`);
    expect(picture.headers.get('content-type')).toBe('image/jpeg');
    expect(Number(picture.headers.get('x-frame-sequence'))).toBeGreaterThanOrEqual(0);
    expect(new Uint8Array(await picture.arrayBuffer())).toEqual(Uint8Array.of(0xff, 0xd8));
  });

  it('has no picture without a camera', async () => {
    const { url } = await device({ camera: { input: null } });
    const answer = await fetch(`${url}/api/snapshot.jpg`);
    expect([answer.status, (await answer.json() as { error: { code: string } }).error.code]).toEqual([404, 'E_NO_FRAME']);
  });

  it('streams events, telemetry and frames', async () => {
    const { url, runtime } = await device();
    runtime.findings = [{ type: 'detection', box: [1, 2, 3, 4], score: 0.9, label: 'face', identity: { personId: 1, name: 'Ann', similarity: 0.8 } }];
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const stream = await fetch(`${url}/api/events?frames=1`, { signal: stop.signal });
    expect(stream.headers.get('content-type')).toContain('text/event-stream');
    let text = '';
    const reader = stream.body?.getReader();
    await until('all three kinds', async () => {
      text += new TextDecoder().decode((await reader?.read())?.value);
      return ['event: event', 'event: telemetry', 'event: frame', '"appeared"'].every((part) => text.includes(part));
    });
    expect(text).toMatch(/"detections":\[\{"box":\[1,2,3,4\],"score":0.9,"person":\{"person_id":1,"name":"Ann","similarity":0.8\}\}\]/);
  });

  it('enrols from pictures or from the camera, lists and deletes', async () => {
    const { url, agent } = await device();
    await until('the package runs', () => agent.status()['model'] !== null);
    const form = new FormData();
    form.set('name', 'Ann');
    for (let i = 0; i < 2; i++) form.append('picture', new File([Uint8Array.of(0xff, 0xd8)], 'a.jpg'));
    const created = await fetch(`${url}/api/gallery`, { method: 'POST', body: form });
    expect([created.status, await created.json()]).toMatchObject([201, { name: 'Ann', samples: 2, pictures: 2 }]);
    await until('a frame', async () => (await fetch(`${url}/api/snapshot.jpg`)).status === 200);
    expect((await fetch(`${url}/api/gallery`, { method: 'POST', body: JSON.stringify({ name: 'Ben' }), headers: { 'content-type': 'application/json' } })).status).toBe(201);
    expect(await (await fetch(`${url}/api/gallery`)).json()).toMatchObject({ people: [{ person_id: 1, name: 'Ann' }, { person_id: 2, name: 'Ben' }] });
    expect((await fetch(`${url}/api/gallery/1`, { method: 'DELETE' })).status).toBe(200);
    expect((await fetch(`${url}/api/gallery/1`, { method: 'DELETE' })).status).toBe(404);
  });

  it.each([
    ['no name', (): RequestInit => ({ method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }), 400, 'E_REQUEST'],
    ['no JSON', (): RequestInit => ({ method: 'POST', body: '{{{' }), 400, 'E_REQUEST'],
    ['no picture', (): RequestInit => { const f = new FormData(); f.set('name', 'x'); f.set('picture', new File(['text'], 'a.jpg')); return { method: 'POST', body: f }; }, 422, 'E_MEDIA'],
    ['too much', (): RequestInit => ({ method: 'POST', body: Buffer.alloc(33 * 1024 * 1024) }), 413, 'E_REQUEST'],
  ])('refuses an enrolment with %s', async (_, init, status, code) => {
    const { url } = await device();
    const answer = await fetch(`${url}/api/gallery`, init());
    expect([answer.status, (await answer.json() as { error: { code: string } }).error.code]).toEqual([status, code]);
  });

  it('refuses strangers: another Host, another Origin, an unknown path', async () => {
    const { url } = await device();
    const port = Number(new URL(url).port);
    expect(await raw(port, 'GET /api/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1.1 403/);
    expect((await fetch(`${url}/api/gallery/1`, { method: 'DELETE', headers: { origin: 'http://evil.example' } })).status).toBe(403);
    const known = await fetch(`${url}/api/status`, { headers: { origin: 'http://127.0.0.1:8480' } });
    expect([known.status, known.headers.get('access-control-allow-origin')]).toEqual([200, 'http://127.0.0.1:8480']);
    expect((await fetch(`${url}/api/nothing`)).status).toBe(404);
    expect((await fetch(`${url}/api/gallery/x`, { method: 'DELETE' })).status).toBe(400);
  });

  it('bounds the number of streams', async () => {
    const { url } = await device();
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    for (let i = 0; i < 16; i++) expect((await fetch(`${url}/api/events`, { signal: stop.signal })).status).toBe(200);
    expect((await fetch(`${url}/api/events`)).status).toBe(503);
    stop.abort();
    await until('streams are free again', async () => {
      const again = new AbortController();
      const { status } = await fetch(`${url}/api/events`, { signal: again.signal });
      again.abort();
      return status === 200;
    });
  });
});

/** fetch sets Host by itself. */
function raw(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = createConnection(port, '127.0.0.1', () => socket.write(request));
    socket.on('data', (piece) => { text += piece.toString(); });
    socket.once('close', () => resolve(text));
    socket.once('error', reject);
  });
}
