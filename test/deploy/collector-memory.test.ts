/** What the store of a collector remembers of its database: true after a restart, a transaction that was taken back, and what another collector has written. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MIGRATIONS } from '../../deploy/collector/schema.js';
import { readMessage } from '../../deploy/collector/fleet-message.js';
import { CollectorStore, defaultLimits, type StoreLimits } from '../../deploy/collector/store.js';
import { ReportGuard } from '../../deploy/repository/report-guard.js';
import { temporaryFolder } from '../agent/support/tools.js';
import { DOOR, status, telemetry, topic } from './fixtures.js';

const MINUTE = 60_000;
const NOW = 1_760_000_100_000; // the begin of a slot
const ALL = { pipeline: 'main', fromMs: 0, toMs: NOW + 1000 * MINUTE };

function opened(path = ':memory:', limits: StoreLimits = defaultLimits): CollectorStore {
  const store = new CollectorStore(path, limits);
  onTestFinished(() => store.close());
  return store;
}
const windowsOf = (store: CollectorStore, range = ALL): number[] => store.history.rows(DOOR, range).map(({ rollup }) => rollup.windows);
const total = (store: CollectorStore): number => windowsOf(store).reduce((sum, n) => sum + n, 0);
/** Fields of a window whose pipeline has lost so many frames. */
const lost = (frames: number): Parameters<typeof telemetry>[2] => ({ pipelines: telemetry(0, NOW).pipelines.map((pipeline) => ({ ...pipeline, counters: { frames_dropped_total: frames } })) });
const take = (store: CollectorStore, seq: number, atMs = NOW + seq * 1000, over: Parameters<typeof telemetry>[2] = {}): string => store.takeWindow(DOOR, { value: telemetry(seq, atMs, over) }, atMs);

