import { createServer, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { BrowserContextOptions, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Collector } from '../../deploy/collector/collector.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { Dashboard } from '../../deploy/dashboard/server.js';
import { chromiumMissing, HOSTILE, picture, usePages } from './browser.js';
import { caps, DOOR, json, listenOn, recognition, reported, status, telemetry, topic } from './fixtures.js';

/** The local API of a device, as far as the page uses it; it counts and answers, nothing more. */
class FakeDevice {
  people = [{ person_id: 1, name: 'Ada', samples: 5 }, { person_id: 2, name: HOSTILE, samples: 1 }];
  requests: string[] = [];
  jpeg = Buffer.alloc(0);
  zones: unknown[] = [];
  recordings: unknown[] = [];
  /** Of the frames of its pipelines. */
  frames: object[] = [{}];
  /** The newest piece of sound of each pipeline that listens. */
  sounds: object[] = [];
  /** A device without a picture answers 404. */
  camera = true;
  detections: unknown[] = [{ type: 'detection', label: 'face', box: [100, 60, 80, 100], score: 0.99, identity: { person_id: 1, name: 'Ada', similarity: 0.78 } }, { type: 'detection', label: 'face', box: [10, 20, 40, 40], score: 0.81, identity: null }];
  readonly server: Server = createServer((request, response) => void this.#answer(request.method ?? '', request.url ?? '', request, response));

  async #answer(method: string, url: string, body: AsyncIterable<Buffer>, response: ServerResponse): Promise<void> {
    if (!url.startsWith('/api/snapshot')) this.requests.push(`${method} ${url}`);
    const chunks: Buffer[] = [];
    if (method === 'POST') for await (const chunk of body) chunks.push(chunk);
    const send = (value: unknown, code = 200): void => { response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(value)); };
    if (url === '/api/snapshot.jpg?pipeline=main' && !this.camera) send({ error: { code: 'E_NO_FRAME', message: 'No frame has arrived yet' } }, 404);
    else if (url === '/api/snapshot.jpg?pipeline=main') response.writeHead(200, { 'content-type': 'image/jpeg', 'x-frame-sequence': '7' }).end(this.jpeg);
    else if (url === '/api/events?frames=1') this.#stream(response);
    else if (url === '/api/status') send({ pipelines: [{ name: 'main', rules: { zones: this.zones } }] });
    else if (url.startsWith('/api/recordings?')) send({ recordings: this.recordings });
    else if (method === 'GET' && url.startsWith('/api/recordings/')) response.writeHead(200, { 'content-type': 'image/jpeg' }).end(this.jpeg);
    else if (method === 'DELETE' && url.startsWith('/api/recordings/')) { this.recordings = []; send({ removed: 1 }); }
    else if (method === 'DELETE') { this.people = this.people.filter((p) => !url.endsWith(`/${p.person_id}`)); send({ removed: 1 }); }
    else if (method === 'POST') {
      const { name } = JSON.parse(Buffer.concat(chunks).toString()) as { name: string };
      if (name === 'Nobody') return send({ error: { code: 'E_GALLERY', message: 'No face was found in the picture' } }, 422);
      this.people.push({ person_id: 9, name, samples: 1 });
      send({}, 201);
    } else send({ people: this.people });
  }

  #stream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const frame = (over: object): unknown => ({ pipeline: 'main', sequence: 7, captured_ms: 1, width: 320, height: 240, exit: 'full', cells: null, audit: false, total_ms: 9.4, latency_ms: 14, findings: this.detections, ...over });
    let sequence = 0;
    const timer = setInterval(() => {
      for (const over of this.frames) response.write(`event: frame\ndata: ${JSON.stringify(frame(over))}\n\n`);
      sequence += 1;
      for (const over of this.sounds) response.write(`event: sound\ndata: ${JSON.stringify(piece(sequence, over))}\n\n`);
    }, 50);
    response.once('close', () => clearInterval(timer));
  }
}

/** A piece of sound as the device sends it: ten rows of four bands, the highest of which is loud. */
const piece = (sequence: number, over: object): unknown => ({
  pipeline: 'ears', sequence, captured_ms: 1, exit: 'full', latency_ms: 203, deadline_ms: 250, level_db: -21.4, floor_db: -48.2, problems: [], late: 0,
  findings: [{ type: 'sound', label: 'siren', score: 0.97, onset_ms: 1, duration_ms: 300 }], scores: [{ label: 'siren', score: 0.97 }, { label: HOSTILE, score: 0.5 }],
  spectrum: { bands: 4, rows: Buffer.from(Array.from({ length: 10 }, () => [0, 0, 0, 255]).flat()).toString('base64') },
  stages: [['chunk', 100], ['buffer', 2], ['levels', 0.1], ['features', 0.4], ['infer', 0.5], ['smooth', 100], ['publish', 1]].map(([stage, ms]) => ({ stage, ms })), ...over,
});

