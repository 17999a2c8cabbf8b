/** The table of the fleet: its rows, what the collector keeps of many devices, and the page in a browser. */
import type { BrowserContextOptions, Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Collector } from '../../deploy/collector/collector.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { Dashboard } from '../../deploy/dashboard/server.js';
import { chromiumMissing, HOSTILE, picture, usePages } from './browser.js';
import { caps, json, reported, status, telemetry, topic } from './fixtures.js';

const address = (i: number): { fleet: string; device: string } => ({ fleet: 'demo', device: `door-${String(i).padStart(4, '0')}` });

let store: CollectorStore;
let collector: Collector;
let dashboard: Dashboard;
let connected = true;
beforeEach(async () => {
  connected = true;
  store = new CollectorStore(':memory:');
  collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
  vi.spyOn(collector, 'connected', 'get').mockImplementation(() => connected);
  dashboard = new Dashboard({ port: 0, collector, store });
  await dashboard.start();
});
afterEach(async () => {
  await dashboard.stop();
  store.close();
});

const send = (i: number, suffix: string, value: unknown): void => collector.receive(topic(suffix, address(i)), json(value), Date.now());

/** Devices of which every tenth has no camera and every twentieth is a canary. */
function fleet(n: number): void {
  for (let i = 0; i < n; i++) {
    send(i, 'status', status({ version: i % 2 === 0 ? '0.1.0' : '0.2.0' }));
    send(i, 'reported', reported({ faults: i % 10 === 3 ? [{ pipeline: null, component: 'camera', code: 'E_CAMERA_LOST', message: 'gone' }] : [] }));
    send(i, 'caps', { ...caps(), labels: { ring: i % 20 === 0 ? 'canary' : 'rest', note: i === 7 ? HOSTILE : 'plain' } });
  }
}

interface Answer { instance: string; revision: number; complete: boolean; rows: Record<string, unknown>[] }
const rows = async (query = ''): Promise<Answer> => (await (await fetch(`${dashboard.url}/api/table${query}`)).json()) as Answer;

describe('the rows of the fleet', () => {
  it('have health, versions, alarms, heat, energy, p99 and labels', async () => {
    fleet(4);
    send(3, 'telemetry', telemetry(5, Date.now()));
    const { rows: all } = await rows();
    expect(all).toHaveLength(4);
    expect(all[0]).toMatchObject({ device: 'door-0000', state: 'online', version: '0.1.0', packages: ['faces 1.0.0'], health: 'good', alarms: [], labels: { ring: 'canary' }, celsius: null, p99_ms: null });
    expect(all[3]).toMatchObject({ health: 'bad', alarms: ['camera lost'], celsius: 51.5, millijoules: 27, p99_ms: telemetry(5, 1).pipelines[0]?.end_to_end[0]?.p99_ms });
  });

  it('come alone when they changed, and all of them after a restart or a lost broker', async () => {
    fleet(10);
    const { instance, revision } = await rows();
    send(4, 'status', status({ state: 'offline', birth_seq: 9 }));
    const changed = await rows(`?since=${revision}&instance=${instance}&connected=true`);
    expect(changed).toMatchObject({ complete: false, rows: [{ device: 'door-0004', health: 'bad', alarms: ['offline'] }] });
    expect((await rows(`?since=${revision}&instance=other&connected=true`)).rows).toHaveLength(10);
    connected = false;
    const lost = await rows(`?since=${changed.revision}&instance=${instance}&connected=true`);
    expect(lost.complete).toBe(true);
    expect(lost.rows.every(({ health }) => health === 'unknown')).toBe(true);
  });

  it('keep the newest window when an older one comes late', async () => {
    fleet(1);
    send(0, 'telemetry', telemetry(5, 2_000_000));
    send(0, 'telemetry', telemetry(4, 1_000_000, { backfill: true, thermal: { ...telemetry(4, 1).thermal, zones: [{ zone: 'cpu', celsius: 99, celsius_max: 99, trip_celsius: null }] } }));
    expect((await rows()).rows[0]).toMatchObject({ celsius: 51.5 });
  });

  it('come with the document of the page, those that need attention first, and nothing that a device says ends their block', async () => {
    const inDocument = async (): Promise<{ size: number; levels: Record<string, number>; rows: Record<string, unknown>[] } | null> => {
      const html = await (await fetch(dashboard.url)).text();
      const block = /<script type="application\/json" id="fleet-first">(.*?)<\/script>/s.exec(html)?.[1];
      return block === undefined ? null : (JSON.parse(block) as Awaited<ReturnType<typeof inDocument>>);
    };
    fleet(1);
    expect(await inDocument()).toBeNull(); // no table of one device
    fleet(100);
    send(3, 'caps', { ...caps(), labels: { note: '</script><script src="//elsewhere"></script>$&' } });
    const { size = 0, levels, rows: first = [] } = (await inDocument()) ?? {};
    expect({ size, levels }).toEqual({ size: 100, levels: { bad: 10, good: 90 } });
    expect(first).toHaveLength(40);
    expect(first.slice(0, 12).map(({ device }) => device)).toEqual([...Array.from({ length: 10 }, (_, i) => `door-00${i}3`), 'door-0000', 'door-0001']);
    expect(first[0]).toMatchObject({ health: 'bad', alarms: ['camera lost'], labels: { note: '</script><script src="//elsewhere"></script>$&' } });
    connected = false;
    expect(await inDocument()).toMatchObject({ levels: { unknown: 100 }, rows: expect.arrayContaining([expect.objectContaining({ health: 'unknown' })]) as unknown });
  });

  it('come as markup too, in which what a device says is text', async () => {
    fleet(100);
    send(3, 'caps', { ...caps(), labels: { note: `${HOSTILE}<div id="fleet-head">$1` } });
    const html = await (await fetch(dashboard.url)).text();
    expect(html.match(/<div role="row" class="fleet-row">/g)).toHaveLength(40);
    expect(html).toContain('note=&lt;img src=x onerror=&quot;document.title=1&quot;&gt;&lt;div id=&quot;fleet-head&quot;&gt;$1</span>');
    expect(html).not.toContain(HOSTILE);
  });

  it('are known again when the page starts with a database', async () => {
    fleet(3);
    send(1, 'telemetry', telemetry(5, Date.now()));
    const second = new Dashboard({ port: 0, collector, store });
    await second.start();
    const { rows: all } = (await (await fetch(`${second.url}/api/table`)).json()) as Answer;
    await second.stop();
    expect(all).toHaveLength(3);
    expect(all[1]).toMatchObject({ device: 'door-0001', celsius: 51.5 });
  });
});

