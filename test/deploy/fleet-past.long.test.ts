/** The past of a fleet in SQLite and in PostgreSQL with VictoriaMetrics: the same windows, the same sums. And what the page says when the large store fails. */
import fc from 'fast-check';
import pg from 'pg';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { Histogram, quantile, withQuantiles, type TelemetryWindow } from '../../agent/contracts/index.js';
import type { Received } from '../../deploy/collector/fleet-store.js';
import { LEVELS, segmentsOf } from '../../deploy/collector/postgres/history-levels.js';
import { PostgresFleetPast } from '../../deploy/collector/postgres/postgres-fleet-past.js';
import { PostgresFleetStore } from '../../deploy/collector/postgres/postgres-fleet-store.js';
import { VictoriaMetrics } from '../../deploy/collector/postgres/victoria-metrics.js';
import { RollupSum, type Rollup } from '../../deploy/collector/rollup.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { Dashboard } from '../../deploy/dashboard/server.js';
import { freePort } from '../../deploy/demo/device-process.js';
import { chromiumMissing, picture, usePages } from './browser.js';
import { captureCli } from './cli/capture.js';
import { postgresFolder, sharedPostgres, testPostgres, testVictoriaMetrics } from './collect-servers.js';
import { DOOR, json, recognition, reported, status, telemetry, topic } from './fixtures.js';
import { ConnectedCollector, pastStores, receivedOf } from './past-stores.js';

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
const NOW = Math.floor(Date.now() / DAY) * DAY;

/** A window whose latencies are known one by one. */
function window(seq: number, endMs: number, values: readonly number[], over: Parameters<typeof telemetry>[2] = {}): TelemetryWindow {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return telemetry(seq, endMs, { end_to_end: [{ clock: 'raw', kind: 'warm', ...withQuantiles(histogram.toData()) }], ...over });
}
const valuesOf = (seq: number): number[] => Array.from({ length: 20 }, (_, i) => 5 + ((seq * 7919 + i * 104_729) % 1000) / 10);
const received = (value: TelemetryWindow, receivedMs: number, device = 'door-1'): Received => ({ message: { address: { fleet: 'demo', device }, kind: 'telemetry', value }, receivedMs });
const lost = (total: number): Parameters<typeof telemetry>[2] => ({ pipelines: window(0, 1, [10]).pipelines.map((pipeline) => ({ ...pipeline, counters: { frames_dropped_total: total } })) });

function sumOf(rows: readonly { rollup: Rollup }[]): Rollup {
  const sum = new RollupSum();
  for (const { rollup } of rows) sum.add(rollup);
  return sum.total ?? expect.fail('there are no rows');
}

describe('the rows of PostgreSQL that cover a range', () => {
  const times = fc.tuple(fc.integer({ min: 0, max: 800 * DAY }), fc.integer({ min: 1, max: 800 * DAY })).map(([age, length]) => ({ fromMs: NOW - age, toMs: NOW - age + length }));
  const fineness = fc.constantFrom('sum' as const, { stepMs: 10_000 }, { stepMs: 5 * MINUTE }, { stepMs: HOUR }, { stepMs: 7 * DAY });

  it('follow each other without a gap, and begin and end with whole rows', () => {
    fc.assert(fc.property(times, fineness, fc.nat({ max: DAY }), ({ fromMs, toMs }, wanted, clock) => {
      const segments = segmentsOf(fromMs, toMs, { fineness: wanted, nowMs: NOW + clock });
      expect(segments[0]?.fromMs).toBe(fromMs);
      expect(segments.at(-1)?.toMs).toBe(toMs);
      segments.slice(1).forEach((next, i) => {
        const before = segments[i] ?? expect.fail();
        expect(before.toMs).toBe(next.fromMs);
        // So that no row of either belongs to both.
        expect(next.fromMs % Math.max(before.stepMs, next.stepMs)).toBe(0);
      });
      for (const { stepMs, keepMs } of LEVELS.slice(0, -1)) {
        for (const segment of segments.filter((one) => one.stepMs === stepMs)) expect(segment.fromMs, 'only of what is kept').toBeGreaterThanOrEqual(NOW + clock - keepMs);
      }
    }));
  });
});