const device = new FakeDevice();
let store: CollectorStore;
let collector: Collector;
let dashboard: Dashboard;
let deviceUrl: string | null;
let brokerConnected = true;

beforeAll(async () => {
  device.jpeg = await sharp({ create: { width: 320, height: 240, channels: 3, background: '#335577' } }).jpeg().toBuffer();
  deviceUrl = `http://127.0.0.1:${await listenOn(device.server)}`;
  store = new CollectorStore(':memory:');
  collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
  vi.spyOn(collector, 'connected', 'get').mockImplementation(() => brokerConnected);
  dashboard = new Dashboard({ port: 0, collector, store, gateway: ({ device: name }) => (name === DOOR.device && deviceUrl !== null ? { baseUrl: deviceUrl, token: null } : null) });
  await dashboard.start();
  const now = Date.now();
  receive('status', status());
  receive('caps', caps());
  receive('reported', reported());
  for (let i = 1; i <= 30; i++) receive('telemetry', telemetry(i, now - (30 - i) * 5000));
  receive('event/finding', recognition('e1', now - 4000, { finding: { type: 'detection', label: 'face', score: 0.9, box: [0, 0, 9, 9], identity: { person_id: 2, name: HOSTILE, similarity: 0.5 } } }));
  receive('event/finding', recognition('e2', now - 2000));
});
afterAll(async () => {
  await dashboard.stop();
  device.server.closeAllConnections();
  device.server.close();
  store.close();
});

const receive = (suffix: string, value: unknown): void => collector.receive(topic(suffix), json(value), Date.now());