describe('the memory of the store of a collector', () => {
  it('is taken back with a transaction', () => {
    const store = opened(':memory:', { ...defaultLimits, devices: 1 });
    expect(() => store.transaction(() => {
      store.takeWindow({ fleet: 'demo', device: 'another' }, { value: telemetry(1, NOW) }, NOW);
      throw new Error('power cut');
    })).toThrow('power cut');
    take(store, 1);
    expect(() => store.transaction(() => {
      expect([2, 3].map((seq) => take(store, seq))).toEqual(['added', 'added']);
      throw new Error('disk full');
    })).toThrow('disk full');
    expect([1, 2, 3, 3].map((seq) => take(store, seq))).toEqual(['duplicate', 'added', 'added', 'duplicate']);
    expect(store.account(DOOR)).toMatchObject({ received: 3, duplicates: 2, missing: 0 });
    expect(windowsOf(store)).toEqual([3]);
    expect(store.takeWindow({ fleet: 'demo', device: 'another' }, { value: telemetry(1, NOW) }, NOW)).toBe('refused');
  });

  it('gives way to what another collector writes into the same file', () => {
    const path = join(temporaryFolder(), 'shared.db');
    const stores = [opened(path), opened(path)];
    const turn = (i: number): CollectorStore => stores[i % 2] ?? expect.fail();
    for (let seq = 0; seq < 120; seq++) {
      expect(take(turn(seq), seq, NOW + seq * 10_000)).toBe('added');
      expect(take(turn(seq + 1), seq, NOW + seq * 10_000)).toBe('duplicate');
      if (seq % 3 === 0) expect(take(turn(seq), seq, NOW + seq * 10_000)).toBe('duplicate');
    }
    for (const store of stores) {
      expect(windowsOf(store)).toEqual([30, 30, 30, 30]);
      expect(store.account(DOOR)).toMatchObject({ received: 120, duplicates: 160, missing: 0 });
      expect(store.windows(DOOR, 1000)).toHaveLength(120);
    }
  });

  it('is there again after a restart, in the middle of a roll-up', () => {
    const path = join(temporaryFolder(), 'restart.db');
    for (let seq = 0; seq < 40; seq++) {
      const store = new CollectorStore(path, { ...defaultLimits, windowsPerDevice: 7 });
      expect(take(store, seq, NOW + seq * 10_000, lost(2 * seq))).toBe('added');
      if (seq > 0) expect(take(store, seq - 1, NOW + seq * 10_000)).toBe('duplicate');
      store.close();
    }
    const store = opened(path);
    expect(windowsOf(store)).toEqual([30, 10]);
    expect(store.history.rows(DOOR, ALL).reduce((sum, { rollup }) => sum + rollup.dropped, 0)).toBe(78);
    expect(store.windows(DOOR, 100).map(({ seq }) => seq)).toEqual([33, 34, 35, 36, 37, 38, 39]);
  });

  it('has each window in one row of the past, however packages, slots and numbers alternate', () => {
    const store = opened(':memory:', { ...defaultLimits, history: 36 });
    const [fleet, device] = [DOOR.fleet, DOOR.device];
    let n = 0;
    for (let i = 0; i < 400; i++) {
      const model = { name: 'faces', version: i % 3 === 0 ? '1.0.0' : '2.0.0' };
      const seq = i % 5 === 4 ? i + 1 : i % 5 === 0 && i > 0 ? i - 1 : i; // neighbours change places
      const arrival = take(store, seq, NOW + i * MINUTE - (i % 7 === 0 ? 8 * MINUTE : 0), { model });
      if (arrival === 'added') n += 1;
    }
    expect(total(store)).toBe(n);
    expect(n).toBeGreaterThan(300);
    expect(store.history.rows(DOOR, ALL).filter(({ stepMs }) => stepMs === 5 * MINUTE)).toHaveLength(12);
    expect(store.history.names(10)).toEqual({ packages: ['faces 1.0.0', 'faces 2.0.0'], pipelines: ['main'] });
    expect(store.history.oldestMs({ fleet, device })).toBeLessThanOrEqual(NOW);
    const only = store.history.rows(DOOR, { ...ALL, ...{ model: 'faces 1.0.0' } });
    expect(new Set(only.map(({ model }) => model))).toEqual(new Set(['faces 1.0.0']));
  });

  it('keeps the newest windows of a device when a late one comes, and when the fleet grows', () => {
    const store = opened(':memory:', { ...defaultLimits, windowsPerDevice: 20, windows: 40 });
    for (let seq = 10; seq < 40; seq++) take(store, seq);
    expect(take(store, 5, NOW + 5000, { backfill: true })).toBe('added');
    expect(store.windows(DOOR, 100).map(({ seq }) => seq)).toEqual(Array.from({ length: 20 }, (_, i) => 20 + i));
    for (let i = 0; i < 3; i++) store.touch({ fleet: 'demo', device: `more-${i}` }, NOW);
    take(store, 40);
    expect(store.windows(DOOR, 100).map(({ seq }) => seq)).toEqual(Array.from({ length: 10 }, (_, i) => 31 + i));
  });

  it('keeps windows as they came, and of very long ones what the contracts know', () => {
    const store = opened();
    const send = (seq: number, unknown: string): string => {
      const text = `\uFEFF ${JSON.stringify({ ...telemetry(seq, NOW + seq), unknown })}`;
      const message = readMessage(topic('telemetry'), Buffer.from(text), new ReportGuard());
      return message?.kind === 'telemetry' ? store.takeWindow(DOOR, message, NOW + seq) : 'none';
    };
    expect([send(1, 'later field'), send(2, 'x'.repeat(100_000))]).toEqual(['added', 'added']);
    expect(store.windows(DOOR, 2)).toEqual([telemetry(1, NOW + 1), telemetry(2, NOW + 2)]);
  });

  it('says when a device was heard last, also after the clock was set back', () => {
    const store = opened();
    const seen = (): number | undefined => store.device(DOOR)?.seenMs;
    store.note(DOOR, 'status', status(), NOW);
    take(store, 1, NOW + 9000);
    expect([seen(), store.devices()[0]?.seenMs]).toEqual([NOW + 9000, NOW + 9000]);
    store.touch(DOOR, NOW + 4000);
    expect(seen()).toBe(NOW + 4000);
    take(store, 2, NOW - 86_400_000);
    expect(seen()).toBe(NOW - 86_400_000);
    take(store, 2, NOW); // known already, and heard all the same
    expect(seen()).toBe(NOW);
  });

  it('of a file of the version before has its windows, numbers and roll-ups', () => {
    const path = join(temporaryFolder(), 'old.db');
    const old = new Database(path);
    for (const migration of MIGRATIONS.slice(0, 5)) old.exec(migration);
    old.pragma('user_version = 5');
    old.prepare('INSERT INTO device (fleet, device, seen_ms) VALUES (?, ?, ?)').run('demo', DOOR.device, NOW);
    old.prepare('INSERT INTO stream (id, fleet, device, stream, received) VALUES (1, ?, ?, ?, 2)').run('demo', DOOR.device, telemetry(1, NOW).stream_id);
    old.exec('INSERT INTO span VALUES (1, 1, 2)');
    for (const seq of [1, 2]) old.prepare('INSERT INTO telemetry (fleet, device, boot_id, seq, end_ms, backfill, payload) VALUES (?, ?, ?, ?, ?, 0, ?)').run('demo', DOOR.device, 'boot', seq, NOW + seq, JSON.stringify(telemetry(seq, NOW + seq)));
    const model = opened();
    for (const seq of [1, 2]) take(model, seq);
    const [row] = model.history.rows(DOOR, ALL);
    old.prepare('INSERT INTO history VALUES (?, ?, 300000, ?, ?, ?, ?)').run('demo', DOOR.device, NOW, 'main', 'faces 1.0.0', JSON.stringify(row?.rollup));
    old.prepare('INSERT INTO dropped VALUES (?, ?, ?, ?, 2, 7)').run('demo', DOOR.device, 'main', telemetry(1, NOW).boot_id);
    old.close();
    const store = opened(path);
    expect(store.device(DOOR)?.seenMs).toBe(NOW);
    expect([1, 2, 3].map((seq) => take(store, seq, NOW + seq, lost(9)))).toEqual(['duplicate', 'duplicate', 'added']);
    expect(store.windows(DOOR, 9).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(total(store)).toBe(3);
    expect(store.history.rows(DOOR, ALL).map(({ rollup }) => rollup.dropped)).toEqual([0, 2]);
    expect(take(store, 4, NOW + 6 * MINUTE)).toBe('added'); // the roll-up that grew joins the row that was there
    expect(windowsOf(store)).toEqual([3, 1]);
  });
});
