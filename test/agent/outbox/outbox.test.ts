import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodePayload, telemetrySchema, type TelemetryWindow } from '../../../agent/contracts/index.js';
import { AgentError } from '../../../agent/errors.js';
import { openLedger, type LedgerRecord } from '../../../agent/outbox/ledger.js';
import { Outbox, type WindowNumber } from '../../../agent/outbox/outbox.js';
import { takeToken, type OutboxClass } from '../../../agent/outbox/policy.js';
import { OutboxPump, type PumpLink } from '../../../agent/outbox/pump.js';
import type { Clock } from '../../../agent/platform/clock.js';
import { openDatabase, type Sqlite } from '../../../agent/platform/database.js';
import { framesOf, telemetryWindow } from '../contracts/fixtures.js';
import { temporaryFolder, until } from '../support/tools.js';


interface Box {
  outbox: Outbox;
  /** The newest connection to the database. */
  db: Sqlite;
  path: string;
  faults: string[];
  boot: { readonly id: string; ms: () => number; now: number };
  /** Of connections that are opened from now on. */
  readOnly: boolean;
}

function box(maxBytes: number, { path = join(temporaryFolder(), 'outbox.db'), id = 'boot', now = 1000, withLedger = true } = {}): Box {
  const faults: string[] = [];
  const boot = { id, now, ms: () => boot.now };
  const parts: Omit<Box, 'outbox'> = { db: openDatabase(path, { durability: 'normal', maxBytes: 64 * 1024 * 1024 }), path, faults, boot, readOnly: false };
  let opened = 0;
  const outbox = new Outbox({
    open: () => {
      if (opened > 0) parts.db = openDatabase(path, { durability: 'normal' });
      opened += 1;
      if (parts.readOnly) parts.db.pragma('query_only = 1');
      return parts.db;
    },
    maxBytes, boot, ledger: () => (withLedger ? openLedger(join(dirname(path), 'outbox.ledger')) : null),
    onFault: (error) => faults.push(error.code), onRecovered: () => faults.push('recovered'),
  });
  return Object.assign(parts, { outbox });
}

const message = (c: OutboxClass, size = 1000): { class: OutboxClass; topic: string; payload: Buffer } => ({ class: c, topic: `event/${c}`, payload: Buffer.alloc(size, 0x20) });
const numbered = ({ stream_id, seq }: WindowNumber): TelemetryWindow => telemetryWindow(seq, { stream_id });
const windowsOf = (outbox: Outbox): TelemetryWindow[] => outbox.next(5000).filter((m) => m.class === 'summary').map((m) => decodePayload(telemetrySchema, m.payload));

