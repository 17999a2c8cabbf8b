// `npm run bench:fleet-page [-- --devices N --json]`: how soon the page shows a fleet of 10,000 devices, and how long a key in its search takes, in Chromium; how far the
// fleet's p99 is from that of all latencies, and what a scrape takes; what a device takes in the collector's memory.
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { launchChromium } from './lib/chromium.mjs';
import { ensureSetup, root } from './lib/setup.mjs';

ensureSetup();
const load = (path) => import(pathToFileURL(join(root, 'dist', path)).href);
const { Histogram, withQuantiles } = await load('agent/contracts/index.js');
const { barsTable, machineOf } = await load('deploy/bench/bars.js');
const { Collector } = await load('deploy/collector/collector.js');
const { CollectorStore } = await load('deploy/collector/store.js');
const { uniform } = await load('deploy/compress/random.js');
const { Dashboard } = await load('deploy/dashboard/server.js');
const { medianOf, percentile } = await load('runtime/percentile.js');

const { values } = parseArgs({ options: { devices: { type: 'string', default: '10000' }, json: { type: 'boolean', default: false } } });
const devices = Number(values.devices);
/** Frames of a device in its window. */
const FRAMES = 50;
const SEARCHES = ['d', 'do', 'door-09', 'canary', 'site-7 1.3.0', 'camera lost', ''];
/** Loads of the page of which the first paint is measured, and the time after which each is asked for it. */
const LOADS = 5;
const SETTLE_MS = 2500;
const digest = 'ab'.repeat(32);
const common = { schema_version: 2, boot_id: 'boot-0000', time_ms: Date.now(), clock_synchronized: true };

const random = uniform(1);
/** A log-normal latency (Box and Muller), milliseconds, around a median of the device: a few devices are ten times as slow. */
const latency = (i) => (i % 97 === 0 ? 200 : 15 + (i % 11)) * Math.exp(0.3 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));

function reportOf(i) {
  const slot = { name: 'faces', version: `1.${i % 5}.0`, digest, size_bytes: 3e6, since_ms: 1 };
  const ota = { state: 'committed', package: null, blocks_done: 0, blocks_total: 0, error: null };
  const faults = i % 37 === 0 ? [{ component: 'camera', pipeline: null, code: 'E_CAMERA_LOST', message: 'No frame for 15 s' }] : [];
  return { pipelines: [{ name: 'main', input: 'camera', generation_seen: 1, generation_applied: 1, ota, slots: { active: slot, previous: null }, probation: false, settings: {} }], faults, last_error: null };
}

const capsOf = (i) => ({
  version: '0.2.0', labels: { ring: i % 20 === 0 ? 'canary' : 'rest', site: `site-${i % 50}` },
  machine: { arch: 'arm64', os: 'linux', kernel: '6.1', model: 'door', cpu: 'A72', cores: 4, memory_bytes: 4e9 },
  compute: null, slots: 2, energy: [], thermal_zones: ['cpu'], commands: [], limits: { package_bytes: 1, block_bytes: 1, window: 1, outbox_bytes: 1 },
});

function windowOf(latencies) {
  const histogram = new Histogram();
  for (const value of latencies) histogram.record(value);
  return {
    stream_id: 'boot-0000', seq: 1, first_seq: 1, backfill: false, start_ms: common.time_ms - 10_000, end_ms: common.time_ms,
    pipelines: [{
      name: 'main', input: 'camera', model: { name: 'faces', version: '1.0.0' }, memory_bytes: 2e7, stages: [], end_to_end: [{ clock: 'raw', kind: 'warm', ...withQuantiles(histogram.toData()) }],
      jitter: { rfc3550_ms: 1, pdv_p50_ms: 2, pdv_p99_ms: 9, deadline_ms: 250, deadlines_missed: 0, deadlines: FRAMES }, counters: {},
    }],
    energy: { sources: [], inference: null }, thermal: { zones: [{ zone: 'cpu', celsius: 50, celsius_max: 55, trip_celsius: 95 }], cooling: [], throttled: false, throttled_since_boot: false, cpus: [] },
    memory: { rss_bytes: 96e6, rss_peak_bytes: 112e6, heap_bytes: 3e7, system_available_bytes: 4e9 }, counters: {},
  };
}

