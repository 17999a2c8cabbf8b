// `npm run bench:fleet-page`: how soon the page shows a fleet of 10,000 devices, and how long a key in its search takes, in Chromium; and what a device takes in the
// collector's memory. It judges nothing.
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { launchChromium } from './lib/chromium.mjs';
import { ensureSetup, root } from './lib/setup.mjs';

ensureSetup();
const load = (path) => import(pathToFileURL(join(root, 'dist', path)).href);
const { Collector } = await load('deploy/collector/collector.js');
const { CollectorStore } = await load('deploy/collector/store.js');
const { Dashboard } = await load('deploy/dashboard/server.js');

const devices = Number(process.argv[2] ?? 10_000);
const digest = 'ab'.repeat(32);
const store = new CollectorStore(':memory:');
const collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
Object.defineProperty(collector, 'connected', { get: () => true });
const dashboard = new Dashboard({ port: 0, collector, store });
await dashboard.start();
const send = (device, suffix, value) => collector.receive(`sterna/v2/demo/${device}/${suffix}`, Buffer.from(JSON.stringify({ schema_version: 2, boot_id: 'boot-0000', time_ms: Date.now(), clock_synchronized: true, ...value })), Date.now());
const slot = { name: 'faces', version: '1.0.0', digest, size_bytes: 3e6, since_ms: 1 };
const rssBefore = process.memoryUsage().rss;
for (let i = 0; i < devices; i++) {
  const device = `door-${String(i).padStart(5, '0')}`;
  const faults = i % 37 === 0 ? [{ component: 'camera', pipeline: null, code: 'E_CAMERA_LOST', message: 'No frame for 15 s' }] : [];
  send(device, 'status', { state: i % 91 === 0 ? 'offline' : 'online', birth_seq: 1, version: i % 3 === 0 ? '0.1.0' : '0.2.0' });
  send(device, 'reported', {
    pipelines: [{ name: 'main', input: 'camera', generation_seen: 1, generation_applied: 1, ota: { state: 'committed', package: null, blocks_done: 0, blocks_total: 0, error: null }, slots: { active: { ...slot, version: `1.${i % 5}.0` }, previous: null }, probation: false, settings: {} }],
    faults, last_error: null,
  });
  send(device, 'caps', {
    version: '0.2.0', labels: { ring: i % 20 === 0 ? 'canary' : 'rest', site: `site-${i % 50}` }, machine: { arch: 'arm64', os: 'linux', kernel: '6.1', model: 'door', cpu: 'A72', cores: 4, memory_bytes: 4e9 },
    compute: null, slots: 2, energy: [], thermal_zones: ['cpu'], commands: [], limits: { package_bytes: 1, block_bytes: 1, window: 1, outbox_bytes: 1 },
  });
}
const rssPerDevice = (process.memoryUsage().rss - rssBefore) / devices;

const browser = await launchChromium();
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
await page.goto(`${dashboard.url}/icon.svg`); // the browser itself is warm
const started = performance.now();
await page.goto(dashboard.url, { waitUntil: 'commit' });
await page.waitForSelector('.fleet-row', { timeout: 120_000 });
const firstPaintMs = performance.now() - started;
const filters = [];
for (const text of ['d', 'do', 'door-09', 'canary', 'site-7 1.3.0', 'camera lost', '']) {
  filters.push(await page.evaluate(async (value) => {
    const input = document.querySelector('#fleet-search');
    input.value = value;
    const begun = performance.now();
    input.dispatchEvent(new Event('input'));
    await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); });
    return performance.now() - begun;
  }, text));
}
const rows = await page.locator('.fleet-row').count();
if (process.env.STERNA_SCREENSHOTS !== undefined) await page.screenshot({ path: join(process.env.STERNA_SCREENSHOTS, 'fleet-10000.png') });
await browser.close();
await dashboard.stop();
store.close();
const round = (value) => Math.round(value * 10) / 10;
console.log(JSON.stringify({ devices, rows_in_document: rows, first_paint_ms: round(firstPaintMs), filter_ms: filters.map(round), rss_bytes_per_device: Math.round(rssPerDevice) }, null, 2));
