/** The store of many machines: PostgreSQL with VictoriaMetrics, both real. */
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { countOf } from '../../agent/contracts/index.js';
import { NumberRanges } from '../../deploy/collector/number-ranges.js';
import type { FleetMessage } from '../../deploy/collector/fleet-message.js';
import type { Received } from '../../deploy/collector/fleet-store.js';
import { PostgresFleetStore } from '../../deploy/collector/postgres/postgres-fleet-store.js';
import { linesOf, VictoriaMetrics } from '../../deploy/collector/postgres/victoria-metrics.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { captureCli } from './cli/capture.js';
import { postgresFolder, sharedPostgres, testPostgres, testVictoriaMetrics, victoriaMetricsMissing } from './collect-servers.js';
import { DOOR, recognition, reported, status, telemetry } from './fixtures.js';

const NOW = 1_700_000_000_000;
const received = (message: Omit<FleetMessage, 'address'>, address: FleetMessage['address'] = DOOR): Received => ({ message: { address, ...message } as FleetMessage, receivedMs: NOW });
const windowOf = (seq: number, over: Parameters<typeof telemetry>[2] = {}, address = DOOR as FleetMessage['address']): Received => received({ kind: 'telemetry', value: telemetry(seq, NOW, over) }, address);

describe('the ranges of numbers', () => {
  it('take each number once, like those of the store in SQLite', () => {
    const windows = fc.array(fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 5 })), { maxLength: 30 });
    fc.assert(fc.property(windows, (list) => {
      const store = new CollectorStore(':memory:');
      let text = '';
      try {
        for (const [first, more] of list) {
          const ranges = new NumberRanges(text);
          expect(ranges.take(first, first + more)).toBe(store.addWindow(DOOR, telemetry(first + more, NOW, { first_seq: first })));
          text = ranges.toString();
        }
      } finally {
        store.close();
      }
    }), { numRuns: 25 });
  });

  it('are bounded: the oldest hole is given up', () => {
    const ranges = new NumberRanges('');
    for (let i = 0; i < 600; i++) ranges.take(2 * i, 2 * i);
    expect(ranges.toString().split(' ')).toHaveLength(512);
    expect(ranges.take(1, 1)).toBe('duplicate');
    expect(ranges.take(1197, 1197)).toBe('added');
  });
});

describe('the samples of a window', () => {
  it('are lines of the Prometheus text format, with counters and their labels', () => {
    const lines = linesOf(DOOR, telemetry(3, NOW, { counters: { 'outbox_dropped_total{class="summary",reason="full"}': 2, 'frames_total{device="door-2"}': 1 } }), NOW);
    expect(lines).toContain(`sterna_device_temperature_celsius{fleet="demo",device="door-1"} 51.5 ${NOW}`);
    expect(lines).toContain(`sterna_device_outbox_dropped_total{fleet="demo",device="door-1",class="summary",reason="full"} 2 ${NOW}`);
    expect(lines.find((line) => line.includes('frames_total') && !line.includes('pipeline')), 'a device names no other').toContain('{fleet="demo",device="door-1"} 1');
    expect(lines.filter((line) => line.includes('latency_p99_seconds')).map((line) => /kind="(\w+)"/.exec(line)?.[1])).toEqual(['warm', 'pixels']);
    expect(lines.every((line) => /^[a-z_0-9]+\{[^}]+\} \S+ \d+$/.test(line))).toBe(true);
  });
});

const skipped = postgresFolder === undefined;

