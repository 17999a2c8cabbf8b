/** Collectors that share a fleet: batches, the store, and acknowledgements, with a real Mosquitto where it is installed. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { countOf, Histogram } from '../../agent/contracts/index.js';
import { collectorKilled, storeAway } from '../../deploy/bench/fleet/kills.js';
import { mosquittoMissing, startMosquitto } from '../../deploy/bench/transfer/mosquitto.js';
import { Batcher, defaultBatching, type BatcherOptions } from '../../deploy/collector/batcher.js';
import type { FleetMessage } from '../../deploy/collector/fleet-message.js';
import type { FleetStore, Outcome, Received } from '../../deploy/collector/fleet-store.js';
import { KEPT_MS, mergeLatencies, SLOT_MS, slotOf } from '../../deploy/collector/latency-slots.js';
import { SharedCollector, type SharedCollectorOptions } from '../../deploy/collector/shared-collector.js';
import { SqliteFleetStore } from '../../deploy/collector/sqlite-fleet-store.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { connectLink } from '../../deploy/mqtt/link.js';
import { HostileBroker } from '../agent/support/hostile-broker.js';
import { temporaryFolder, until } from '../agent/support/tools.js';
import { captureCli } from './cli/capture.js';
import { DOOR, json, recognition, reported, status, telemetry, topic } from './fixtures.js';

const NOW = 1_700_000_000_000;
const received = (message: Omit<FleetMessage, 'address'>, address: FleetMessage['address'] = DOOR): Received => ({ message: { address, ...message } as FleetMessage, receivedMs: NOW });
const windowOf = (seq: number, over: Parameters<typeof telemetry>[2] = {}): Received => received({ kind: 'telemetry', value: telemetry(seq, NOW, over) });

function sqlite(): { store: CollectorStore; fleet: FleetStore } {
  const store = new CollectorStore(':memory:', { devices: 3, eventsPerDevice: 5, windowsPerDevice: 4 });
  const fleet = new SqliteFleetStore(store);
  onTestFinished(() => fleet.close());
  return { store, fleet };
}

/** A store that fails while `away`, and keeps the batches that it took. */
class ScriptedStore implements FleetStore {
  away = false;
  readonly batches: (readonly Received[])[] = [];
  failures = 0;

  commit(batch: readonly Received[]): Promise<readonly Outcome[]> {
    if (this.away) {
      this.failures += 1;
      return Promise.reject(new Error('away'));
    }
    this.batches.push(batch);
    return Promise.resolve(batch.map(() => 'added' as const));
  }

  get seqs(): number[] {
    return this.batches.flat().flatMap(({ message }) => (message.kind === 'telemetry' ? [message.value.seq] : []));
  }

  latency = (): Promise<null> => Promise.resolve(null);
  totals = (): ReturnType<FleetStore['totals']> => Promise.resolve({ devices: 0, windows: 0, events: 0 });
  close = (): Promise<void> => Promise.resolve();
}

/** The store of these tests needs no timer. */
const written = async (turns = 10): Promise<void> => { for (let i = 0; i < turns; i++) await new Promise((resolve) => { setImmediate(resolve); }); };

