import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAX_MESSAGE_BYTES, type TelemetryWindow } from '../../agent/contracts/index.js';
import { EmbeddedBroker } from '../../deploy/broker/broker.js';
import { Collector } from '../../deploy/collector/collector.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { historyPoint, recentWindow, telemetryView } from '../../deploy/collector/view.js';
import { connectLink } from '../../deploy/mqtt/link.js';
import { BOOT, caps, DOOR, json, recognition, pipelineReport, reported, status, telemetry, topic } from './fixtures.js';

const NOW = 1_700_000_000_000;
let store: CollectorStore;
let collector: Collector;
beforeEach(() => {
  store = new CollectorStore(':memory:', { devices: 3, eventsPerDevice: 5, windowsPerDevice: 4 });
  collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
});
afterEach(() => store.close());

const receive = (suffix: string, value: unknown, now = NOW): void => collector.receive(topic(suffix), json(value), now);

describe('the collector', () => {
  it('keeps the latest of everything that a device says', () => {
    receive('status', status());
    receive('caps', caps());
    receive('reported', reported());
    receive('telemetry', telemetry(1, NOW), NOW + 5);
    receive('event/finding', recognition('e1', NOW));
    expect(store.device(DOOR)).toMatchObject({ ...DOOR, seenMs: NOW, status: { state: 'online' }, caps: { slots: 2 }, reported: { pipelines: [{ probation: true }] } });
    expect(store.windows(DOOR, 10).map(({ seq }) => seq)).toEqual([1]);
    expect(store.events(DOOR, 10).map(({ event_id }) => event_id)).toEqual(['e1']);
  });

  it('ignores the late will of an earlier connection, and takes that of the present one', () => {
    receive('status', status({ birth_seq: 7 }));
    receive('status', status({ birth_seq: 6, state: 'offline' }));
    expect(store.device(DOOR)?.status?.state).toBe('online');
    receive('status', status({ birth_seq: 7, state: 'offline' }));
    expect(store.device(DOOR)?.status?.state).toBe('offline');
  });

  it('takes an event and a window once, however often they are delivered', () => {
    const events: string[] = [];
    collector.on('event', (_address, event) => events.push(event.event_id));
    for (let i = 0; i < 3; i++) {
      receive('event/finding', recognition('same', NOW));
      receive('telemetry', telemetry(4, NOW));
    }
    receive('telemetry', telemetry(4, NOW, { backfill: true }));
    expect(events).toEqual(['same']);
    expect(store.windows(DOOR, 10)).toHaveLength(1);
    expect(store.windows(DOOR, 10)[0]?.backfill).toBe(false);
    expect(collector.stats.duplicates).toBe(5);
  });

  it('refuses a window that meets known numbers, and keeps the accounts of each device', () => {
    const stream = 'stream-0001';
    const window = (first: number, last: number, over: Partial<TelemetryWindow> = {}): void => receive('telemetry', telemetry(last, NOW + last * 1000, { stream_id: stream, first_seq: first, ...over }));
    window(0, 3);
    window(8, 9);
    window(2, 2); // backfill of what had been merged
    window(2, 5); // no device of ours sends it: 4 and 5 stay missing
    window(6, 7, { boot_id: 'a-later-boot', counters: { 'outbox_dropped_total{class="summary",reason="full"}': 2 } });
    window(0, 0, { stream_id: 'another-stream' });
    expect(store.account(DOOR)).toMatchObject({ received: 9, duplicates: 1, overlaps: 1, missing: 2 });
    expect(collector.stats).toMatchObject({ duplicates: 1, overlaps: 1, malformed: 0 });
    window(4, 5, { counters: { 'outbox_dropped_total{class="summary",reason="full"}': 2 } });
    window(10, 10, { counters: { 'outbox_dropped_total{class="summary",reason="full"}': 2, frames_total: 3 } });
    expect(store.account(DOOR)).toEqual({ received: 12, duplicates: 1, overlaps: 1, missing: 0, dropped: { 'summary/full': 2 } });
    window(12, 11);
    expect(collector.stats.malformed).toBe(1);
    expect(store.account({ fleet: 'demo', device: 'nobody' })).toEqual({ received: 0, duplicates: 0, overlaps: 0, missing: 0, dropped: {} });
  });

  it('remembers a bounded number of holes and streams', () => {
    for (let i = 0; i < 600; i++) receive('telemetry', telemetry(2 * i, NOW + i));
    expect(store.account(DOOR)).toMatchObject({ received: 600, missing: 511 });
    receive('telemetry', telemetry(1, NOW)); // in a hole that was given up
    expect(store.account(DOOR)).toMatchObject({ received: 600, duplicates: 1 });
    for (let i = 0; i < 70; i++) receive('telemetry', telemetry(0, NOW, { stream_id: `stream-${i}-of-many` }));
    expect(store.account(DOOR).received).toBe(64);
  });

  it('keeps a bounded number of events, windows and devices, the newest', () => {
    for (let i = 0; i < 9; i++) {
      receive('event/finding', recognition(`e${i}`, NOW + i));
      receive('telemetry', telemetry(i, NOW + i * 1000));
    }
    expect(store.events(DOOR, 99).map(({ event_id }) => event_id)).toEqual(['e8', 'e7', 'e6', 'e5', 'e4']);
    expect(store.windows(DOOR, 99).map(({ seq }) => seq)).toEqual([5, 6, 7, 8]);
    for (let i = 0; i < 5; i++) collector.receive(topic('status', { fleet: 'demo', device: `d${i}` }), json(status()), NOW);
    expect(store.devices()).toHaveLength(3);
    expect(collector.stats.devicesRefused).toBe(3);
  });

  it('puts backfill where it belongs in time', () => {
    receive('telemetry', telemetry(9, NOW + 9000));
    receive('telemetry', telemetry(3, NOW + 3000, { backfill: true }));
    expect(store.windows(DOOR, 9).map(({ seq }) => seq)).toEqual([3, 9]);
  });

  it('counts hostile payloads and stays as it was', () => {
    receive('status', status());
    const hostile: [string, Buffer][] = [
      [topic('status'), Buffer.from('{')],
      [topic('status'), Buffer.from([0xff, 0xfe, 0x00])],
      [topic('status'), json({ ...status(), schema_version: 3 })],
      [topic('status'), json({ ...status(), state: '<script>' })],
      [topic('reported'), json({ ...reported(), __proto__: { polluted: true }, pipelines: [{ ...pipelineReport(), slots: 5 }] })],
      [topic('telemetry'), Buffer.alloc(MAX_MESSAGE_BYTES + 1, 0x20)],
      [topic('telemetry'), Buffer.from('['.repeat(50_000))],
      [topic('telemetry'), json({ ...telemetry(1, NOW), end_ms: 1e300 })],
      [topic('event/finding'), json({ ...recognition('x', NOW), type: 'fault' })],
      [topic('event/fault'), json(recognition('x', NOW))],
      [topic('event/finding'), json(recognition('../../etc', NOW))],
      ['sterna/v2/demo/door 1/status', json(status())],
      ["sterna/v2/demo/x';DROP TABLE device;--/status", json(status())],
      ['other/topic', json(status())],
    ];
    for (const [text, payload] of hostile) collector.receive(text, payload, NOW);
    expect(collector.stats.malformed).toBe(hostile.length);
    expect(store.devices()).toHaveLength(1);
    expect(store.windows(DOOR, 9)).toEqual([]);
    expect(store.events(DOOR, 9)).toEqual([]);
    receive('telemetry', telemetry(2, NOW));
    expect(store.windows(DOOR, 9)).toHaveLength(1);
  });

  it('never throws, whatever comes', () => {
    const topics = fc.constantFrom('status', 'caps', 'reported', 'telemetry', 'event/finding', 'ota/get', 'res/x', 'desired', '');
    fc.assert(fc.property(topics, fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map((text) => Buffer.from(text))), (suffix, payload) => {
      collector.receive(topic(suffix), payload, NOW);
    }));
    expect(store.devices()).toEqual([]);
  });

  it('hears a device through a broker', async () => {
    const broker = new EmbeddedBroker();
    await broker.start();
    const live = new Collector({ url: broker.url, fleet: 'demo' }, store);
    await live.start();
    await live.start();
    const device = await connectLink({ url: broker.url, clientId: 'device' });
    const heard = new Promise((resolve) => live.once('device', resolve));
    await device.publishAsync(topic('status'), json(status()), { qos: 1, retain: true });
    expect(await heard).toMatchObject({ device: DOOR.device, status: { boot_id: BOOT } });
    await device.endAsync();
    await live.stop();
    await live.stop();
    await broker.stop();
  });
});