describe.skipIf(skipped)(`the store in PostgreSQL${skipped ? ' (skipped: postgresql is not installed)' : ''}`, () => {
  const database = sharedPostgres();

  it('counts each window and event once, keeps the newest states, and adds up the latencies of several collectors', async () => {
    const url = await database();
    const [a, b] = await Promise.all(['a', 'b'].map((collector) => PostgresFleetStore.open({ url, collector, metrics: null })));
    if (a === undefined || b === undefined) throw new Error('two stores were opened');
    onTestFinished(async () => { await a.close(); await b.close(); });
    const event = received({ kind: 'event', value: recognition('e1', NOW) });
    const state = (birth: number, word: string): Received => received({ kind: 'status', value: status({ birth_seq: birth, state: word }) });
    const report = (seq: number): Received => received({ kind: 'reported', value: { ...reported(), order: { birth_seq: 1, seq } } });
    expect(await a.commit([windowOf(1), windowOf(1), event, windowOf(2), event, state(7, 'online'), state(6, 'offline')])).toEqual(['added', 'duplicate', 'added', 'added', 'duplicate', 'added', 'stale']);
    expect(await b.commit([windowOf(2), windowOf(4, { first_seq: 2 }), windowOf(4, { first_seq: 3 }), event, state(6, 'offline'), report(4), report(3)])).toEqual(['duplicate', 'overlap', 'added', 'duplicate', 'stale', 'added', 'stale']);
    // The same batches at the same time, in opposite orders: none waits for another for ever, and each window counts once.
    const devices = ['d1', 'd2', 'd3', 'd4'].map((device) => windowOf(1, {}, { fleet: 'demo', device }));
    const outcomes = (await Promise.all([a.commit(devices), b.commit([...devices].reverse())])).flat();
    expect(outcomes.filter((outcome) => outcome === 'added')).toHaveLength(4);
    expect(await a.totals()).toEqual({ devices: 5, windows: 8, events: 1 });
    const latency = await b.latency(DOOR.fleet, 0);
    expect(latency === null ? 0 : countOf(latency)).toBe(7 * 75);
  }, 120_000);

  it('refuses what PostgreSQL cannot hold alone, and writes all that came with it', async () => {
    const url = await database();
    const store = await PostgresFleetStore.open({ url, collector: 'a', metrics: null });
    onTestFinished(() => store.close());
    const failed = (message: string): Received => received({ kind: 'reported', value: { ...reported(), last_error: { code: 'E_CAMERA', message, time_ms: NOW } } });
    const batch = [windowOf(1), failed('half a pair: \ud800'), windowOf(2), failed('a NUL: \u0000'), windowOf(3)];
    expect(await store.commit(batch)).toEqual(['added', 'refused', 'added', 'refused', 'added']);
    expect(await store.totals()).toMatchObject({ windows: 3 });
  }, 120_000);

  it('deletes events by the time at which they came, and all but the newest streams of a device', async () => {
    const url = await database();
    const store = await PostgresFleetStore.open({ url, collector: 'a', metrics: null, retention: { eventsMs: 1000, streamsPerDevice: 2 } });
    onTestFinished(() => store.close());
    const at = (receivedMs: number, id: string): Received => ({ ...received({ kind: 'event', value: recognition(id, NOW + 1e12) }), receivedMs });
    const stream = (id: string, receivedMs: number): Received => ({ ...windowOf(1, { stream_id: id.repeat(36) }), receivedMs });
    await store.commit([at(NOW, 'e1'), stream('a', NOW), stream('b', NOW)]);
    await store.commit([at(NOW + 900, 'e2'), stream('c', NOW + 900)]);
    expect(await store.deleteOld(NOW + 1500)).toBe(1 + 1);
    expect(await store.totals()).toMatchObject({ windows: 2, events: 1 });
    expect(await store.commit([at(NOW + 1500, 'e2')])).toEqual(['duplicate']);
    expect(await store.deleteOld(NOW + 1500)).toBe(0);
    // On its own, ten minutes later.
    await store.commit([at(NOW + 700_000, 'e3')]);
    expect(await store.totals()).toMatchObject({ events: 1 });
  }, 120_000);

  it('says that it is away, and takes the same batch when it is back', async () => {
    const { url, start, stop } = await testPostgres();
    const store = await PostgresFleetStore.open({ url, collector: 'a', metrics: null });
    onTestFinished(() => store.close());
    await store.commit([windowOf(1)]);
    await stop();
    await expect(store.commit([windowOf(1), windowOf(2)])).rejects.toMatchObject({ code: 'E_COLLECTOR' });
    await start();
    expect(await store.commit([windowOf(1), windowOf(2)])).toEqual(['duplicate', 'added']);
  }, 180_000);

  it.skipIf(victoriaMetricsMissing)(`writes nothing when VictoriaMetrics is away, and both when it is there${victoriaMetricsMissing ? ' (skipped: victoria-metrics is not installed)' : ''}`, async () => {
    const url = await database();
    const metrics = await testVictoriaMetrics();
    const [store, without] = await Promise.all([metrics.url, 'http://127.0.0.1:1'].map((at) => PostgresFleetStore.open({ url, collector: 'a', metrics: new VictoriaMetrics(at) })));
    if (store === undefined || without === undefined) throw new Error('two stores were opened');
    onTestFinished(async () => { await store.close(); await without.close(); });
    await expect(without.commit([windowOf(1)])).rejects.toMatchObject({ code: 'E_COLLECTOR' });
    expect(await store.totals()).toEqual({ devices: 0, windows: 0, events: 0 });
    expect(await store.commit([windowOf(1), windowOf(2, { end_ms: NOW + 10_000 })])).toEqual(['added', 'added']);
    await fetch(`${metrics.url}/internal/force_flush`);
    const text = await (await fetch(`${metrics.url}/api/v1/export?match[]=sterna_device_temperature_celsius`)).text();
    expect(JSON.parse(text.trim())).toMatchObject({ metric: { fleet: 'demo', device: 'door-1' }, values: [51.5, 51.5], timestamps: [NOW, NOW + 10_000] });
  }, 180_000);
});

describe('sterna fleet collect', () => {
  it('wants one store', async () => {
    const words = ['fleet', 'collect', '--broker', 'mqtt://127.0.0.1:1'];
    expect((await captureCli(words)).err).toContain('--database FILE, or --postgres URL');
    expect((await captureCli([...words, '--database', ':memory:', '--metrics', 'http://127.0.0.1:1'])).code).toBe(2);
  });
});