describe.each(pastStores)('the past in $name', ({ missing, use }) => { describe.skipIf(missing !== undefined)(missing === undefined ? 'installed' : `skipped: ${missing}`, () => {
  const open = use();
  const whole = { pipeline: 'main', fromMs: NOW - 40 * DAY, toMs: NOW + DAY };

  it('has each window once, however late it comes and however often, and the newest five minutes with the rest', async () => {
    const { past, take } = await open();
    const n = 600;
    const live = Array.from({ length: n }, (_, i) => received(window(i, NOW - (n - i) * HOUR, valuesOf(i)), NOW - (n - i) * HOUR));
    const late = [3, 100, 400].map((hours, i) => received(window(1 + i, NOW - hours * HOUR - 20 * MINUTE, valuesOf(1000 + i), { backfill: true, stream_id: 'boot-other-0000' }), NOW));
    const nowhere = received(window(9, NOW - HOUR, [10], { backfill: true, clock_synchronized: false, stream_id: 'boot-other-0000' }), NOW);
    await take([...live, ...late, nowhere, ...live.slice(-5), ...late]);
    const all = new Histogram();
    for (let i = 0; i < n; i++) for (const value of valuesOf(i)) all.record(value);
    for (let i = 0; i < late.length; i++) for (const value of valuesOf(1000 + i)) all.record(value);
    for (const fineness of ['sum', { stepMs: 10_000 }, { stepMs: HOUR }, { stepMs: 7 * DAY }] as const) {
      const rows = await past.rows([DOOR], whole, fineness);
      expect(sumOf(rows)).toMatchObject({ windows: n + 3, frames: 20 * (n + 3) });
      expect(sumOf(rows).latency.buckets).toBe(all.toData().buckets);
      expect(rows.map(({ slotMs }) => slotMs)).toEqual(rows.map(({ slotMs }) => slotMs).sort((a, b) => a - b));
    }
    // Within an hour of its ends.
    const days = sumOf(await past.rows([DOOR], { ...whole, fromMs: NOW - 9 * DAY - 4 * HOUR, toMs: NOW - 2 * DAY - 3 * HOUR }, 'sum'));
    expect(days.windows).toBe(7 * 24 + 1 + 1);
    expect(await past.rows([{ fleet: 'demo', device: 'nobody' }], whole, 'sum')).toEqual([]);
  }, 120_000);

  it('tells pipelines, packages and devices apart, counts lost frames once, and names what there is', async () => {
    const { past, take } = await open();
    const at = NOW - 3 * HOUR;
    const version = (text: string): Parameters<typeof telemetry>[2] => ({ model: { name: 'faces', version: text } });
    await take([
      received(window(1, at, valuesOf(1), lost(1000)), at), received(window(2, at + 10_000, valuesOf(2), lost(1003)), at + 10_000), received(window(4, at + 20_000, valuesOf(4), lost(1010)), at + 20_000),
      received(window(3, at + 15_000, valuesOf(3), { ...lost(1005), backfill: true }), at + 30_000),
      ...[5, 6, 7, 8].map((seq) => received(window(seq, at + seq * 10_000, valuesOf(seq), version(seq % 2 === 0 ? '2.0.0' : '1.0.0')), at + seq * 10_000)),
      received(window(1, at, [50], { ...version('2.0.0'), stream_id: 'boot-other-0000' }), at, 'door-2'), received(window(2, at, [50], { name: 'plates', stream_id: 'boot-other-0000' }), at, 'door-2'),
    ]);
    expect(sumOf(await past.rows([DOOR], whole, 'sum'))).toMatchObject({ windows: 8, dropped: 10 });
    expect(sumOf(await past.rows([DOOR], { ...whole, model: 'faces 2.0.0' }, 'sum'))).toMatchObject({ windows: 2 });
    const both = await past.rows([DOOR, { fleet: 'demo', device: 'door-2' }], { ...whole, model: 'faces 2.0.0' }, 'sum');
    expect(sumOf(both)).toMatchObject({ windows: 3 });
    expect(new Set(both.map(({ device }) => device))).toEqual(new Set(['door-1', 'door-2']));
    expect(await past.names(10)).toEqual({ packages: ['faces 1.0.0', 'faces 2.0.0'], pipelines: ['main', 'plates'] });
    expect(await past.names(1)).toEqual({ packages: ['faces 1.0.0'], pipelines: ['main'] });
    expect(await past.oldestMs(DOOR)).toBe(Math.floor(at / (5 * MINUTE)) * 5 * MINUTE);
    expect(await past.oldestMs({ fleet: 'demo', device: 'nobody' })).toBeNull();
  }, 120_000);

  it('has single windows with all that a roll-up says', async () => {
    const { past, take } = await open();
    const gates = { strictness: 'set', miss_rate: 0.1, miss_rate_upper: 0.2, audits: 40 } as const;
    const gated = window(2, NOW - 20_000, [0, 0, ...valuesOf(2)]);
    const windows = [window(1, NOW - 30_000, valuesOf(1), lost(5)), { ...gated, pipelines: gated.pipelines.map((one) => ({ ...one, gates, counters: { frames_dropped_total: 7 } })) }];
    await take(windows.map((value) => received(value, value.end_ms)));
    const found = await past.windows(DOOR, { pipeline: 'main', fromMs: NOW - 60_000, toMs: NOW });
    expect(found.map(({ slotMs, stepMs, model }) => [slotMs, stepMs, model])).toEqual([[NOW - 30_000, 0, 'faces 1.0.0'], [NOW - 20_000, 0, 'faces 1.0.0']]);
    const sums = sumOf(await past.rows([DOOR], { pipeline: 'main', fromMs: NOW - DAY, toMs: NOW }, 'sum'));
    const { latency, ...rest } = sumOf(found);
    expect(latency.buckets).toBe(sums.latency.buckets);
    expect(latency).toMatchObject({ zero_count: 2, min: 0, max: sums.latency.max });
    for (const [name, value] of Object.entries(sums)) if (typeof value === 'number') expect(rest[name as 'joules'], name).toBeCloseTo(value, 6);
    expect(rest).toMatchObject({ windows: 2, dropped: 2, celsius_max: 55, audit: { audits: 40, misses: 4 } });
    expect(await past.windows(DOOR, { pipeline: 'main', fromMs: NOW - 25_000, toMs: NOW })).toHaveLength(1);
    expect(await past.windows(DOOR, { pipeline: 'a"b', fromMs: 0, toMs: NOW })).toEqual([]);
  }, 120_000);

  it('has the events of a device, newest first, and the devices with what they said last', async () => {
    const { past, take } = await open();
    const event = (id: string, timeMs: number): Received => ({ message: { address: DOOR, kind: 'event', value: recognition(id, timeMs) }, receivedMs: NOW });
    await take([event('b', NOW - 2000), event('a', NOW - 1000), event('c', NOW - 3000), event('a', NOW - 1000), receivedOf(topic('status', DOOR), json(status()), NOW), receivedOf(topic('reported', DOOR), json(reported()), NOW)]);
    expect((await past.events(DOOR, 2)).map(({ event_id: id }) => id)).toEqual(['a', 'b']);
    expect(await past.devices()).toMatchObject([{ ...DOOR, seenMs: NOW, status: { state: 'online' }, caps: null, reported: { pipelines: [{ name: 'main' }] } }]);
  }, 120_000);
}); });