describe('batches', () => {
  const quick: BatcherOptions = { ...defaultBatching, maxMessages: 3, maxDelayMs: 5, retryMs: 1, retryMaxMs: 2 };

  it('are written at once when they have the whole window of a sender that waits for acknowledgements, which is told once', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => { vi.useRealTimers(); });
    const [window, messages, delay] = [10, 1000, 250];
    let [sent, durable] = [0, 0];
    const told: number[] = [];
    const batcher: Batcher<number> = new Batcher<number>(new ScriptedStore(), { ...defaultBatching, maxDelayMs: delay }, {
      committed: (items) => { durable += items.length; void written(3).then(send); }, failed: () => undefined, narrow: (size) => told.push(size),
    });
    const send = (): void => { while (sent < messages && sent < durable + window) batcher.add({ received: windowOf(sent), token: (sent += 1) }); };
    send();
    for (let delays = 1; delays <= 3; delays++) {
      await written();
      expect(durable).toBe((delays - 1) * window);
      vi.advanceTimersByTime(delay);
    }
    for (let i = 0; i < messages && durable < messages; i++) await written();
    expect(durable).toBe(messages);
    expect(told).toEqual([window]);
  });

  it('wait for others again as soon as more are on their way than seemed to be the window', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => { vi.useRealTimers(); });
    const store = new ScriptedStore();
    const batcher = new Batcher<number>(store, defaultBatching, { committed: () => undefined, failed: () => undefined });
    const add = (n: number): void => { for (let i = 0; i < n; i++) batcher.add({ received: windowOf(i), token: i }); };
    const sizes = (): number[] => store.batches.splice(0).map(({ length }) => length);
    for (let i = 0; i < 3; i++) {
      add(4);
      vi.advanceTimersByTime(defaultBatching.maxDelayMs);
      await written();
    }
    expect(sizes()).toEqual([4, 4, 4]);
    add(4);
    await written();
    expect(sizes()).toEqual([4]);
    add(6);
    await written();
    expect(sizes()).toEqual([4, 2]);
    add(4);
    await written();
    expect(sizes()).toEqual([]);
    vi.advanceTimersByTime(defaultBatching.maxDelayMs);
    await written();
    expect(sizes()).toEqual([4]);
  });

  it('are written one after another in order, and report places without a message too', async () => {
    const store = new ScriptedStore();
    const done: [number, Outcome | null][] = [];
    const batcher = new Batcher<number>(store, quick, { committed: (items, outcomes) => items.forEach(({ token }, i) => done.push([token, outcomes[i] ?? null])), failed: () => undefined });
    for (let i = 0; i < 7; i++) batcher.add({ received: i === 4 ? null : windowOf(i), token: i });
    expect(batcher.size).toBe(7);
    await until('written', () => batcher.size === 0);
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6].map((i) => [i, i === 4 ? null : 'added']));
    expect(store.batches.map((batch) => batch.length)).toEqual([3, 2, 1]);
    await batcher.stop(1000);
  });

  it('are tried again until the store is back, and given up unreported when the collector stops', async () => {
    const store = new ScriptedStore();
    store.away = true;
    const done: number[] = [];
    const batcher = new Batcher<number>(store, quick, { committed: (items) => done.push(...items.map(({ token }) => token)), failed: () => undefined });
    for (let i = 0; i < 5; i++) batcher.add({ received: windowOf(i), token: i });
    await until('several failures', () => store.failures > 2);
    expect(done).toEqual([]);
    store.away = false;
    await until('written', () => done.length === 5);
    expect(store.seqs).toEqual([0, 1, 2, 3, 4]);
    store.away = true;
    batcher.add({ received: windowOf(9), token: 9 });
    await batcher.stop(10);
    expect(done).toHaveLength(5);
    expect(batcher.size).toBe(1);
  });
});

describe('the slots of latencies', () => {
  it('count what comes live when it arrives, what waited when it was, and leave out what nobody can date', () => {
    const at = (over: Partial<Parameters<typeof telemetry>[2]>): number | null => slotOf(telemetry(1, NOW, over), NOW);
    const slot = Math.floor(NOW / SLOT_MS) * SLOT_MS;
    expect(at({})).toBe(slot);
    expect(at({ end_ms: NOW + 3e10, clock_synchronized: true })).toBe(slot);
    expect(at({ backfill: true, end_ms: NOW - SLOT_MS })).toBe(slot - SLOT_MS);
    expect(at({ backfill: true, end_ms: NOW - SLOT_MS, clock_synchronized: false })).toBeNull();
    expect(at({ backfill: true, end_ms: NOW + 1 })).toBeNull();
    expect(at({ backfill: true, end_ms: NOW - KEPT_MS - 1 })).toBeNull();
  });

  it('are one histogram for each fleet, pipeline, package and kind, with every value in it', () => {
    const slots = mergeLatencies([windowOf(1), windowOf(2), windowOf(3, { model: { name: 'faces', version: '2.0.0' } })]);
    expect(slots.map(({ model, clock, kind, histogram }) => [model, clock, kind, countOf(histogram)])).toEqual([
      ['faces 1.0.0', 'corrected', 'warm', 80], ['faces 1.0.0', 'raw', 'pixels', 70], ['faces 1.0.0', 'raw', 'warm', 80],
      ['faces 2.0.0', 'corrected', 'warm', 40], ['faces 2.0.0', 'raw', 'pixels', 35], ['faces 2.0.0', 'raw', 'warm', 40],
    ]);
  });
});