describe('the server of the page', () => {
  it('serves the page and its library with a policy that allows only itself', async () => {
    for (const path of ['/', '/app.js', '/style.css', '/vendor/uPlot.esm.js', '/vendor/uPlot.min.css', '/icon.svg']) {
      const answer = await fetch(`${dashboard.url}${path}`);
      expect(answer.status, path).toBe(200);
      expect(answer.headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self' 'sha256-[\w+/=]{44}'; style-src 'self' 'sha256-[\w+/=]{44}';/);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    }
    expect(await (await fetch(dashboard.url)).text()).not.toMatch(/https?:\/\/(?!www\.w3\.org)|style=|onclick=/);
  });

  it('has nothing else, and nothing outside', async () => {
    for (const path of ['/server.js', '/../server.ts', '/%2e%2e/package.json', '/public/', '/api/nothing', '/vendor/../app.ts']) {
      expect((await fetch(`${dashboard.url}${path}`)).status, path).toBe(404);
    }
  });

  it('answers loopback names only', async () => {
    // fetch does not let a caller choose the Host header.
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(dashboard.port, '127.0.0.1', () => socket.write('GET /api/fleet HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => { text += chunk.toString(); }).once('close', () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  });

  it('lets only its own page change a device, and only what is listed', async () => {
    const local = `${dashboard.url}/api/devices/demo/door-1/local`;
    const evil = { origin: 'http://evil.example' };
    expect((await fetch(`${local}/gallery/1`, { method: 'DELETE', headers: evil })).status).toBe(403);
    expect((await fetch(`${local}/../status`)).status).toBe(404);
    expect((await fetch(`${local}/metrics`)).status).toBe(404);
    expect((await fetch(`${local}/recordings?all=1`, { method: 'DELETE' })).status).toBe(404);
    expect((await fetch(`${local}/recordings/..%2fstatus/snapshot.jpg`)).status).toBe(404);
    expect((await fetch(`${local}/gallery`, { method: 'PUT', body: '{}' })).status).toBe(404);
    expect((await fetch(`${dashboard.url}/api/devices/demo/other/local/gallery`)).status).toBe(404);
    expect((await fetch(`${local}/gallery`)).status).toBe(200);
    expect(device.requests).toEqual(['GET /api/gallery']);
  });

  it('says which device does not answer', async () => {
    const url = deviceUrl;
    deviceUrl = 'http://127.0.0.1:1';
    const answer = await fetch(`${dashboard.url}/api/devices/demo/door-1/local/gallery`);
    deviceUrl = url;
    expect(answer.status).toBe(502);
    expect(await answer.json()).toMatchObject({ error: { code: 'E_DEVICE_API' } });
  });

  it('tells its readers what changed', async () => {
    const answer = await fetch(`${dashboard.url}/api/stream`);
    const reader = answer.body?.getReader();
    receive('event/finding', recognition('e3', Date.now()));
    const { value } = await (reader?.read() ?? Promise.reject(new Error('no body')));
    expect(new TextDecoder().decode(value)).toMatch(/^event: event\ndata: \{"fleet":"demo","device":"door-1","event":\{/);
    await reader?.cancel();
  });

  it('names the port that is taken, and the option', async () => {
    const second = new Dashboard({ port: dashboard.port, collector, store });
    await expect(second.start()).rejects.toMatchObject({ code: 'E_PORT_BUSY', message: expect.stringContaining('--port') as string });
  });
});

describe.skipIf(chromiumMissing !== undefined)(`the page in a browser${chromiumMissing === undefined ? '' : ` (${chromiumMissing})`}`, () => {
  const { open: openPage, problems } = usePages();
  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    const page = await openPage(dashboard.url, options);
    await page.waitForSelector('#tiles .tile');
    return page;
  }

  it('shows state, figures with their quality, stages, exits, model and machine', async () => {
    const page = await open();
    const text = async (selector: string): Promise<string> => page.locator(selector).innerText();
    expect(await text('#pills')).toMatch(/online[\s\S]*faces 1\.0\.0/);
    expect(await text('#tiles')).toMatch(/Latency p99\s*\d+\.\d\s*ms/);
    expect(await text('#tiles')).toMatch(/27\.0\s*mJ\s*net of idle, cpu_model modelled/);
    expect(await text('#tiles')).toMatch(/51\.5\s*°C/);
    expect(await page.locator('#stages tbody tr').count()).toBe(10);
    expect(await text('#stages')).toMatch(/embed\s+\d\.\d\d ms\s+\d\.\d\d ms/);
    expect(await text('#exits')).toMatch(/Full pipeline\s*53 %[\s\S]*Stopped at the pixel gate\s*47 %/);
    expect(await text('#timing')).toMatch(/Jitter, RFC 3550[\s\S]*Deadlines of 250 ms missed\s*12 of 900/);
    expect(await text('#energy')).toMatch(/modelled/);
    expect(await text('#ota')).toMatch(/49 of 49 blocks[\s\S]*Running\s*faces 1\.0\.0[\s\S]*Previous\s*faces 0\.9\.0/);
    expect(await text('#machine')).toMatch(/avx512vnni/);
    expect(await page.locator('.charts .chart canvas').count()).toBe(4);
    await picture(page, 'desktop');
  });

  it('draws the live picture with its boxes and names', async () => {
    const page = await open();
    await page.waitForSelector('#findings .finding.known');
    expect(await page.locator('#findings').innerText()).toMatch(/Ada\s*similarity 0\.78[\s\S]*Unknown\s*face 81 %/);
    expect(await page.locator('#live-note').innerText()).toMatch(/320 × 240.*full pipeline in 9\.40 ms/);
    // The upper edge of the known face's box is drawn in its colour: green well above the picture's own 0x55.
    const green = await page.evaluate<number>(`(() => {
      const canvas = document.querySelector('#picture');
      const scale = canvas.width / 320;
      return canvas.getContext('2d').getImageData(Math.round(140 * scale), Math.round(60 * scale), 1, 1).data[1];
    })()`);
    expect(green).toBeGreaterThan(0x90);
  });

  it('draws zones, active cells and tracks, each of which can be switched off', async () => {
    device.zones = [{ name: 'path', kind: 'include', points: [[0.5, 0.5], [0.95, 0.5], [0.95, 0.95], [0.5, 0.95]] }, { name: 'street', kind: 'exclude', points: [[0, 0], [0.3, 0], [0.3, 0.2]] }];
    // Cells 0 and 19 of 5 x 4: the first, and the last.
    device.frames = [{ cells: { width: 5, height: 4, bits: Buffer.from([1, 0, 8]).toString('base64') } }];
    const before = device.detections;
    device.detections = [{ type: 'track', label: 'person', box: [200, 30, 40, 60], score: 0.9, track: 4, status: 'held', age_ms: 900, velocity: [0, 0] }];
    const page = await open();
    const colourAt = (x: number, y: number): Promise<number[]> => page.evaluate<number[]>(`(() => {
      const canvas = document.querySelector('#picture');
      const scale = canvas.width / 320;
      // From a copy of that pixel: reading the canvas itself often makes the browser complain.
      const copy = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
      copy.drawImage(canvas, -Math.round(${x} * scale), -Math.round(${y} * scale));
      return [...copy.getImageData(0, 0, 1, 1).data];
    })()`);
    const plain = [0x33, 0x55, 0x77];
    const far = (colour: number[], from = plain): number => Math.max(...from.map((value, i) => Math.abs(value - (colour[i] ?? 0))));
    await page.waitForSelector('#findings .finding.thing');
    expect(await page.locator('#findings').innerText()).toMatch(/Person\s*90 % · track 4/);
    await expect.poll(async () => far(await colourAt(5, 40))).toBeGreaterThan(30); // the first cell
    await expect.poll(async () => far(await colourAt(315, 190))).toBeGreaterThan(30); // the last one
    await expect.poll(async () => far(await colourAt(90, 20))).toBeGreaterThan(10); // in the excluded zone
    expect(far(await colourAt(150, 90))).toBeLessThan(10);
    await picture(page, 'overlay');
    await page.click('#layers [data-name="cells"]');
    await page.click('#layers [data-name="zones"]');
    await expect.poll(async () => far(await colourAt(5, 40))).toBeLessThan(10);
    await expect.poll(async () => far(await colourAt(90, 20))).toBeLessThan(10);
    expect(await page.getAttribute('#layers [data-name="zones"]', 'aria-pressed')).toBe('false');
    Object.assign(device, { zones: [], frames: [{}], detections: before });
  });

  it('shows for each camera how far its frames went', async () => {
    device.frames = [{ exit: 'full' }, { exit: 'pixels' }, { pipeline: 'back', exit: 'features', audit: true }];
    const page = await open();
    await expect.poll(() => page.locator('#strips .strip').count()).toBe(2);
    await expect.poll(() => page.locator('#strips canvas').nth(1).getAttribute('aria-label')).toMatch(/^main, last \d+ frames: Pixel gate 50 %, Full pipeline 50 %$/);
    expect(await page.locator('#strips canvas').nth(0).getAttribute('aria-label')).toMatch(/^back, .*Feature gate 100 %; checked in full: \d+$/);
    expect(await page.locator('#strips-legend').innerText()).toMatch(/Pixel gate[\s\S]*Feature gate[\s\S]*Full pipeline[\s\S]*Checked in full in the background/);
    device.frames = [{}];
  });

  it('hides classes that are switched off, from the picture, the findings and the events', async () => {
    const before = device.detections;
    device.detections = [...before, { type: 'detection', label: 'car', box: [10, 100, 80, 40], score: 0.7 }];
    receive('event/finding', recognition('car', Date.now(), { finding: { type: 'detection', label: 'car', score: 0.7, box: [0, 0, 9, 9] } }));
    const page = await open();
    await page.waitForSelector('#findings .finding.thing');
    expect(await page.locator('#events').innerText()).toContain('Car appeared');
    await page.click('#classes [data-name="car"]');
    await expect.poll(() => page.locator('#findings').innerText()).not.toContain('Car');
    expect(await page.locator('#events').innerText()).not.toContain('Car appeared');
    expect(await page.locator('#findings').innerText()).toContain('Ada');
    await page.click('#classes [data-name="car"]');
    await expect.poll(() => page.locator('#events').innerText()).toContain('Car appeared');
    device.detections = before;
  });

  it('shows the pictures and clips of events, and deletes them', async () => {
    const id = '12345678-0000-4000-8000-123456789abc';
    receive('event/finding', recognition(id, Date.now()));
    const recording = { event_id: id, time_ms: Date.now(), pipeline: 'main', camera: 'camera', label: 'face', person_id: 1, width: 320, height: 240, findings: device.detections, clip: null };
    device.recordings = [recording];
    const page = await open();
    await page.waitForSelector('#events .thumb img');
    const source = await page.getAttribute('#events .thumb img', 'src');
    expect(source).toBe(`/api/devices/demo/door-1/local/recordings/${id}/snapshot.jpg`);
    await page.click('#events .thumb');
    await page.waitForSelector('#viewer[open]');
    expect(await page.locator('#viewer-title').innerText()).toContain('face at camera');
    await expect.poll(() => page.evaluate<number>("document.querySelector('#viewer-picture').width")).toBe(320);
    await picture(page, 'viewer');
    // The clip is complete some seconds after the picture, when the viewer is open already.
    expect(await page.locator('#viewer-play').isVisible()).toBe(false);
    device.recordings = [{ ...recording, clip: { frames: [-100, 0, 100] } }];
    await page.waitForSelector('#viewer-play', { state: 'visible' });
    await page.click('#viewer-play');
    await expect.poll(() => device.requests.filter((request) => request.includes(`/clip/`)).length).toBe(3);
    await page.click('#viewer-delete');
    expect(await page.locator('#viewer-delete').innerText()).toBe('Delete picture and clip');
    await page.click('#viewer-delete');
    await expect.poll(() => page.locator('#events .thumb').count()).toBe(0);
    expect(device.requests).toContain(`DELETE /api/recordings/${id}`);
    expect(await page.locator('#viewer[open]').count()).toBe(0);
  });

  it('shows what a device sends as text, never as markup', async () => {
    const page = await open();
    await page.waitForSelector('#people .person');
    expect(await page.locator('#events').innerText()).toContain(`${HOSTILE} appeared`);
    expect(await page.locator('#people').innerText()).toContain(HOSTILE);
    expect(await page.locator('#events img, #people img').count()).toBe(0);
    expect(await page.title()).toBe('Sterna');
  });

  it('enrols from the live picture, says why it cannot, and deletes after asking', async () => {
    const page = await open();
    await page.fill('#enrol-name', 'Grace');
    await page.click('#enrol button');
    await page.waitForSelector('.message.good');
    expect(await page.locator('#people').innerText()).toContain('Grace');
    await page.fill('#enrol-name', 'Nobody');
    await page.click('#enrol button');
    await page.waitForSelector('.message.bad');
    expect(await page.locator('#people-message').innerText()).toBe('No face was found in the picture');
    // The browser itself reports the refused request; nothing else may be reported.
    expect(problems.splice(0)).toEqual([expect.stringMatching(/422/)]);
    await page.click('button[aria-label="Delete Grace"]');
    expect(await page.locator('#people').innerText()).toContain('Grace');
    await page.click('#people .danger');
    await expect.poll(() => page.locator('#people').innerText()).not.toContain('Grace');
    expect(device.requests).toContain('DELETE /api/gallery/9');
  });

  it('shows people whom others enrolled on the device', async () => {
    const page = await open();
    await page.waitForSelector('#people .person');
    device.people.push({ person_id: 8, name: 'Katherine', samples: 2 });
    const listed = (): Promise<string> => {
      receive('caps', caps());
      return page.locator('#people').innerText();
    };
    await expect.poll(listed, { timeout: 30_000, interval: 500 }).toContain('Katherine');
    device.people.pop();
  });

  it('follows what happens, and says since when a device is away', async () => {
    const page = await open();
    receive('event/finding', recognition('live', Date.now(), { finding: { type: 'detection', label: 'face', score: 0.9, box: [0, 0, 9, 9], identity: { person_id: 3, name: 'Lin', similarity: 0.66 } } }));
    await expect.poll(() => page.locator('#events li').first().innerText()).toContain('Lin appeared');
    receive('reported', reported({ generation_seen: 9, ota: { state: 'downloading', package: null, blocks_done: 7, blocks_total: 50, error: null } }));
    await expect.poll(() => page.locator('#pills').innerText()).toContain('downloading 7 of 50 blocks');
    receive('reported', reported({ generation_seen: 9, ota: { state: 'rejected', package: null, blocks_done: 50, blocks_total: 50, error: { code: 'E_DIGEST', message: 'the hash is wrong' } } }));
    await expect.poll(() => page.locator('#ota').innerText()).toContain('E_DIGEST the hash is wrong');
    receive('status', status({ state: 'offline' }));
    await expect.poll(() => page.locator('#pills').innerText()).toMatch(/offline since \d\d:\d\d:\d\d/);
    expect(await page.locator('#stage').innerText()).toContain('The device is offline');
    await picture(page, 'offline');
    receive('status', status({ birth_seq: 4 }));
    receive('reported', reported());
    await expect.poll(() => page.locator('#pills').innerText()).toContain('online');
  });

  const dot = (page: Page): Promise<string> => page.evaluate('getComputedStyle(document.querySelector("#pills .pill .dot")).backgroundColor');
  const CAMERA_LOST = { pipeline: 'main', component: 'camera', code: 'E_CAMERA_LOST', message: 'rtsp://door does not answer' };

  it('does not look green with a lost camera, says why there is no picture, and logs no errors', async () => {
    const page = await open();
    await page.waitForSelector('#findings .finding.known');
    const green = await dot(page);
    device.camera = false;
    receive('reported', reported({ faults: [CAMERA_LOST] }));
    await expect.poll(() => page.locator('#pills').innerText()).toContain('camera lost');
    expect(await dot(page)).not.toBe(green);
    await expect.poll(() => page.locator('#stage').innerText(), { timeout: 20_000 }).toContain('No picture: camera lost. rtsp://door does not answer');
    expect(await page.locator('#picture').isVisible()).toBe(false);
    await picture(page, 'camera-lost');
    device.camera = true;
    receive('reported', reported());
    await expect.poll(() => page.locator('#picture').isVisible(), { timeout: 20_000 }).toBe(true);
    expect(await dot(page)).toBe(green);
  });

  it('waits for the first picture without errors', async () => {
    device.camera = false;
    const page = await open();
    await expect.poll(() => page.locator('#stage').innerText(), { timeout: 20_000 }).toContain('has not delivered a picture yet');
    device.camera = true;
    await expect.poll(() => page.locator('#picture').isVisible(), { timeout: 20_000 }).toBe(true);
  });

  it('does not look green without a model, with a failed pipeline, or without the broker', async () => {
    const page = await open();
    const green = await dot(page);
    receive('reported', reported({ slots: { active: null, previous: null } }));
    await expect.poll(() => page.locator('#pills').innerText()).toContain('no model');
    expect(await dot(page)).not.toBe(green);
    receive('reported', reported({ faults: [{ pipeline: 'main', component: 'pipeline', code: 'E_PIPELINE', message: 'failed' }] }));
    await expect.poll(() => page.locator('#pills').innerText()).toContain('pipeline fails');
    expect(await dot(page)).not.toBe(green);
    brokerConnected = false;
    receive('reported', reported());
    await expect.poll(() => page.locator('#pills').innerText()).toContain('online when last heard');
    expect(await dot(page)).not.toBe(green);
    brokerConnected = true;
    receive('reported', reported());
    await expect.poll(() => dot(page)).toBe(green);
  });

  it('shows a portrait picture whole', async () => {
    const landscape = device.jpeg;
    device.jpeg = await sharp({ create: { width: 270, height: 480, channels: 3, background: '#335577' } }).jpeg().toBuffer();
    const page = await open();
    await expect.poll(() => page.evaluate<number>('document.querySelector("#picture").height / document.querySelector("#picture").width')).toBeCloseTo(480 / 270, 1);
    const box = (selector: string): Promise<{ y: number; height: number } | null> => page.locator(selector).boundingBox();
    const [stage, canvas] = [await box('#stage'), await box('#picture')];
    await picture(page, 'portrait');
    device.jpeg = landscape;
    expect(canvas?.height).toBeLessThanOrEqual((stage?.height ?? 0) + 0.5);
    expect(canvas?.y).toBeGreaterThanOrEqual((stage?.y ?? 0) - 0.5);
  });

  it('says that nothing was found, not that nobody is there, and names findings of any kind', async () => {
    const known = device.detections;
    device.detections = [];
    const page = await open();
    await page.waitForSelector('#findings .finding.none');
    await expect.poll(() => page.locator('#findings').innerText()).toBe('Nothing found');
    device.detections = [{ type: 'class', label: 'street sign', score: 0.4 }, { type: 'hologram', label: 'cat', score: 0.9, box: [5, 5, 50, 50], track: 3 }];
    await expect.poll(() => page.locator('#findings').innerText()).toMatch(/Street sign\s*40 %\s*Cat\s*90 % · track 3/);
    device.detections = known;
  });

  it('shows each pipeline of a device, and whose an alarm is', async () => {
    const [front] = reported().pipelines;
    const [, back] = [front, { ...reported().pipelines[0], name: 'back', input: 'yard', slots: { active: null, previous: null } }];
    const window = telemetry(40, Date.now());
    const [measured] = window.pipelines;
    receive('telemetry', { ...window, energy: { ...window.energy, sources: [{ source: 'ina3221', scope: 'VDD_IN', quality: 'invalid', reason: 'out_of_range', joules: null, joules_total: 0 }] }, pipelines: [measured, { ...measured, name: 'back', input: 'yard', model: null, stages: [], end_to_end: [] }] });
    receive('reported', { ...reported({ faults: [{ ...CAMERA_LOST, pipeline: 'back' }] }), pipelines: [front, back] });
    const page = await open();
    await page.waitForSelector('#pipelines [data-pipeline=back]');
    expect(await page.locator('#pipelines').innerText()).toMatch(/main\s*back/);
    expect(await page.locator('#pills').innerText()).toMatch(/back: camera lost[\s\S]*back: no model[\s\S]*faces 1\.0\.0/);
    expect(await page.locator('#energy').innerText()).toMatch(/ina3221 VDD_IN\s*out of range\s*invalid/i);
    await page.waitForSelector('#findings .finding.known');
    await picture(page, 'pipelines');
    await page.click('#pipelines [data-pipeline=back]');
    await expect.poll(() => page.locator('#ota').innerText()).toMatch(/Running\s*none/);
    await expect.poll(() => page.locator('#stage').innerText()).toContain('No picture: back: camera lost');
    receive('reported', reported());
    receive('telemetry', telemetry(41, Date.now()));
  });

  it('names the incoming version on the card and in the header, at every step', async () => {
    const page = await open();
    const incoming = { name: 'faces', version: '2.0.0', digest: 'cd'.repeat(32), size_bytes: 3_200_000 };
    for (const [state, step] of [['checking', 'downloading'], ['downloading', 'downloading'], ['shadow', 'warming']] as const) {
      receive('reported', reported({ generation_seen: 9, ota: { state, package: incoming, blocks_done: 7, blocks_total: 50, error: null } }));
      await expect.poll(() => page.locator('#pills').innerText()).toContain(`${state} faces 2.0.0 7 of 50 blocks`);
      expect(await page.locator('#ota').innerText()).toMatch(/Incoming\s*faces 2\.0\.0/);
      expect(await page.locator('#ota .step.now').innerText()).toBe(step);
    }
    await picture(page, 'update');
    receive('reported', reported({ generation_seen: 9, ota: { state: 'rejected', package: incoming, blocks_done: 50, blocks_total: 50, error: { code: 'E_DIGEST', message: 'the hash is wrong' } } }));
    await expect.poll(() => page.locator('#ota').innerText()).toMatch(/Refused\s*faces 2\.0\.0/);
    receive('reported', reported());
  });

  it('says who sends a package, how fast, how long it will take, and why the web server was given up', async () => {
    const page = await open();
    const transfer = { bytes_done: 1_000_000, bytes_total: 4_000_000, received_bytes: 1_000_000, bytes_per_s: 500_000, eta_s: 6, waiting: null, wait_s: null };
    const receiveTransfer = (over: object): void => receive('reported', reported({ generation_seen: 9, ota: { state: 'downloading', package: null, blocks_done: 7, blocks_total: 50, transfer: { ...transfer, ...over }, error: null } }));
    const row = (): Promise<string> => page.locator('#ota .progress-row').innerText();
    receiveTransfer({ source: 'web', web_error: null });
    await expect.poll(row).toMatch(/of .* from the web server, .*\/s, 6 s left/);
    expect(await page.locator('#pills').innerText()).toContain('from the web server');
    receiveTransfer({ source: 'mqtt', web_error: { code: 'E_OTA_WEB_STATUS', message: HOSTILE } });
    await expect.poll(row).toMatch(/of .* over MQTT, .*\/s, 6 s left/);
    expect(await page.locator('#ota').innerText()).toContain(`The web server was given up: E_OTA_WEB_STATUS ${HOSTILE}`);
    receiveTransfer({});
    await expect.poll(row).toMatch(/MB, .*\/s/); // A device of an earlier version does not say who sends.
    receive('reported', reported());
  });

  it('keeps the unit and the figure of energy when almost nothing runs', async () => {
    const page = await open();
    const tile = page.locator('#tiles .tile', { hasText: 'Energy per inference' });
    await expect.poll(() => tile.innerText()).toMatch(/27\.0\s*mJ/);
    // One inference in a window of an idle machine: gross 4.1 J, of which its own share is 30 mJ.
    receive('telemetry', telemetry(42, Date.now(), { energy: { sources: [{ source: 'cpu_model', scope: 'process', quality: 'modelled', joules: 4.1, joules_total: 200 }], inference: { source: 'cpu_model', scope: 'process', quality: 'modelled', gross_joules: 4.1, net_joules: 0.03 } } }));
    await expect.poll(() => page.locator('#energy').innerText()).toMatch(/Per inference, gross\s*3\d\.\d mJ/);
    expect(await tile.innerText()).toMatch(/27\.0\s*mJ/);
  });

  it('switches between dark and light, and keeps the choice', async () => {
    const page = await open({ colorScheme: 'dark', viewport: { width: 1440, height: 900 } });
    const background = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const dark = await background();
    await page.click('#theme');
    const light = await background();
    expect(light).not.toBe(dark);
    await page.reload();
    expect(await background()).toBe(light);
    await picture(page, 'light');
  });

  it('fits a phone without scrolling sideways', async () => {
    const page = await open({ viewport: { width: 360, height: 780 }, deviceScaleFactor: 2, isMobile: true });
    await page.waitForSelector('#people .person');
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
    await picture(page, 'phone');
  });

  it('shows what is heard: a spectrogram, a strip for each class, and what the budget is spent on', async () => {
    device.sounds = [{}];
    onTestFinished(() => { device.sounds = []; });
    const page = await open();
    await page.waitForSelector('#sound:not([hidden])');
    const text = (selector: string): Promise<string> => page.locator(selector).innerText();
    await expect.poll(() => text('#sound-heard')).toBe('Siren 97 %');
    expect(await text('#sound-note')).toBe('ears · -21 dB, floor -48 dB');
    expect(await text('#budget-total')).toBe('204 ms of 250 ms');
    expect((await text('#budget-legend')).replace(/\s+/g, ' ')).toBe('Chunk 100 ms Buffer 2.00 ms Features 0.500 ms Inference 0.500 ms Smoothing 100 ms Publish 1.00 ms');
    const widths = await page.evaluate<number[]>(`(() => { const whole = document.querySelector('#budget-bar').clientWidth; return [...document.querySelectorAll('#budget-bar span')].map((part) => part.getBoundingClientRect().width / whole); })()`);
    [0.4, 0.008, 0.002, 0.002, 0.4, 0.004].forEach((share, i) => expect(widths[i]).toBeCloseTo(share, 2));
    expect(await page.locator('#sound-classes .sound-label').allInnerTexts()).toEqual([HOSTILE, 'siren']);
    expect(await page.locator('#sound-classes img').count()).toBe(0);
    // The highest band is at the top of the spectrogram, and loud is bright; the next one is silent.
    const rows = await page.evaluate<number[]>(`(() => {
      const copy = new OffscreenCanvas(4, 4).getContext('2d', { willReadFrequently: true });
      copy.drawImage(document.querySelector('#spectrogram'), -996, 0);
      return [0, 1, 2, 3].map((y) => copy.getImageData(3, y, 1, 1).data[0]);
    })()`);
    expect(rows).toEqual([255, 5, 5, 5]);
    expect(await page.locator('#strips .strip-name').allInnerTexts()).toContain('ears');
    await expect.poll(() => page.locator('#spectrogram').getAttribute('aria-label')).toBe('Spectrogram of the newest sound of ears: Siren 97 %');
    await picture(page, 'sound');
  });

  it('says that the model rests, that a piece came too late, and that the budget is exceeded', async () => {
    onTestFinished(() => { device.sounds = []; });
    device.sounds = [{ exit: 'silence', findings: [], scores: [{ label: 'siren', score: 0 }], spectrum: null, stages: [{ stage: 'chunk', ms: 100 }] }];
    const page = await open({ colorScheme: 'light', viewport: { width: 360, height: 780 }, deviceScaleFactor: 2, isMobile: true });
    await expect.poll(() => page.locator('#sound-heard').innerText()).toBe('silence, the model rests');
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
    device.sounds = [{ exit: 'late', findings: [], late: 7 }];
    await expect.poll(() => page.locator('#sound-heard').innerText()).toBe('dropped, because it would have been late');
    expect(await page.locator('#sound-note').innerText()).toMatch(/7 late$/);
    device.sounds = [{ deadline_ms: 150 }];
    await expect.poll(() => page.locator('#budget.over').count()).toBe(1);
    await picture(page, 'sound-phone');
  });

  it('says of a pipeline that listens that it has no picture', async () => {
    device.camera = false;
    device.sounds = [{ pipeline: 'main' }];
    onTestFinished(() => { [device.camera, device.sounds] = [true, []]; });
    const page = await open();
    await expect.poll(() => page.locator('#stage').innerText(), { timeout: 20_000 }).toContain('This pipeline listens, so it has no picture');
  });

  it('names every control and every picture', async () => {
    const page = await open();
    const unnamed = await page.evaluate<string[]>(`[...document.querySelectorAll('button, input, select, canvas[role=img], img')]
      .filter((element) => {
        const label = element.getAttribute('aria-label') ?? element.textContent ?? '';
        const labelled = (element.labels ?? []).length > 0;
        return label.trim() === '' && !labelled && element.getAttribute('alt') === null;
      }).map((element) => element.outerHTML)`);
    expect(unnamed).toEqual([]);
  });
});