const missing = pastStores[1]?.missing;

describe.skipIf(missing !== undefined)(`the large store${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  const database = sharedPostgres();
  const storeIn = async (url: string, metrics: VictoriaMetrics | null = null): Promise<PostgresFleetStore> => {
    const store = await PostgresFleetStore.open({ url, collector: 'a', metrics });
    onTestFinished(() => store.close());
    return store;
  };
  const pastIn = (url: string, metrics: VictoriaMetrics | null = null, timeoutMs?: number): PostgresFleetPast => {
    const past = new PostgresFleetPast({ url, metrics, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
    onTestFinished(() => past.close());
    return past;
  };
  const range = { pipeline: 'main', fromMs: NOW - 40 * DAY, toMs: NOW + DAY };

  it('gives the p99 of a fleet by merged buckets, in MetricsQL, too', async () => {
    const server = await testVictoriaMetrics();
    const store = await storeIn(await database(), new VictoriaMetrics(server.url));
    const at = Date.now() - 10 * MINUTE;
    const values = Array.from({ length: 12 }, (_, i) => valuesOf(i).map((value) => value * (i === 0 ? 10 : 1)));
    await store.commit(values.map((some, i) => received(window(1, at + i, some), at + i, `door-${i}`)));
    await fetch(`${server.url}/internal/force_flush`);
    const exact = values.flat().sort((a, b) => a - b)[Math.ceil(0.99 * values.flat().length) - 1] ?? NaN;
    const query = 'histogram_quantile(0.99, sum(sum_over_time(sterna_device_window_latency_bucket{fleet="demo"}[1h])) by (vmrange))';
    const { data } = await (await fetch(`${server.url}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query, time: String((at + 5 * MINUTE) / 1000) }) })).json() as { data: { result: { value: [number, string] }[] } };
    // Within a bucket: MetricsQL draws a line from its begin to its end.
    expect(Math.abs(Number(data.result[0]?.value[1]) / exact - 1)).toBeLessThan(0.022);
    const merged = await store.latency('demo', 0) ?? expect.fail();
    expect(Math.abs((quantile(merged, 0.99) ?? NaN) / exact - 1)).toBeLessThan(0.011);
  }, 120_000);

  it('adds a batch to the past once, though it was written again after VictoriaMetrics was away', async () => {
    const url = await database();
    const [broken, store] = [await storeIn(url, new VictoriaMetrics('http://127.0.0.1:1')), await storeIn(url)];
    const batch = Array.from({ length: 20 }, (_, i) => received(window(i, NOW - (20 - i) * HOUR, valuesOf(i)), NOW - (20 - i) * HOUR));
    await expect(broken.commit(batch)).rejects.toMatchObject({ code: 'E_COLLECTOR' });
    await store.commit(batch);
    await store.commit(batch);
    expect(sumOf(await pastIn(url).rows([DOOR], range, 'sum'))).toMatchObject({ windows: 20 });
  }, 120_000);

  it('deletes rows by their age, five minutes first, and reads hours and days instead', async () => {
    const url = await database();
    const store = await storeIn(url);
    const n = 40 * 24;
    const batch = Array.from({ length: n }, (_, i) => received(window(i, NOW - (n - i) * HOUR, [10]), NOW - (n - i) * HOUR));
    for (let i = 0; i < n; i += 240) await store.commit(batch.slice(i, i + 240));
    while (await store.deleteOld(NOW) > 0);
    const rows = await pastIn(url).rows([DOOR], range, { stepMs: 10_000 });
    const counts = new Map<number, number>();
    for (const { stepMs } of rows) counts.set(stepMs, (counts.get(stepMs) ?? 0) + 1);
    expect(sumOf(rows).windows).toBe(n);
    expect([...counts.keys()]).toEqual([DAY, HOUR, 5 * MINUTE]);
    expect(counts.get(5 * MINUTE)).toBeLessThanOrEqual(49);
  }, 120_000);

  it('says that it has no tables, takes too long, or lets nobody in, with a code', async () => {
    const url = await database();
    await expect(pastIn(url).names(5)).rejects.toMatchObject({ code: 'E_STORE', message: expect.stringContaining('sterna fleet collect') as string });
    await storeIn(url);
    const [impatient, locker] = [pastIn(url, null, 300), new pg.Client({ connectionString: url })];
    await locker.connect();
    onTestFinished(() => locker.end());
    await locker.query('BEGIN; LOCK TABLE event IN ACCESS EXCLUSIVE MODE');
    await expect(impatient.events(DOOR, 5)).rejects.toMatchObject({ code: 'E_STORE', message: expect.stringContaining('took too long') as string });
    await locker.query('ROLLBACK');
    expect(await impatient.events(DOOR, 5)).toEqual([]);
    await expect(pastIn('postgres://sterna@127.0.0.1:1/fleet').names(5)).rejects.toMatchObject({ code: 'E_STORE', message: expect.stringContaining('ECONNREFUSED') as string });
    await expect(pastIn(url, new VictoriaMetrics(`http://127.0.0.1:${await freePort()}`)).windows(DOOR, range)).rejects.toMatchObject({ code: 'E_STORE', message: expect.stringContaining('ECONNREFUSED') as string });
  }, 120_000);
});