describe('the store in SQLite', () => {
  it('counts each window and event once, in one batch, over batches and after merging on the device', async () => {
    const { store, fleet } = sqlite();
    const event = received({ kind: 'event', value: recognition('e1', NOW) });
    expect(await fleet.commit([windowOf(1), windowOf(1), event, windowOf(2), event])).toEqual(['added', 'duplicate', 'added', 'added', 'duplicate']);
    expect(await fleet.commit([windowOf(2), windowOf(4, { first_seq: 2 }), windowOf(4, { first_seq: 3 })])).toEqual(['duplicate', 'overlap', 'added']);
    expect(await fleet.totals()).toEqual({ devices: 1, windows: 4, events: 1 });
    const latency = await fleet.latency(DOOR.fleet, 0);
    expect(latency === null ? 0 : countOf(latency)).toBe(3 * 75);
    expect(await fleet.latency('another', 0)).toBeNull();
    expect(await fleet.latency(DOOR.fleet, NOW + 1)).toBeNull();
    expect(store.windows(DOOR, 9).map(({ seq }) => seq)).toEqual([1, 2, 4]);
  });

  it('keeps the newest state, and no more devices than it may', async () => {
    const { store, fleet } = sqlite();
    const state = (birth: number, word: string): Received => received({ kind: 'status', value: status({ birth_seq: birth, state: word }) });
    expect(await fleet.commit([state(7, 'online'), state(6, 'offline')])).toEqual(['added', 'stale']);
    expect(store.device(DOOR)?.status?.state).toBe('online');
    const report = (seq: number): Received => received({ kind: 'reported', value: { ...reported(), order: { birth_seq: 1, seq } } });
    expect(await fleet.commit([report(4), report(3), report(5)])).toEqual(['added', 'stale', 'added']);
    const others = [1, 2, 3].map((i) => received({ kind: 'telemetry', value: telemetry(1, NOW) }, { fleet: 'demo', device: `d${i}` }));
    expect(await fleet.commit(others)).toEqual(['added', 'added', 'refused']);
  });

  it('writes all of a batch or nothing of it', async () => {
    const { store, fleet } = sqlite();
    const broken = windowOf(2);
    Object.assign(broken.message.value, { toJSON: () => { throw new Error('a row that cannot be written'); } });
    await expect(fleet.commit([windowOf(1), broken])).rejects.toMatchObject({ code: 'E_COLLECTOR' });
    expect(await fleet.totals()).toEqual({ devices: 0, windows: 0, events: 0 });
    expect(store.latency(DOOR.fleet, 0)).toBeNull();
  });

  it('adds latencies up over batches to what they are together', async () => {
    const { fleet } = sqlite();
    const together = new Histogram();
    for (let seq = 1; seq < 9; seq++) {
      await fleet.commit([windowOf(seq)]);
      for (const { clock, latency_ms } of telemetry(seq, NOW).pipelines[0]?.end_to_end ?? []) if (clock === 'raw') together.merge(latency_ms);
    }
    expect((await fleet.latency(DOOR.fleet, 0))?.buckets).toBe(together.toData().buckets);
  });
});

describe('a collector of a group', () => {
  it('says so when the broker divides no subscription', async () => {
    const broker = await HostileBroker.start();
    broker.connackProperties = [0x2a, 0]; // Shared Subscription Available (MQTT 5, 3.2.2.3.13)
    const collector = new SharedCollector({ url: broker.url, group: 'g', name: 'one' }, new ScriptedStore());
    onTestFinished(() => collector.stop());
    await expect(collector.start()).rejects.toMatchObject({ code: 'E_BROKER_CONNECT', message: expect.stringMatching(/--no-group/) as string });
  });
});

const skipped = mosquittoMissing();