/** Fills the collector, and resolves to all latencies. */
function fillFleet(collector) {
  const send = (device, suffix, value) => collector.receive(`sterna/v2/demo/${device}/${suffix}`, Buffer.from(JSON.stringify({ ...common, ...value })), Date.now());
  const all = [];
  for (let i = 0; i < devices; i++) {
    const device = `door-${String(i).padStart(5, '0')}`, latencies = Array.from({ length: FRAMES }, () => latency(i));
    all.push(...latencies);
    send(device, 'status', { state: i % 91 === 0 ? 'offline' : 'online', birth_seq: 1, version: i % 3 === 0 ? '0.1.0' : '0.2.0' });
    send(device, 'reported', reportOf(i));
    send(device, 'caps', capsOf(i));
    send(device, 'telemetry', windowOf(latencies));
  }
  if (collector.stats.malformed > 0) throw new Error(`the collector refused ${collector.stats.malformed} messages of this bench`);
  return all;
}

/** When the first row was painted, milliseconds since the navigation began, by the clock of the browser (Element Timing): who waits for it from outside slows the page down. */
async function timeFirstPaint(browser, url) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  try {
    await page.goto(`${url}/icon.svg`); // the browser itself is warm
    await page.goto(url, { waitUntil: 'commit' });
    await new Promise((resolve) => { setTimeout(resolve, SETTLE_MS); });
    return await page.evaluate(() => new Promise((resolve, reject) => {
      new PerformanceObserver((list) => resolve(Math.min(...list.getEntries().map(({ renderTime }) => renderTime)))).observe({ type: 'element', buffered: true });
      setTimeout(() => reject(new Error('no row was painted within 20 s')), 20_000);
    }));
  } finally {
    await page.close();
  }
}

async function timePage(url) {
  const browser = await launchChromium();
  try {
    const paints = [];
    for (let i = 0; i < LOADS; i++) paints.push(await timeFirstPaint(browser, url));
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.goto(`${url}/icon.svg`);
    const started = performance.now();
    await page.goto(url, { waitUntil: 'commit' });
    await page.waitForSelector('#fleet-body[aria-busy="false"]', { timeout: 120_000 });
    const completeMs = performance.now() - started;
    const filters = [];
    for (const text of SEARCHES) {
      filters.push(await page.evaluate(async (value) => {
        const input = document.querySelector('#fleet-search');
        input.value = value;
        const begun = performance.now();
        input.dispatchEvent(new Event('input'));
        await new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); });
        return performance.now() - begun;
      }, text));
    }
    if (process.env.STERNA_SCREENSHOTS !== undefined) await page.screenshot({ path: join(process.env.STERNA_SCREENSHOTS, 'fleet-10000.png') });
    return { paints, completeMs, filters };
  } finally {
    await browser.close();
  }
}

async function scrape(url) {
  const started = performance.now();
  const text = await (await fetch(`${url}/metrics`)).text();
  return { ms: performance.now() - started, p99: Number(text.match(/^sterna_fleet_latency_p99_seconds\S* (\S+)$/m)?.[1]) * 1000 };
}

