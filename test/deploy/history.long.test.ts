/** The past of devices: roll-ups that become coarser with age, the charts of one device, and two groups side by side. */
import type { Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Histogram, quantile, withQuantiles, type TelemetryWindow } from '../../agent/contracts/index.js';
import type { Received } from '../../deploy/collector/fleet-store.js';
import { inSteps } from '../../deploy/collector/history-store.js';
import { figuresOf, RollupSum, type RollupFigures } from '../../deploy/collector/rollup.js';
import { CollectorStore, defaultLimits } from '../../deploy/collector/store.js';
import { Dashboard } from '../../deploy/dashboard/server.js';
import { rateBounds } from '../../runtime/vision/gates/binomial.js';
import { chromiumMissing, picture, usePages } from './browser.js';
import { caps, DOOR, json, reported, status, telemetry, topic } from './fixtures.js';
import { ConnectedCollector, pastStores, receivedOf, type OpenPast } from './past-stores.js';

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
const NOW = Math.floor(1_760_000_000_000 / DAY) * DAY;
const PIPELINE = { pipeline: 'main', fromMs: 0, toMs: NOW + DAY };

/** A window whose latencies are known one by one. */
function window(seq: number, endMs: number, values: readonly number[], over: Parameters<typeof telemetry>[2] = {}): TelemetryWindow {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return telemetry(seq, endMs, { end_to_end: [{ clock: 'raw', kind: 'warm', ...withQuantiles(histogram.toData()) }], ...over });
}
const valuesOf = (seq: number): number[] => Array.from({ length: 20 }, (_, i) => 5 + ((seq * 7919 + i * 104_729) % 1000) / 10);

