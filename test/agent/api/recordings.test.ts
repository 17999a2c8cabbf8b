import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseConfig, startAgent } from '../../../agent/main.js';
import { FakeRuntime, packageBytes } from '../support/fake-runtime.js';
import { quietLog, temporaryFolder, until } from '../support/tools.js';

interface Listed { recordings: { event_id: string; label: string; camera: string; time_ms: number; findings: { label: string; box?: number[] }[]; clip: { frames: number[] } | null }[]; enabled: boolean; bytes: number }

/** A device before whose camera somebody stands. */
async function device(recordings: object): Promise<{ ask: (path: string, init?: RequestInit) => Promise<Response>; bare: (path: string) => Promise<Response>; list: (query?: string) => Promise<Listed>; runtime: FakeRuntime }> {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'faces.sterna'), packageBytes({ name: 'faces', version: '1.0.0' }));
  const runtime = new FakeRuntime();
  runtime.findings = [{ type: 'detection', label: 'face', score: 0.9, box: [0, 0, 1, 1], identity: null }];
  const agent = await startAgent(parseConfig({
    state_dir: join(folder, 'state'), camera: { input: '/camera' }, api: { port: 0 }, pipeline: { package: join(folder, 'faces.sterna') }, presence: { unknown_frames: 2 },
    recordings: { clip_after_ms: 50, clip_before_ms: 100, ...recordings },
  }), { runtime, log: quietLog, env: {} });
  onTestFinished(() => agent.stop());
  const headers = { authorization: `Bearer ${readFileSync(join(folder, 'state', 'api.token'), 'utf8').trim()}` };
  const ask = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${agent.apiUrl ?? ''}/api/${path}`, { ...init, headers });
  return { ask, bare: (path) => fetch(`${agent.apiUrl ?? ''}/api/${path}`), list: async (query = '') => await (await ask(`recordings${query}`)).json() as Listed, runtime };
}

describe('recordings through the local API', () => {
  it('are listed, shown and deleted', async () => {
    const { ask, list } = await device({ enabled: true });
    await until('a recording with a clip', async () => (await list()).recordings[0]?.clip != null);
    const { recordings: [first], enabled } = await list('?camera=camera&label=face&since=1&limit=5');
    expect(enabled).toBe(true);
    expect(first).toMatchObject({ label: 'face', camera: 'camera', pipeline: 'main', person_id: null, findings: [{ label: 'face', box: [0, 0, 1, 1] }] });
    const path = `recordings/${first?.event_id ?? ''}`;
    for (const [part, type] of [['snapshot.jpg', 'image/jpeg'], ['clip.mjpeg', 'video/x-motion-jpeg'], ['clip/0.jpg', 'image/jpeg']] as const) {
      const answer = await ask(`${path}/${part}`);
      expect([answer.status, answer.headers.get('content-type'), answer.headers.get('cache-control')], part).toEqual([200, type, 'no-store']);
      expect([...new Uint8Array(await answer.arrayBuffer())].slice(0, 2)).toEqual([0xff, 0xd8]);
    }
    expect((await list('?label=car')).recordings).toEqual([]);
    expect((await list('?until=5')).recordings).toEqual([]);
    expect((await ask(`${path}/clip/999.jpg`)).status).toBe(404);
    expect(await (await ask(path, { method: 'DELETE' })).json()).toEqual({ removed: 1 });
    expect((await ask(`${path}/snapshot.jpg`)).status).toBe(404);
    expect((await ask(path, { method: 'DELETE' })).status).toBe(404);
  });

  it('need the token, and refuse what is misspelt', async () => {
    const { ask, bare } = await device({ enabled: true });
    for (const path of ['recordings', 'recordings/x/snapshot.jpg', 'recordings/x/clip.mjpeg', 'recordings/x/clip/0.jpg']) expect((await bare(path)).status, path).toBe(401);
    for (const path of ['recordings?form=1', 'recordings?since=yesterday', 'recordings?limit=9999', 'recordings/x/clip/first.jpg']) expect((await ask(path)).status, path).toBe(400);
    expect((await ask('recordings/..%2f..%2fapi.token/snapshot.jpg')).status).toBe(404);
  });

  it('are all deleted only when that is asked for in so many words', async () => {
    const { ask, list } = await device({ enabled: true, clips: false });
    await until('a recording', async () => (await list()).recordings.length > 0);
    for (const query of ['', '?all=0', '?all=1&label=face']) expect((await ask(`recordings${query}`, { method: 'DELETE' })).status, query).toBe(400);
    expect((await list()).recordings.length).toBeGreaterThan(0);
    expect(await (await ask('recordings?label=face', { method: 'DELETE' })).json()).toEqual({ removed: 1 });
    expect(await (await ask('recordings?all=1', { method: 'DELETE' })).json()).toEqual({ removed: 0 });
  });

  it('are not made unless the configuration says so', async () => {
    const { ask, list } = await device({});
    await until('the event', async () => {
      const status = await (await ask('status')).json() as { pipelines: { counters: Record<string, number>; records: boolean }[] };
      return (status.pipelines[0]?.counters['finding_events_total'] ?? 0) > 0;
    });
    expect(await list()).toMatchObject({ recordings: [], enabled: false, bytes: 0 });
  });
});