describe.skipIf(postgresFolder === undefined || chromiumMissing !== undefined)('the page whose store fails', () => {
  let dashboard: Dashboard | undefined;
  afterEach(() => dashboard?.stop());
  const { open, problems } = usePages();

  it('says so with its code, shows what devices send now, and goes on when the store is back', async () => {
    const server = await testPostgres();
    const store = await PostgresFleetStore.open({ url: server.url, collector: 'a', metrics: null });
    const [past, live] = [new PostgresFleetPast({ url: server.url, metrics: null }), new CollectorStore(':memory:')];
    onTestFinished(async () => { await past.close(); await store.close(); live.close(); });
    const collector = new ConnectedCollector({ url: 'mqtt://127.0.0.1:1' }, live);
    dashboard = new Dashboard({ port: 0, collector, store: live, past });
    await dashboard.start();
    const hear = (suffix: string, value: unknown): void => collector.receive(topic(suffix, DOOR), json(value), Date.now());
    hear('status', status());
    hear('reported', reported());
    await store.commit(Array.from({ length: 30 }, (_, i) => received(window(i, Date.now() - (40 - i) * MINUTE, valuesOf(i)), Date.now() - (40 - i) * MINUTE)));
    const page = await open(dashboard.url, { colorScheme: 'dark' });
    await expect.poll(() => page.locator('#history').getAttribute('data-points').then(Number), { timeout: 30_000 }).toBeGreaterThan(5);
    // Devices send, and the store has taken nothing for ten minutes: it is full, or nobody writes into it.
    hear('telemetry', window(100, Date.now(), valuesOf(1)));
    await expect.poll(() => page.locator('#banner').innerText(), { timeout: 30_000 }).toMatch(/PostgreSQL has taken nothing for .*\(E_STORE\)/);
    await server.stop();
    await expect.poll(() => page.locator('#banner').innerText(), { timeout: 30_000 }).toMatch(/The past cannot be read \(E_STORE: PostgreSQL cannot be read/);
    await page.click('#history-ranges [data-range="3600000"]');
    await expect.poll(() => page.locator('#history-note').innerText(), { timeout: 30_000 }).toMatch(/cannot be read \(E_STORE\)/);
    expect(await page.locator('#main').isVisible()).toBe(true);
    await picture(page, 'store-away');
    await server.start();
    await store.commit([received(window(100, Date.now(), valuesOf(1)), Date.now())]);
    await expect.poll(() => page.locator('#banner').isVisible(), { timeout: 30_000 }).toBe(false);
    await page.click('#history-ranges [data-range="21600000"]');
    await expect.poll(() => page.locator('#history-note').innerText(), { timeout: 30_000 }).toMatch(/p99 .* of 620 frames/);
    // The browser notes each answer 503.
    expect(problems.splice(0).every((problem) => problem.includes('503'))).toBe(true);
  }, 180_000);
});

describe('sterna fleet page', () => {
  it('wants one store', async () => {
    const words = ['fleet', 'page', '--broker', 'mqtt://127.0.0.1:1'];
    expect((await captureCli([...words, '--metrics', 'http://127.0.0.1:1'])).err).toContain('--metrics needs --postgres');
    expect((await captureCli([...words, '--postgres', 'postgres://127.0.0.1:1/x', '--database', 'x.db'])).code).toBe(2);
  });
});