describe('the outbox', () => {
  it('gives back by class, then oldest first', () => {
    const { outbox } = box(1e6);
    for (const c of ['raw', 'event', 'critical', 'summary', 'critical'] as const) outbox.put(message(c));
    expect(outbox.next(10).map((m) => [m.class, m.id])).toEqual([['critical', 3], ['critical', 5], ['event', 2], ['summary', 4], ['raw', 1]]);
    expect(outbox.next(9, { newerThan: 3 }).map((m) => m.id)).toEqual([5, 4]);
    expect(outbox.next(9, { upTo: 3 }).map((m) => m.id)).toEqual([3, 2, 1]);
    outbox.handOver(outbox.next(1));
    expect(outbox.next(2).map((m) => m.id)).toEqual([5, 2]);
    outbox.giveBack(3);
    expect(outbox.next(1).map((m) => m.id)).toEqual([3]);
  });

  it('keeps what it had over a restart', () => {
    const { outbox, db, path } = box(1e6);
    outbox.put(message('event'));
    db.close();
    const again = box(1e6, { path }).outbox;
    expect(again.usage()).toEqual({ bytes: 1075, messages: 1, in_memory: 0 });
    expect(again.lastId()).toBe(1);
  });

  it('never exceeds its cap, drops the least important first, and counts every loss', () => {
    const arbitraryPut = fc.record({ class: fc.constantFrom<OutboxClass>('critical', 'event', 'summary', 'raw'), size: fc.integer({ min: 1, max: 6000 }) });
    fc.assert(fc.property(fc.array(arbitraryPut, { maxLength: 60 }), (puts) => {
      const db = openDatabase(':memory:', { durability: 'normal' });
      const outbox = new Outbox({ open: () => db, maxBytes: 20_000, boot: { id: 'b', ms: () => 0 }, ledger: () => null, onFault: (error) => expect(error).toBeNull() });
      for (const put of puts) {
        outbox.put(message(put.class, put.size));
        expect(outbox.usage().bytes).toBeLessThanOrEqual(20_000);
      }
      const lost = [...outbox.dropped.values()].reduce((a, b) => a + b, 0);
      expect(outbox.usage().messages + lost).toBe(puts.length);
      const stored = db.prepare<[], { sum: number }>('SELECT COALESCE(SUM(bytes), 0) AS sum FROM message').get();
      expect(outbox.usage().bytes).toBe(stored?.sum);
      db.close();
    }), { numRuns: 60 });
  });

  it('lets critical messages push others out, and not the other way round', () => {
    const { outbox } = box(10_000);
    for (let i = 0; i < 5; i++) outbox.put(message('event'));
    for (let i = 0; i < 9; i++) outbox.put(message('critical'));
    expect(outbox.next(100).filter((m) => m.class === 'critical')).toHaveLength(9);
    outbox.put(message('raw', 900));
    expect(outbox.next(100).filter((m) => m.class === 'critical')).toHaveLength(9);
  });

  it('merges telemetry windows in a long outage, and loses none of their frames', () => {
    const { outbox } = box(20_000);
    for (let seq = 0; seq < 300; seq++) outbox.putWindow(numbered);
    const kept = outbox.next(1000).map((m) => decodePayload(telemetrySchema, m.payload));
    expect(outbox.merged).toBeGreaterThan(250);
    expect(outbox.dropped.size).toBe(0);
    expect(kept.reduce((sum, w) => sum + framesOf(w.pipelines[0]), 0)).toBe(600);
    expect(kept[0]?.first_seq).toBe(0);
    expect(kept.at(-1)?.seq).toBe(299);
    kept.slice(1).forEach((w, i) => expect(w.first_seq).toBe((kept[i]?.seq ?? NaN) + 1));
  });

  it('gives the space back to the file system', () => {
    const { outbox, db, path } = box(32 * 1024 * 1024);
    for (let i = 0; i < 400; i++) outbox.put(message('event', 10_000));
    db.pragma('wal_checkpoint(TRUNCATE)');
    const full = statSync(path).size;
    for (const { id } of outbox.next(1000)) outbox.remove(id);
    outbox.maintain();
    expect(full).toBeGreaterThan(4_000_000);
    expect(statSync(path).size).toBeLessThan(200_000);
  });

  it('drops by age, counts windows and not messages, and a step of the clock changes nothing', () => {
    const { outbox, boot } = box(20_000);
    outbox.put(message('raw'));
    for (let seq = 0; seq < 40; seq++) outbox.putWindow(numbered);
    boot.now += 86_399_000;
    outbox.maintain();
    expect(outbox.dropped.size).toBe(0);
    boot.now += 2000;
    outbox.put(message('critical'));
    outbox.maintain();
    expect([...outbox.dropped]).toEqual([['raw/age', 1]]);
    boot.now += 29 * 86_400_000;
    outbox.maintain();
    expect(outbox.next(99).map((m) => m.class)).toEqual(['critical']);
    expect(outbox.dropped.get('summary/age')).toBe(40);
  });

  it('goes on counting age in a new process, and does not count the time in which the machine was off', () => {
    const first = box(1e6);
    first.outbox.put(message('raw'));
    first.boot.now += 40_000_000;
    first.outbox.close();
    const sameBoot = box(1e6, { path: first.path, now: first.boot.now + 40_000_000 });
    sameBoot.outbox.maintain();
    expect(sameBoot.outbox.next(9)).toHaveLength(1);
    sameBoot.outbox.close();
    const off = box(1e6, { path: first.path, id: 'another', now: 20_000_000_000 });
    off.outbox.maintain();
    expect(off.outbox.next(9)).toHaveLength(1);
    off.boot.now += 7_000_000;
    off.outbox.maintain();
    expect(off.outbox.next(9)).toHaveLength(0);
  });

  it('never merges a window that was sent, nor around one: both would arrive as numbers that are known', () => {
    const { outbox } = box(20_000);
    for (let seq = 0; seq < 4; seq++) outbox.putWindow(numbered);
    outbox.handOver(outbox.next(9).filter((m) => m.span?.seq === 1));
    outbox.remove(outbox.next(1, { upTo: 0 })[0]?.id ?? -1);
    const onWay = outbox.next(9).length;
    for (let seq = 4; seq < 100; seq++) outbox.putWindow(numbered);
    outbox.giveBack(2);
    const kept = windowsOf(outbox);
    expect(onWay).toBe(3);
    expect(kept.filter((w) => w.first_seq <= 1 && w.seq >= 1).map((w) => [w.first_seq, w.seq])).toEqual([[1, 1]]);
    outbox.remove(2); // it arrived: 0 and 2 are neighbours now, and stay apart
    for (let seq = 100; seq < 300; seq++) outbox.putWindow(numbered);
    expect(windowsOf(outbox).some((w) => w.first_seq <= 1 && w.seq >= 1)).toBe(false);
    expect(outbox.merged).toBeGreaterThan(100);
  });

  it('remembers over a restart what was sent', () => {
    const first = box(20_000);
    for (let seq = 0; seq < 3; seq++) first.outbox.putWindow(numbered);
    first.outbox.handOver(first.outbox.next(2));
    first.db.close();
    const again = box(20_000, { path: first.path }).outbox;
    for (let seq = 3; seq < 200; seq++) again.putWindow(numbered);
    expect(windowsOf(again).slice(0, 2).map((w) => [w.first_seq, w.seq])).toEqual([[0, 0], [1, 1]]);
  });

  it('numbers windows over restarts, skips what a power cut may have taken, and counts that', () => {
    const first = box(1e6);
    const numbers = [0, 1, 2].map(() => first.outbox.putWindow(numbered));
    first.db.close(); // killed: the page cache survives
    const second = box(1e6, { path: first.path });
    numbers.push(second.outbox.putWindow(numbered));
    expect(numbers.map((w) => w.seq)).toEqual([0, 1, 2, 3]);
    expect(new Set(numbers.map((w) => w.stream_id)).size).toBe(1);
    second.db.close();
    const cut = box(1e6, { path: first.path, id: 'after the power cut' });
    expect(cut.outbox.putWindow(numbered).seq).toBe(128);
    expect([...cut.outbox.dropped]).toEqual([['summary/restart', 124]]);
    cut.outbox.close();
    expect(box(1e6, { path: first.path, id: 'after a clean stop' }).outbox.putWindow(numbered).seq).toBe(129);
  });

  it('counts the messages of versions whose contracts the other end refuses as dropped, and goes on', () => {
    const path = join(temporaryFolder(), 'outbox.db');
    const old = openDatabase(path, { durability: 'normal' });
    old.exec(`
      CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, class INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL, created_ms INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
      CREATE INDEX message_class ON message (class, id);
      INSERT INTO message (class, topic, payload, created_ms, bytes) VALUES (1, 'event/x', x'7b7d', 1, 73), (2, 'telemetry', x'7b7d', 1, 75);`);
    old.close();
    const { outbox } = box(1e6, { path });
    expect(outbox.next(9)).toEqual([]);
    expect([...outbox.dropped]).toEqual([['event/outdated', 1], ['summary/outdated', 1]]);
    expect(outbox.putWindow(numbered).seq).toBe(0);
    expect(outbox.next(9).map((m) => m.class)).toEqual(['summary']);
  });
});