describe('the collector of a large fleet', () => {
  it('takes more than 256 devices, up to its setting', () => {
    fleet(300);
    expect({ devices: store.devices().length, refused: collector.stats.devicesRefused }).toEqual({ devices: 300, refused: 0 });
  });

  it('keeps fewer windows and events of each device, so that all of them together stay bounded', () => {
    const small = new CollectorStore(':memory:', { devices: 100, eventsPerDevice: 500, windowsPerDevice: 20, windows: 80 });
    for (let round = 0; round < 30; round++) for (let i = 0; i < 8; i++) { small.touch(address(i), 1); small.addWindow(address(i), telemetry(round, round * 1000)); }
    expect(Array.from({ length: 8 }, (_, i) => small.windows(address(i), 1000).length)).toEqual(Array.from({ length: 8 }, () => 10));
    const one = new CollectorStore(':memory:', { devices: 100, eventsPerDevice: 500, windowsPerDevice: 20, windows: 80 });
    one.touch(address(0), 1);
    for (let round = 0; round < 30; round++) one.addWindow(address(0), telemetry(round, round * 1000));
    expect(one.windows(address(0), 1000)).toHaveLength(20);
    small.close();
    one.close();
  });
});

describe.skipIf(chromiumMissing !== undefined)(`the table of the fleet in a browser${chromiumMissing === undefined ? '' : ` (${chromiumMissing})`}`, () => {
  const { open: openPage } = usePages();
  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    const page = await openPage(dashboard.url, { colorScheme: 'dark', ...options });
    await page.waitForSelector('#fleet-body[aria-busy="false"] .fleet-row');
    return page;
  }

  it('searches, filters, sorts and scrolls a thousand devices with few of them in the document, and shows the one that is chosen', async () => {
    fleet(1000);
    send(42, 'telemetry', telemetry(5, Date.now()));
    const page = await open();
    const names = (): Promise<string[]> => page.locator('.fleet-row .fleet-device').allInnerTexts();
    const note = (): Promise<string> => page.locator('#fleet-note').innerText();
    expect(await note()).toMatch(/^1.?000 devices$/);
    expect((await names()).length).toBeLessThan(60);
    expect((await names())[0]).toBe('door-0003'); // alarms first
    await page.fill('#fleet-search', 'canary door-01');
    expect(await note()).toMatch(/^5 of 1.?000 devices$/);
    expect(await names()).toEqual(['door-0100', 'door-0120', 'door-0140', 'door-0160', 'door-0180']);
    await page.fill('#fleet-search', '');
    await page.click('#fleet-levels [data-level="bad"]');
    expect(await note()).toMatch(/^100 of 1.?000 devices$/);
    await page.click('#fleet-levels [data-level="bad"]');
    await page.click('#fleet-head [data-sort="p99"]');
    expect((await names())[0]).toBe('door-0042');
    await page.click('#fleet-head [data-sort="device"]');
    await page.click('#fleet-head [data-sort="device"]');
    expect((await names())[0]).toBe('door-0999');
    await page.evaluate('document.querySelector("#fleet-body").scrollTop = 1e6');
    await expect.poll(async () => (await names()).at(-1)).toBe('door-0000');
    await picture(page, 'fleet');
    await page.fill('#fleet-search', 'onerror');
    expect(await page.locator('.fleet-row .fleet-labels').innerText()).toContain(HOSTILE);
    await page.click('.fleet-row');
    await expect.poll(() => page.evaluate<string>('decodeURIComponent(location.hash)')).toBe('#demo/door-0007');
    await expect.poll(() => page.locator('#pills').innerText()).toContain('online');
  });

  it('paints the first rows with one answer of the server, before any code of the table', async () => {
    const requests: string[] = [];
    const page = await openPage(dashboard.url, { colorScheme: 'dark' });
    fleet(300);
    send(3, 'caps', { ...caps(), labels: { note: HOSTILE } });
    page.on('request', (request) => requests.push(new URL(request.url()).pathname));
    await page.route('**/*.{js,css}', () => undefined); // never answered
    await page.reload({ waitUntil: 'commit' });
    const row = page.locator('.fleet-row').first();
    await row.waitFor();
    expect((await row.innerText()).trim().split(/\s*\n\s*/).slice(0, 3)).toEqual(['alarm', 'door-0003', 'faces 1.0.0']);
    expect(await row.locator('.fleet-labels').innerText()).toContain(HOSTILE);
    expect(await page.locator('#fleet-note').innerText()).toBe('the first 40 of 300 devices');
    const places = await page.locator('.fleet-row').evaluateAll((all) => all.map((element) => element.getBoundingClientRect().top));
    expect(places.slice(1).every((top, i) => top > (places[i] ?? 0))).toBe(true);
    expect(requests.filter((path) => path.endsWith('.css'))).toEqual([]);
    await picture(page, 'fleet-first');
  });

  it('shows the first rows before the others are there, and then all of them', async () => {
    const page = await openPage(dashboard.url, { colorScheme: 'light' });
    fleet(300);
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => { release = resolve; });
    await page.route('**/api/table*', async (route) => { await released; await route.continue(); });
    await page.reload();
    await page.waitForSelector('#fleet-body[aria-busy="true"] .fleet-row');
    expect(await page.locator('#fleet-note').innerText()).toBe('the first 40 of 300 devices');
    expect(await page.locator('#fleet-levels').innerText()).toMatch(/alarm 30[\s\S]*ok 270/);
    expect(await page.locator('.fleet-row .fleet-device').first().innerText()).toBe('door-0003');
    release();
    await page.waitForSelector('#fleet-body[aria-busy="false"] .fleet-row');
    expect(await page.locator('#fleet-note').innerText()).toBe('300 devices');
    await expect.poll(() => page.locator('#pills').innerText(), { timeout: 40_000 }).toContain('online'); // the rest of the page comes too
  });

  it('follows what devices say, and fits a phone', async () => {
    fleet(30);
    const page = await open({ viewport: { width: 390, height: 844 }, colorScheme: 'light', isMobile: true, hasTouch: true });
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    send(8, 'status', status({ state: 'offline', birth_seq: 9 }));
    await page.fill('#fleet-search', 'door-0008');
    await expect.poll(() => page.locator('.fleet-row').innerText(), { timeout: 15_000 }).toMatch(/alarm[\s\S]*offline/);
    await page.fill('#fleet-search', '');
    await picture(page, 'fleet-phone');
  });
});