describe('the history of a device', () => {
  let store: CollectorStore;
  beforeEach(() => { store = new CollectorStore(':memory:'); });
  afterEach(() => store.close());
  const add = (endMs: number, seq: number, over: Parameters<typeof telemetry>[2] = {}): void => {
    store.touch(DOOR, endMs);
    expect(store.addWindow(DOOR, window(seq, endMs, valuesOf(seq), over), endMs)).toBe('added');
  };

  it('keeps five minutes, hours and days, each window in one of them, and stays bounded', () => {
    const all = new Histogram();
    const n = 3000;
    for (let seq = 0; seq < n; seq++) {
      add(NOW - (n - seq) * 20 * MINUTE, seq);
      for (const value of valuesOf(seq)) all.record(value);
    }
    const rows = store.history.rows(DOOR, PIPELINE);
    const counts = new Map<number, number>();
    for (const { stepMs } of rows) counts.set(stepMs, (counts.get(stepMs) ?? 0) + 1);
    // 41 days: the newest 576 slots, then hours, of which three windows each become one.
    expect(Object.fromEntries(counts)).toEqual({ [5 * MINUTE]: 576, [HOUR]: 808 });
    const sum = new RollupSum();
    for (const { rollup } of rows) sum.add(rollup);
    expect(sum.total?.windows).toBe(n);
    expect(sum.total?.latency.buckets).toBe(all.toData().buckets);
    expect(figuresOf(sum.total ?? expect.fail()).p99_ms).toBe(quantile(all.toData(), 0.99));
    expect(inSteps(rows, DAY).reduce((total, { rollup }) => total + rollup.windows, 0)).toBe(n);
  });

  it('turns the oldest hours into days, and gives up the oldest days', () => {
    const small = new CollectorStore(':memory:', { ...defaultLimits, history: 36 });
    small.touch(DOOR, NOW);
    for (let seq = 0; seq < 40 * 24; seq++) small.addWindow(DOOR, window(seq, NOW - (40 * 24 - seq) * HOUR, [10]), NOW - (40 * 24 - seq) * HOUR);
    const rows = small.history.rows(DOOR, PIPELINE);
    expect([5 * MINUTE, HOUR, DAY].map((length) => rows.filter(({ stepMs }) => stepMs === length).length)).toEqual([12, 12, 12]);
    expect(rows.filter(({ stepMs }) => stepMs === DAY).slice(1, -1).every(({ rollup }) => rollup.windows === 24)).toBe(true);
    small.close();
  });

  it('puts a window that waited on the device where it was, however old its rows are, and one without a time nowhere', () => {
    for (let i = 0; i < 700; i++) add(NOW + i * 5 * MINUTE, i);
    add(NOW + 7 * MINUTE, 1000, { backfill: true, stream_id: 'boot-other-0000' });
    add(NOW + 3 * DAY + 9 * MINUTE, 1001, { backfill: true, stream_id: 'boot-other-0000', clock_synchronized: false });
    const rows = store.history.rows(DOOR, { ...PIPELINE, toMs: NOW + 9 * DAY });
    expect(rows[0]).toMatchObject({ stepMs: HOUR, slotMs: NOW, rollup: { windows: 13 } });
    expect(rows.reduce((sum, { rollup }) => sum + rollup.windows, 0)).toBe(701);
  });

  it('counts live windows by the clock of the collector', () => {
    store.touch(DOOR, NOW);
    store.addWindow(DOOR, window(1, 1_000_000, [10]), NOW);
    expect(store.history.rows(DOOR, PIPELINE)).toMatchObject([{ slotMs: NOW }]);
  });

  it('counts lost frames once, from the counters of the device', () => {
    const lost = (total: number): Parameters<typeof telemetry>[2] => ({ pipelines: window(0, 1, [10]).pipelines.map((pipeline) => ({ ...pipeline, counters: { frames_dropped_total: total } })) });
    add(NOW, 1, lost(1000)); // lost before anybody listened
    add(NOW + 10_000, 2, lost(1003));
    add(NOW + 20_000, 4, lost(1010));
    add(NOW + 30_000, 3, { ...lost(1005), backfill: true }); // its frames are among those of number 4
    add(NOW + 40_000, 5, { ...lost(2), boot_id: 'boot-after-restart' });
    expect(store.history.rows(DOOR, { ...PIPELINE, toMs: NOW + DAY }).reduce((sum, { rollup }) => sum + rollup.dropped, 0)).toBe(12);
  });

  it('does not hold up what comes after sums that no number can hold', () => {
    const huge = { ...window(1, NOW, [10]).pipelines[0]?.end_to_end[0]?.latency_ms, buckets: '106:(9007199254740000)' } as ReturnType<Histogram['toData']>;
    const hostile = (): Parameters<typeof telemetry>[2] => ({ end_to_end: [{ clock: 'raw', kind: 'warm', latency_ms: huge }] });
    for (const seq of [1, 2, 3]) add(NOW + seq, seq, hostile());
    add(NOW + 4, 4);
    expect(store.history.rows(DOOR, PIPELINE).length).toBeLessThanOrEqual(1);
  });
});

/** Two devices, of which one runs a newer package that is slower and whose gates miss less, over `days` until now. */
function fleetOf(days: number, everyMs = HOUR): Received[] {
  const messages: Received[] = [];
  const windows = Math.round(days * DAY / everyMs);
  for (const [i, version] of ['1.0.0', '1.1.0'].entries()) {
    const address = { fleet: 'demo', device: `door-${i + 1}` };
    const send = (suffix: string, value: unknown, atMs: number): unknown => messages.push(receivedOf(topic(suffix, address), json(value), atMs));
    send('status', status(), Date.now());
    send('reported', reported(), Date.now());
    send('caps', { ...caps(), labels: { ring: i === 0 ? 'rest' : 'canary' } }, Date.now());
    for (let seq = 0; seq < windows; seq++) {
      const endMs = Date.now() - (windows - seq) * everyMs + MINUTE;
      const plain = window(seq, endMs, valuesOf(seq).map((value) => value * (1 + i)), { model: { name: 'faces', version } });
      const gates = { strictness: 'set', miss_rate: 0.1 / (1 + i), miss_rate_upper: 0.2, audits: 40 } as const;
      send('telemetry', { ...plain, pipelines: plain.pipelines.map((pipeline) => ({ ...pipeline, gates })) }, endMs);
    }
  }
  return messages;
}