describe('an outbox whose disk is full', () => {
  const fill = (db: Sqlite): void => { db.pragma(`max_page_count = ${Number(db.pragma('page_count', { simple: true }))}`); };
  const free = (db: Sqlite): void => { db.pragma('max_page_count = 100000'); };

  it('keeps speaking from memory, counts what it loses, and moves to the disk when there is space', () => {
    const { outbox, db, faults, boot } = box(1e9);
    outbox.put(message('event'));
    fill(db);
    for (let i = 0; i < 1000; i++) outbox.put(message('event', 3000));
    expect(faults).toContain('E_DISK_FULL');
    const lost = outbox.dropped.get('event/disk_full') ?? 0;
    expect(lost).toBeGreaterThan(0);
    expect(outbox.usage().messages + lost).toBe(1001);
    expect(outbox.next(2000).map((m) => m.id)).toEqual([...outbox.next(2000)].map((m) => m.id).sort((a, b) => a - b));
    free(db);
    boot.now += 120_000;
    outbox.retry();
    expect(faults.at(-1)).toBe('recovered');
    expect(outbox.usage()).toMatchObject({ messages: 1001 - lost, in_memory: 0 });
    expect(outbox.dropped.get('event/disk_full')).toBe(lost);
  });

  it('tries the disk again with back-off, not at every message', () => {
    const { outbox, db, faults, boot } = box(1e9);
    fill(db);
    for (let i = 0; i < 100; i++) outbox.put(message('event', 30_000));
    expect(faults).toEqual(['E_DISK_FULL']);
    for (let second = 0; second < 300; second++) {
      boot.now += 1000;
      outbox.retry();
    }
    expect(faults.length).toBeGreaterThan(5);
    expect(faults.length).toBeLessThan(15);
  });

  it('gives every window its number, and a kill loses only what is counted at the next start', () => {
    const first = box(1e9);
    first.outbox.putWindow(numbered);
    fill(first.db);
    const inMemory = Array.from({ length: 70 }, () => first.outbox.putWindow(numbered));
    const stored = windowsOf(first.outbox).length - first.outbox.usage().in_memory;
    first.outbox.put(message('event', 50_000));
    const delivered = first.outbox.next(1, { newerThan: 40 })[0];
    first.outbox.handOver(delivered === undefined ? [] : [delivered]);
    first.outbox.remove(delivered?.id ?? -1);
    free(first.db);
    first.db.close();
    const again = box(1e9, { path: first.path }).outbox;
    expect(inMemory.map((w) => w.seq)).toEqual(inMemory.map((_, i) => i + 1));
    expect(again.putWindow(numbered).seq).toBe(71);
    expect(stored + (again.dropped.get('summary/restart') ?? 0)).toBe(71);
    expect(again.dropped.has('event/restart')).toBe(false); // that one was delivered
  });

  it('begins a sequence of its own while it cannot keep its place, and goes back to the old one', () => {
    const device = box(1e6, { withLedger: false });
    const { outbox, boot } = device;
    const before = outbox.putWindow(numbered);
    device.readOnly = true;
    device.db.pragma('query_only = 1');
    const during = [1, 2].map(() => outbox.putWindow(numbered));
    boot.now += 5000;
    during.push(outbox.putWindow(numbered));
    device.readOnly = false;
    boot.now += 120_000;
    const after = outbox.putWindow(numbered);
    expect([before, ...during, after].map((w) => w.seq)).toEqual([0, 0, 1, 2, 1]);
    expect([during[0]?.stream_id === before.stream_id, during[0]?.stream_id === during[2]?.stream_id, after.stream_id === before.stream_id]).toEqual([false, true, true]);
  });

  it('starts without a database, and takes it when it comes', () => {
    const path = join(temporaryFolder(), 'outbox.db');
    const boot = { id: 'b', now: 0, ms: () => boot.now };
    const faults: string[] = [];
    let there = false;
    const outbox = new Outbox({
      open: () => { if (there) return openDatabase(path, { durability: 'normal' }); throw new AgentError('E_STATE_READ_ONLY', 'read-only'); },
      maxBytes: 1e6, boot, ledger: () => null, onFault: (error) => faults.push(error.code), onRecovered: () => faults.push('recovered'),
    });
    outbox.put(message('event'));
    const window = outbox.putWindow(numbered);
    expect(outbox.usage()).toMatchObject({ messages: 2, in_memory: 2 });
    there = true;
    boot.now += 120_000;
    outbox.retry();
    expect(outbox.usage()).toMatchObject({ messages: 2, in_memory: 0 });
    expect(windowsOf(outbox).map((w) => [w.stream_id, w.seq])).toEqual([[window.stream_id, 0]]);
    expect(faults.at(-1)).toBe('recovered');
    outbox.close();
  });
});