describe.skipIf(skipped)(`collectors behind a real Mosquitto${skipped ? ' (skipped: mosquitto is not installed)' : ''}`, () => {
  async function broker(): Promise<{ url: string; port: number; folder: string }> {
    const folder = temporaryFolder();
    const { url, port, stop } = await startMosquitto(folder);
    onTestFinished(stop);
    return { url, port, folder };
  }

  async function started(url: string, store: FleetStore, options: Partial<SharedCollectorOptions> = {}): Promise<SharedCollector> {
    const collector = new SharedCollector({ url, group: 'g', name: 'one', batching: { maxDelayMs: 5, retryMs: 10, retryMaxMs: 20 }, ...options }, store);
    onTestFinished(() => collector.stop());
    await collector.start();
    return collector;
  }

  async function device(url: string): Promise<(seq: number) => Promise<unknown>> {
    const client = await connectLink({ url, clientId: 'device' });
    onTestFinished(() => client.endAsync(true));
    return (seq) => client.publishAsync(topic('telemetry'), json(telemetry(seq, Date.now())), { qos: 1 });
  }

  it('acknowledge what is durable: the rest comes to the next one of the same name, in order', async () => {
    const { url } = await broker();
    const first = new ScriptedStore();
    const collector = await started(url, first, { receiveMaximum: 4 });
    const send = await device(url);
    for (let seq = 1; seq <= 3; seq++) await send(seq);
    await until('written', () => first.seqs.length === 3);
    first.away = true;
    for (let seq = 4; seq <= 13; seq++) await send(seq);
    await until('as many as it may have', () => collector.waiting === 4);
    expect(first.failures).toBeGreaterThan(0);
    first.away = false;
    await until('the rest', () => first.seqs.length === 13);
    first.away = true;
    for (let seq = 14; seq <= 16; seq++) await send(seq);
    await until('received', () => collector.waiting === 3);
    const stopping = collector.stop();
    first.away = false;
    await stopping;
    for (let seq = 17; seq <= 19; seq++) await send(seq);
    const second = new ScriptedStore();
    await started(url, second);
    await until('what came meanwhile', () => second.seqs.includes(19));
    expect([...first.seqs, ...second.seqs]).toEqual(Array.from({ length: 19 }, (_, i) => i + 1));
  }, 60_000);

  it('divide the messages, and take malformed ones away', async () => {
    const { url } = await broker();
    const stores = [new ScriptedStore(), new ScriptedStore()];
    const collectors = [await started(url, stores[0] as FleetStore, { inventory: false }), await started(url, stores[1] as FleetStore, { name: 'two', inventory: false })];
    const client = await connectLink({ url, clientId: 'device' });
    onTestFinished(() => client.endAsync(true));
    for (let seq = 0; seq < 40; seq++) await client.publishAsync(topic('telemetry'), seq % 4 === 0 ? Buffer.from('{') : json(telemetry(seq, Date.now())), { qos: 1 });
    await until('written', () => stores.flatMap(({ seqs }) => seqs).length === 30);
    await until('nothing waits', () => collectors.every(({ waiting }) => waiting === 0));
    expect(stores.every(({ seqs }) => seqs.length > 0)).toBe(true);
    expect(stores.flatMap(({ seqs }) => seqs).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i).filter((i) => i % 4 !== 0));
    expect(collectors.reduce((sum, { stats }) => sum + stats.malformed, 0)).toBe(10);
  }, 60_000);

  it('without a group take everything, and what came while they were away', async () => {
    const { url } = await broker();
    const send = await device(url);
    const [first, second] = [new ScriptedStore(), new ScriptedStore()];
    const collector = await started(url, first, { group: null });
    await send(1);
    await until('written', () => first.seqs.length === 1);
    await collector.stop();
    await send(2);
    await started(url, second, { group: null });
    await until('what came meanwhile', () => second.seqs.length === 1);
    expect([first.seqs, second.seqs]).toEqual([[1], [2]]);
  }, 60_000);

  it('know the devices that were there before them', async () => {
    const { url } = await broker();
    const client = await connectLink({ url, clientId: 'device' });
    onTestFinished(() => client.endAsync(true));
    await client.publishAsync(topic('status'), json(status()), { qos: 1, retain: true });
    const { store, fleet } = sqlite();
    await started(url, fleet);
    await until('known', () => store.device(DOOR) !== null);
    expect(store.device(DOOR)?.status).toMatchObject({ state: 'online' });
  }, 60_000);

  it('lose and double no window when they are killed at random moments', async () => {
    const losses = await collectorKilled({ folder: temporaryFolder(), devices: 5, intervalMs: 250, kills: 3, maxMs: 400, seed: 1, signal: AbortSignal.timeout(110_000) });
    expect(losses).toMatchObject({ lost: 0, doubled: 0, events: 3 });
    expect(losses.sent).toBeGreaterThan(10);
  }, 120_000);

  it('lose and double no window while the store is away', async () => {
    const losses = await storeAway({ folder: temporaryFolder(), devices: 5, intervalMs: 250, awayMs: 6000, signal: AbortSignal.timeout(110_000) });
    expect(losses).toMatchObject({ lost: 0, doubled: 0 });
    expect(losses.events).toBeGreaterThan(0);
  }, 120_000);
});

describe('sterna fleet collect', () => {
  it('refuses names that no client can have, and more messages than MQTT can count', async () => {
    const words = ['fleet', 'collect', '--broker', 'mqtt://127.0.0.1:1', '--database', ':memory:'];
    expect((await captureCli([...words, '--name', 'a/b'])).code).toBe(2);
    expect((await captureCli([...words, '--receive-maximum', '70000'])).err).toContain('65535');
  });
});