let dashboard: Dashboard;
/** The page, with the past in a store that has taken `messages`; the page itself hears what devices retain. */
async function serve({ past, live, take }: OpenPast, messages: readonly Received[]): Promise<void> {
  await take(messages);
  for (const { message, receivedMs } of messages) if (message.kind !== 'telemetry' && message.kind !== 'event') live.note(message.address, message.kind, message.value, receivedMs);
  dashboard = new Dashboard({ port: 0, collector: new ConnectedCollector({ url: 'mqtt://127.0.0.1:1' }, live), store: live, past });
  await dashboard.start();
}

interface History { points: (RollupFigures & { t_ms: number; models: string[] })[]; total: RollupFigures | null; step_ms: number; oldest_ms: number | null }
interface Compared { choices: { packages: string[]; labels: string[]; pipelines: string[] }; sides: (RollupFigures & { group: string; devices: number; packages: string[] })[] }
const get = async <T>(path: string, expected = 200): Promise<T> => {
  const answer = await fetch(`${dashboard.url}${path}`);
  expect(answer.status).toBe(expected);
  return (await answer.json()) as T;
};

describe.each(pastStores)('the routes of the past in $name', ({ missing, use }) => { describe.skipIf(missing !== undefined)(missing === undefined ? 'installed' : `skipped: ${missing}`, () => {
  const open = use();
  afterEach(() => dashboard.stop());

  it('give single windows of minutes, rows of months, and the quantiles of merged histograms', async () => {
    await serve(await open(), fleetOf(30));
    const now = Date.now();
    const month = await get<History>(`/api/devices/demo/door-1/history?from=${now - 30 * DAY}&to=${now}`);
    expect(month.step_ms).toBe(6 * HOUR);
    expect(month.points.length).toBeGreaterThan(110);
    const all = new Histogram();
    for (let seq = 0; seq < 30 * 24; seq++) for (const value of valuesOf(seq)) all.record(value);
    expect(month.total).toMatchObject({ windows: 720, frames: 720 * 20, p99_ms: quantile(all.toData(), 0.99), p50_ms: quantile(all.toData(), 0.5) });
    expect(month.points[5]).toMatchObject({ windows: 6, models: ['faces 1.0.0'], celsius: 51.5, celsius_max: 55 });
    const minutes = await get<History>(`/api/devices/demo/door-1/history?pipeline=main&from=${now - 2 * HOUR}&to=${now}`);
    expect(minutes.points.map(({ windows }) => windows)).toEqual([1, 1]);
    expect((await get<History>('/api/devices/demo/door-1/history?pipeline=other')).points).toEqual([]);
  });

  it('compare packages and groups by label, with the audits of all devices', async () => {
    await serve(await open(), fleetOf(2));
    const { choices } = await get<Compared>('/api/compare');
    expect(choices).toEqual({ packages: ['faces 1.0.0', 'faces 1.1.0'], labels: ['ring=canary', 'ring=rest'], pipelines: ['main'] });
    const { sides } = await get<Compared>(`/api/compare?${new URLSearchParams({ a: 'package:faces 1.0.0', b: 'label:ring=canary' })}`);
    expect(sides).toMatchObject([
      { group: 'package:faces 1.0.0', devices: 1, windows: 48, packages: ['faces 1.0.0'], audit: { audits: 40, misses: 4, miss_rate: 0.1, miss_rate_upper: rateBounds(4, 40).upper } },
      { group: 'label:ring=canary', devices: 1, windows: 48, packages: ['faces 1.1.0'], audit: { audits: 40, misses: 2, miss_rate_upper: rateBounds(2, 40).upper } },
    ]);
    expect((sides[1]?.p99_ms ?? 0) / (sides[0]?.p99_ms ?? 0)).toBeCloseTo(2, 1);
    expect(sides[0]?.inference_millijoules).toBeGreaterThan(0);
    const none = await get<Compared>(`/api/compare?${new URLSearchParams({ a: 'package:faces 9.9.9', b: 'device:demo/door-2' })}`);
    expect(none.sides).toMatchObject([{ devices: 0 }, { devices: 1, windows: 48 }]);
  });

  it('refuse what they do not understand', async () => {
    await serve(await open(), fleetOf(1));
    for (const path of ['/api/devices/demo/door-1/history?from=5&to=1', '/api/devices/demo/door-1/history?from=x', '/api/compare?a=package:', '/api/compare?a=label:ring&b=device:demo/door-1']) {
      expect(await get(path, 400), path).toMatchObject({ error: { code: 'E_QUERY' } });
    }
    expect(await get('/api/devices/demo/nobody/history', 404)).toMatchObject({ error: { code: 'E_NOT_FOUND' } });
  });
}); });