describe('the ledger', () => {
  it('survives a torn write, and is none when the folder is none', () => {
    const path = join(temporaryFolder(), 'outbox.ledger');
    const record = (next_seq: number): LedgerRecord => ({ epoch: 1, stream_id: 's', next_seq, sent_through: 0, waiting: { summary: 2 }, dropped: {} });
    const ledger = openLedger(path);
    for (const n of [1, 2, 3]) expect(ledger?.write(record(n), true)).toBe(true);
    const bytes = readFileSync(path);
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 4096), Buffer.from('torn'), bytes.subarray(4100)]));
    expect([openLedger(path)?.fresh, openLedger(path)?.read()?.next_seq]).toEqual([false, 2]);
    ledger?.write(record(4), false);
    ledger?.write({ ...record(5), dropped: { x: 1, ['y'.repeat(5000)]: 1 } }, false);
    expect(openLedger(path)?.read()?.next_seq).toBe(4);
    expect(openLedger('/nowhere/outbox.ledger')).toBeNull();
  });
});

describe('the token bucket', () => {
  it('passes at most the rate and one burst', () => {
    fc.assert(fc.property(fc.array(fc.nat(500), { maxLength: 100 }), fc.integer({ min: 1, max: 20 }), (gaps, rate) => {
      let bucket = { tokens: 1, atMs: 0 };
      let now = 0;
      let passed = 0;
      for (const gap of gaps) {
        now += gap;
        const step = takeToken(bucket, now, rate);
        bucket = step.bucket;
        if (step.taken) passed += 1;
      }
      expect(passed).toBeLessThanOrEqual(1 + rate + (now / 1000) * rate);
    }));
  });
});