describe('the database of the collector', () => {
  it('of the first version knows afterwards which windows it has', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sterna-collector-'));
    try {
      const path = join(folder, 'c.db');
      const old = new CollectorStore(path);
      for (const seq of [1, 2, 5]) old.addWindow(DOOR, telemetry(seq, NOW + seq));
      old.touch(DOOR, NOW);
      old.close();
      const db = new Database(path);
      db.exec('DROP TABLE span; DROP TABLE stream; DROP TABLE latency; DROP TABLE history; DROP TABLE dropped');
      db.pragma('user_version = 1');
      db.close();
      const migrated = new CollectorStore(path);
      expect([1, 3, 5].map((seq) => migrated.addWindow(DOOR, telemetry(seq, NOW + seq)))).toEqual(['duplicate', 'added', 'duplicate']);
      expect(migrated.account(DOOR)).toMatchObject({ received: 4, missing: 1 });
      migrated.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('is there again after a restart, and refuses a file that is none, or a newer one', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sterna-collector-'));
    try {
      const path = join(folder, 'c.db');
      const first = new CollectorStore(path);
      first.note(DOOR, 'status', status(), NOW);
      first.close();
      const second = new CollectorStore(path);
      expect(second.device(DOOR)?.status?.birth_seq).toBe(3);
      second.close();
      writeFileSync(join(folder, 'text.db'), 'this is no database, and long enough to be read as a header of one'.repeat(40));
      expect(() => new CollectorStore(join(folder, 'text.db'))).toThrow(expect.objectContaining({ code: 'E_COLLECTOR' }));
      expect(() => new CollectorStore(join(folder, 'no', 'folder.db'))).toThrow(expect.objectContaining({ code: 'E_COLLECTOR' }));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('what the page is shown', () => {
  it('merges the newest windows of one life of one model', () => {
    const windows = [1, 2, 3, 4].map((seq) => telemetry(seq, NOW + seq * 5000));
    expect(recentWindow(windows, 60_000)).toMatchObject({ first_seq: 1, seq: 4 });
    expect(recentWindow(windows, 10_000)).toMatchObject({ first_seq: 3, seq: 4 });
    expect(recentWindow([], 10_000)).toBeNull();
    const restarted = [...windows.slice(0, 2), telemetry(0, NOW + 20_000, { boot_id: 'another-boot' })];
    expect(recentWindow(restarted, 60_000)).toMatchObject({ first_seq: 0, seq: 0 });
    const switched = [...windows.slice(0, 2), telemetry(3, NOW + 20_000, { model: { name: 'faces', version: '2.0.0' } })];
    expect(recentWindow(switched, 60_000)?.first_seq).toBe(3);
  });

  it('counts frames by how far they went, and quantiles over all of the span', () => {
    const merged = recentWindow([telemetry(1, NOW), telemetry(2, NOW + 5000)], 60_000);
    if (merged === null) throw new Error('two windows merge');
    const view = telemetryView(merged, 'main');
    if (view === null) throw new Error('the window has the pipeline');
    expect(telemetryView(merged, 'another')).toBeNull();
    expect(view.exits).toEqual({ warm: 80, pixels: 70 });
    expect(view.frames_per_second).toBeCloseTo(15, 6);
    expect(view.stages.find(({ stage }) => stage === 'embed')).toMatchObject({ kind: 'warm', count: 80 });
    expect(view.raw?.p99_ms).toBeGreaterThanOrEqual(view.raw?.p50_ms ?? Infinity);
    expect(view.power_watts).toEqual([{ source: 'cpu_model', scope: 'process', quality: 'modelled', watts: expect.closeTo((5.1 + 6.1) / 10, 6) }]);
  });

  it('says null, not zero, where nothing was measured', () => {
    const bare = telemetry(1, NOW, { stages: [], end_to_end: [], energy: { sources: [], inference: null }, thermal: { zones: [], cooling: [], throttled: false, throttled_since_boot: false, cpus: [] } });
    expect(telemetryView(bare, 'main')).toMatchObject({ raw: null, frames_per_second: null, exits: {}, power_watts: [] });
    expect(historyPoint(bare, 'main')).toMatchObject({ p50_ms: null, p99_ms: null, celsius: null, watts: null });
  });
});