/** GET of a year of one device of which every row that is kept is there, and of the comparison of two packages; median of three, milliseconds. */
async function timeHistory() {
  const store = new CollectorStore(':memory:');
  const collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
  const dashboard = new Dashboard({ port: 0, collector, store });
  await dashboard.start();
  const [address, hour, hours] = [{ fleet: 'demo', device: 'door' }, 3_600_000, 800 * 24];
  store.touch(address, Date.now());
  // Hours first, then two days of five minutes.
  const times = [...Array.from({ length: hours }, (_, i) => Date.now() - (hours - i) * hour), ...Array.from({ length: 560 }, (_, i) => Date.now() - (560 - i) * 300_000)];
  for (const [seq, end_ms] of times.entries()) {
    const window = windowOf(Array.from({ length: FRAMES }, () => latency(seq)));
    store.addWindow(address, { ...common, ...window, seq, first_seq: seq, start_ms: end_ms - 10_000, end_ms }, end_ms);
  }
  const get = async (path) => {
    const taken = [];
    for (let i = 0; i < 3; i++) {
      const started = performance.now();
      const answer = await fetch(`${dashboard.url}${path}`);
      await answer.json();
      if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
      taken.push(performance.now() - started);
    }
    return medianOf(taken);
  };
  const rows = store.history.rows(address, { pipeline: 'main', fromMs: 0, toMs: Date.now() }).length;
  const yearMs = await get(`/api/devices/demo/door/history?pipeline=main&from=${Date.now() - 365 * 24 * hour}&to=${Date.now()}`);
  const monthMs = await get(`/api/devices/demo/door/history?pipeline=main&from=${Date.now() - 30 * 24 * hour}&to=${Date.now()}`);
  await dashboard.stop();
  store.close();
  return { rows, yearMs, monthMs };
}

const past = await timeHistory();
const store = new CollectorStore(':memory:');
const collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
Object.defineProperty(collector, 'connected', { get: () => true });
const dashboard = new Dashboard({ port: 0, collector, store });
await dashboard.start();
const rssBefore = process.memoryUsage().rss;
const sorted = fillFleet(collector).sort((a, b) => a - b);
const rssPerDevice = (process.memoryUsage().rss - rssBefore) / devices;
const { paints, completeMs, filters } = await timePage(dashboard.url);
const scraped = await scrape(dashboard.url);
const compareStarted = performance.now();
const compared = await (await fetch(`${dashboard.url}/api/compare?${new URLSearchParams({ a: 'label:ring=canary', b: 'package:faces 1.0.0' })}`)).json();
const compareMs = performance.now() - compareStarted;
if (compared.sides[1].devices !== devices) throw new Error('the comparison does not know every device');
await dashboard.stop();
store.close();

const exact = percentile(sorted, 99);
const error = (Math.abs(scraped.p99 - exact) / exact) * 100;
const atMost = (id, what, value, unit, bar) => ({ id, what, value, unit, bar: `<= ${bar}`, met: value <= bar });
const bars = [
  atMost('first-paint', `first rows of ${devices} devices, median of ${LOADS} loads`, medianOf(paints), 'ms', 1000),
  atMost('first-paint-worst', `first rows of ${devices} devices, slowest of ${LOADS} loads`, Math.max(...paints), 'ms', 1000),
  atMost('all-rows', 'all of them in the page, for search and sorting', completeMs, 'ms', 3000),
  atMost('filter', 'a key in the search, median', medianOf(filters), 'ms', 100),
  atMost('filter-worst', `a key in the search, slowest of ${filters.length}`, Math.max(...filters), 'ms', 100),
  atMost('fleet-p99', `p99 of merged histograms (${scraped.p99.toFixed(2)} ms) against that of all latencies (${exact.toFixed(2)} ms)`, error, '%', 1.1),
  atMost('scrape', 'GET /metrics, wall time', scraped.ms, 'ms', 5000),
  atMost('history-month', `30 days of one device, of ${past.rows} rows of history`, past.monthMs, 'ms', 1000),
  atMost('history-year', 'a year of one device', past.yearMs, 'ms', 1000),
  atMost('compare', `two groups of ${devices} devices side by side`, compareMs, 'ms', 10_000),
  atMost('memory', 'resident memory of the collector for a device', rssPerDevice, 'bytes', 20_000),
];
console.log(values.json ? JSON.stringify({ machine: machineOf(), bars }) : barsTable(bars));