class ScriptedLink implements PumpLink {
  connected = true;
  sent: { topic: string; qos: number; backfill: unknown; settle: { resolve: () => void; reject: (error: Error) => void } }[] = [];

  publish(topic: string, payload: Buffer, options: { qos: 0 | 1 }): Promise<void> {
    return new Promise((resolve, reject) => {
      const value: unknown = JSON.parse(payload.toString());
      const backfill = typeof value === 'object' && value !== null && 'backfill' in value ? value.backfill : undefined;
      this.sent.push({ topic, qos: options.qos, backfill, settle: { resolve, reject } });
    });
  }
}

describe('the pump', () => {
  const clock = { now: 0 };
  const testClock: Clock = { nowMs: () => 1_800_000_000_000 + clock.now, monotonicMs: () => clock.now, synchronized: () => true };

  function bench(telemetryQos: 0 | 1 = 0): { outbox: Outbox; link: ScriptedLink; pump: OutboxPump; faults: string[]; device: Box } {
    const device = box(1e6);
    const { outbox, faults } = device;
    const link = new ScriptedLink();
    clock.now = 0;
    return { outbox, link, faults, device, pump: new OutboxPump(outbox, link, testClock, { prefix: 'p', backfillPerSecond: 2, maxInFlight: 4, telemetryQos, onFault: (e) => faults.push(e.code) }) };
  }

  const json = (c: OutboxClass, topic = 'event/x'): { class: OutboxClass; topic: string; payload: Buffer } => ({ class: c, topic, payload: Buffer.from('{"backfill":false}') });

  it('sends live messages at once and backfill flagged, at its rate', () => {
    const { outbox, link, pump } = bench();
    for (let i = 0; i < 5; i++) outbox.put(json('event'));
    pump.connected();
    expect(link.sent.map((s) => s.backfill)).toEqual([true]);
    outbox.put(json('event', 'event/live'));
    pump.kick();
    expect(link.sent.map((s) => s.topic)).toEqual(['p/event/x', 'p/event/live']);
    clock.now = 1000;
    pump.kick();
    expect(link.sent.map((s) => s.backfill)).toEqual([true, false, true, true]);
  });

  it('has at most so many on the way, deletes what arrived, and sends again what did not', async () => {
    const { outbox, link, pump } = bench();
    pump.connected();
    for (let i = 0; i < 9; i++) outbox.put(json('event', `event/${i}`));
    pump.kick();
    expect(link.sent).toHaveLength(4);
    link.sent[0]?.settle.resolve();
    link.sent[1]?.settle.reject(new AgentError('E_BROKER_AWAY', 'gone'));
    await until('deleted', () => outbox.usage().messages === 8);
    await until('again', () => { pump.kick(); return link.sent.filter((s) => s.topic === 'p/event/1').length === 2; });
    expect(link.sent.filter((s) => s.topic === 'p/event/0')).toHaveLength(1);
  });

  it('sends live telemetry with QoS 0, which takes nobody the place, and keeps it until it is proved', async () => {
    const { outbox, link, pump } = bench();
    pump.connected();
    for (let i = 0; i < 6; i++) outbox.put(json('summary', 'telemetry'));
    pump.kick();
    pump.kick();
    expect(link.sent.map((s) => s.qos)).toEqual([0, 0, 0, 0, 0, 0]);
    outbox.put(json('event'));
    pump.kick();
    expect(link.sent.at(-1)).toMatchObject({ topic: 'p/event/x', qos: 1 });
    for (const sent of link.sent) sent.settle.reject(new AgentError('E_BROKER_AWAY', 'gone'));
    await until('settled', () => { pump.connected(); return link.sent.length > 7; });
    expect(link.sent.slice(7).every((s) => s.backfill === true && s.qos === 1)).toBe(true);
  });

  it('sends live telemetry with QoS 1 where that is asked for, at most so many at once', () => {
    const { outbox, link, pump } = bench(1);
    pump.connected();
    for (let i = 0; i < 6; i++) outbox.put(json('summary', 'telemetry'));
    pump.kick();
    expect(link.sent.map(({ qos, backfill }) => [qos, backfill])).toEqual(Array(4).fill([1, false]));
  });

  it('drops, and counts, what the broker will never take and what is not JSON', async () => {
    const { outbox, link, pump } = bench();
    outbox.put({ class: 'event', topic: 'event/x', payload: Buffer.from('{') });
    pump.connected();
    outbox.put(json('event'));
    pump.kick();
    link.sent[0]?.settle.reject(new AgentError('E_BROKER_REFUSED', 'not authorized'));
    await until('empty', () => outbox.usage().messages === 0);
    expect([...outbox.dropped].sort()).toEqual([['event/malformed', 1], ['event/refused', 1]]);
  });

  it('goes on sending when nothing can be deleted, sends nothing twice, and deletes it later', async () => {
    const { outbox, link, pump, faults, device } = bench();
    pump.connected();
    for (let i = 0; i < 3; i++) outbox.put(json('event', `event/${i}`));
    device.readOnly = true;
    device.db.pragma('query_only = 1');
    pump.kick();
    for (const sent of link.sent) sent.settle.resolve();
    await until('fault', () => faults.includes('E_STATE_READ_ONLY'));
    outbox.put(json('event', 'event/later'));
    await until('the later one', () => { pump.kick(); return link.sent.length === 4; });
    link.sent[3]?.settle.resolve();
    await until('all but the stored ones are gone', () => outbox.usage().in_memory === 0);
    pump.kick();
    expect(link.sent.map((s) => s.topic)).toEqual(['p/event/0', 'p/event/1', 'p/event/2', 'p/event/later']);
    device.readOnly = false;
    device.boot.now += 120_000;
    pump.kick();
    expect(outbox.usage().messages).toBe(0);
    expect(outbox.dropped.size).toBe(0);
  });
});