describe.skipIf(chromiumMissing !== undefined)('the past in a browser', () => {
  const stores = pastStores.filter(({ missing }) => missing === undefined).map(({ name, use }) => ({ name, openStore: use() }));
  afterEach(() => dashboard.stop());
  const { open } = usePages(); // its pages close before the server stops
  const range = (page: Page): Promise<number> => page.locator('#history').getAttribute('data-range').then(Number);
  const points = (page: Page): Promise<number> => page.locator('#history').getAttribute('data-points').then(Number);

  it.each(stores)('shows one device over hours and months, and zooms by buttons, by dragging and with the wheel: $name', async ({ openStore }) => {
    await serve(await openStore(), fleetOf(30, 6 * HOUR));
    const page = await open(dashboard.url, { colorScheme: 'dark' });
    await page.waitForSelector('#history[data-points]', { timeout: 30_000 });
    await page.click('#history-ranges [data-range="2592000000"]');
    await expect.poll(() => points(page), { timeout: 20_000 }).toBeGreaterThan(110);
    expect(await page.locator('#history-note').innerText()).toMatch(/p99 .* ms of 2,400 frames/);
    await page.locator('#history').scrollIntoViewIfNeeded();
    await picture(page, 'history');
    const box = await page.locator('#history-latency .u-over').boundingBox() ?? expect.fail();
    await page.mouse.move(box.x + box.width * 0.25, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.75, box.y + 40, { steps: 4 });
    await page.mouse.up();
    await expect.poll(async () => (await range(page)) / DAY).toBeCloseTo(15, 0);
    await page.keyboard.down('Control');
    await page.mouse.wheel(0, -100);
    await page.keyboard.up('Control');
    await expect.poll(async () => (await range(page)) / DAY).toBeCloseTo(12, 0);
    await page.click('#history-ranges [data-go="out"]');
    await expect.poll(async () => (await range(page)) / DAY).toBeCloseTo(24, 0);
    await page.click('#history-ranges [data-go="now"]');
    expect(await page.locator('#history-ranges [data-go="now"]').count()).toBe(0);
  }, 120_000);

  it.each(stores)('compares two packages, names them in the address, and fits a phone: $name', async ({ openStore }) => {
    await serve(await openStore(), fleetOf(2));
    const page = await open(dashboard.url, { viewport: { width: 390, height: 844 }, colorScheme: 'light', isMobile: true, hasTouch: true });
    await page.goto(`${dashboard.url}/?${new URLSearchParams({ b: 'package:faces 1.1.0' })}`);
    await page.waitForSelector('#compare-table:not([hidden])', { timeout: 30_000 });
    const rows = await page.locator('#compare-table').innerText();
    expect(rows).toMatch(/faces 1\.0\.0\s+faces 1\.1\.0/);
    expect(rows).toMatch(/Latency p99\s+\S+ ms\s+\S+ ms\s+\+\d+\.\d %/);
    expect(rows).toMatch(/Missed by the gates\s+10\.0 %\s+5\.00 %/);
    expect(new URL(page.url()).searchParams.get('a')).toBe('package:faces 1.0.0');
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await page.waitForSelector('#history[data-points]');
    await picture(page, 'compare-phone');
  }, 120_000);

  /** Fingers that go from places to places of a chart, as shares of its width, and in pixels down. */
  async function fingers(page: Page, from: readonly number[], to: readonly number[], down = 0): Promise<void> {
    await page.locator('#history-latency').evaluate((element) => element.scrollIntoView({ block: 'center' }));
    const box = await page.locator('#history-latency .u-over').boundingBox() ?? expect.fail();
    const session = await page.context().newCDPSession(page);
    const send = (type: 'touchStart' | 'touchMove' | 'touchEnd', share: number): Promise<unknown> => session.send('Input.dispatchTouchEvent', {
      type, touchPoints: type === 'touchEnd' ? [] : from.map((begin, id) => ({ id, x: box.x + box.width * (begin + ((to[id] ?? begin) - begin) * share), y: box.y + 60 + down * share })),
    });
    await send('touchStart', 0);
    for (const share of [0.1, 0.25, 0.5, 0.75, 1]) await send('touchMove', share);
    await send('touchEnd', 1);
    await session.detach();
  }

  it.each(['light', 'dark'] as const)('zooms and moves by fingers on a phone, and still scrolls: %s', async (colorScheme) => {
    await serve(await (stores[0]?.openStore() ?? expect.fail()), fleetOf(2));
    const page = await open(dashboard.url, { viewport: { width: 390, height: 844 }, colorScheme, isMobile: true, hasTouch: true });
    await page.waitForSelector('#history[data-points]', { timeout: 30_000 });
    await page.click('#history-ranges [data-range="86400000"]');
    await expect.poll(() => points(page), { timeout: 20_000 }).toBeGreaterThan(20);
    const scale = (): Promise<number> => page.evaluate<number>('visualViewport.scale');
    const end = (): Promise<number> => page.locator('#history').getAttribute('data-to').then(Number);
    const before = Date.now();
    await fingers(page, [0.4, 0.6], [0.2, 0.8]); // three times as far apart, around the middle
    await expect.poll(async () => (await range(page)) / HOUR).toBeCloseTo(8, 0);
    expect((before - await end()) / HOUR).toBeCloseTo(8, 0);
    const there = await end();
    await fingers(page, [0.3], [0.8]); // pulled to the right: half a range earlier
    await expect.poll(async () => (there - await end()) / HOUR).toBeCloseTo(4, 0);
    expect((await range(page)) / HOUR).toBeCloseTo(8, 0);
    await expect.poll(() => points(page), { timeout: 20_000 }).toBeLessThanOrEqual(9);
    await picture(page, `history-touch-${colorScheme}`);
    await fingers(page, [0.2, 0.8], [0.35, 0.65]); // half as far apart
    await expect.poll(async () => (await range(page)) / HOUR).toBeCloseTo(16, 0);
    expect(await scale(), 'the page itself stays as it was').toBe(1);
    const still = await page.locator('#history').getAttribute('data-to');
    const top = (): Promise<number> => page.locator('#history-latency').evaluate((element) => element.getBoundingClientRect().top);
    await page.locator('#history-latency').evaluate((element) => element.scrollIntoView({ block: 'center' }));
    const topBefore = await top();
    await fingers(page, [0.5], [0.62], -200); // upwards, a little crooked
    await expect.poll(top).toBeLessThan(topBefore - 50);
    expect(await page.locator('#history').getAttribute('data-to')).toBe(still);
  }, 120_000);
});
