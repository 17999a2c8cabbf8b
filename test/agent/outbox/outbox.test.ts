import { statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodePayload, encodePayload, telemetrySchema, type TelemetryWindow } from '../../../agent/contracts/index.js';
import { AgentError } from '../../../agent/errors.js';
import { Outbox } from '../../../agent/outbox/outbox.js';
import { takeToken, type OutboxClass } from '../../../agent/outbox/policy.js';
import { OutboxPump, type PumpLink } from '../../../agent/outbox/pump.js';
import type { Clock } from '../../../agent/platform/clock.js';
import { openDatabase, type Sqlite } from '../../../agent/platform/database.js';
import { telemetryWindow } from '../contracts/fixtures.js';
import { temporaryFolder, until } from '../support/tools.js';

const NOW = 1_800_000_000_000;
const none: ReadonlySet<number> = new Set();

function box(maxBytes: number): { outbox: Outbox; db: Sqlite; path: string; faults: string[] } {
  const path = join(temporaryFolder(), 'outbox.db');
  const db = openDatabase(path, { durability: 'normal', maxBytes: 64 * 1024 * 1024 });
  const faults: string[] = [];
  return { db, path, faults, outbox: new Outbox(db, maxBytes, (error) => faults.push(error.code)) };
}

const message = (c: OutboxClass, size = 1000): { class: OutboxClass; topic: string; payload: Buffer } => ({ class: c, topic: `event/${c}`, payload: Buffer.alloc(size, 0x20) });
const windowMessage = (window: TelemetryWindow): { class: OutboxClass; topic: string; payload: Buffer } => ({ class: 'summary', topic: 'telemetry', payload: encodePayload(telemetrySchema, window) });

describe('the outbox', () => {
  it('gives back by class, then oldest first', () => {
    const { outbox } = box(1e6);
    for (const c of ['raw', 'event', 'critical', 'summary', 'critical'] as const) outbox.put(message(c), NOW);
    expect(outbox.next(10, none).map((m) => [m.class, m.id])).toEqual([['critical', 3], ['critical', 5], ['event', 2], ['summary', 4], ['raw', 1]]);
    expect(outbox.next(2, new Set([3])).map((m) => m.id)).toEqual([5, 2]);
    expect(outbox.next(9, none, { newerThan: 3 }).map((m) => m.id)).toEqual([5, 4]);
    expect(outbox.next(9, none, { upTo: 3 }).map((m) => m.id)).toEqual([3, 2, 1]);
  });

  it('keeps what it had over a restart', () => {
    const { outbox, db, path } = box(1e6);
    outbox.put(message('event'), NOW);
    db.close();
    const again = new Outbox(openDatabase(path, { durability: 'normal' }), 1e6, () => undefined);
    expect(again.usage()).toEqual({ bytes: 1075, messages: 1 });
    expect(again.lastId()).toBe(1);
  });

  it('never exceeds its cap, drops the least important first, and counts every loss', () => {
    const arbitraryPut = fc.record({ class: fc.constantFrom<OutboxClass>('critical', 'event', 'summary', 'raw'), size: fc.integer({ min: 1, max: 6000 }) });
    fc.assert(fc.property(fc.array(arbitraryPut, { maxLength: 60 }), (puts) => {
      const db = openDatabase(':memory:', { durability: 'normal' });
      const outbox = new Outbox(db, 20_000, () => undefined);
      for (const put of puts) {
        outbox.put(message(put.class, put.size), NOW);
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
    for (let i = 0; i < 5; i++) outbox.put(message('event'), NOW);
    for (let i = 0; i < 9; i++) outbox.put(message('critical'), NOW);
    expect(outbox.next(100, none).filter((m) => m.class === 'critical')).toHaveLength(9);
    outbox.put(message('raw', 900), NOW);
    expect(outbox.next(100, none).filter((m) => m.class === 'critical')).toHaveLength(9);
  });

  it('merges telemetry windows in a long outage, and loses none of their frames', () => {
    const { outbox } = box(20_000);
    for (let seq = 0; seq < 300; seq++) outbox.put(windowMessage(telemetryWindow(seq)), NOW + seq);
    const kept = outbox.next(1000, none).map((m) => decodePayload(telemetrySchema, m.payload));
    expect(outbox.merged).toBeGreaterThan(250);
    expect(outbox.dropped.size).toBe(0);
    expect(kept.reduce((sum, w) => sum + (w.end_to_end[0]?.latency_ms.count ?? 0), 0)).toBe(600);
    expect(kept[0]?.first_seq).toBe(0);
    expect(kept.at(-1)?.seq).toBe(299);
    kept.slice(1).forEach((w, i) => expect(w.first_seq).toBe((kept[i]?.seq ?? NaN) + 1));
  });

  it('gives the space back to the file system', () => {
    const { outbox, db, path } = box(32 * 1024 * 1024);
    for (let i = 0; i < 400; i++) outbox.put(message('event', 10_000), NOW);
    db.pragma('wal_checkpoint(TRUNCATE)');
    const full = statSync(path).size;
    for (const { id } of outbox.next(1000, none)) outbox.remove(id);
    outbox.maintain(NOW);
    expect(full).toBeGreaterThan(4_000_000);
    expect(statSync(path).size).toBeLessThan(200_000);
  });

  it('drops by age and says so, but not what an unset clock has stamped', () => {
    const { outbox } = box(1e6);
    outbox.put(message('raw'), NOW - 2 * 86_400_000);
    outbox.put(message('critical'), NOW - 2 * 86_400_000);
    outbox.put(message('raw'), 5000);
    outbox.maintain(NOW);
    expect(outbox.next(9, none).map((m) => m.class)).toEqual(['critical', 'raw']);
    expect([...outbox.dropped]).toEqual([['raw/age', 1]]);
  });

  it('on a full disk keeps speaking from memory, and counts what it loses', () => {
    const { outbox, db, faults } = box(1e9);
    outbox.put(message('event'), NOW);
    db.pragma(`max_page_count = ${Number(db.pragma('page_count', { simple: true }))}`);
    for (let i = 0; i < 200; i++) outbox.put(message('event', 3000), NOW);
    expect(faults).toContain('E_DISK_FULL');
    const waiting = outbox.next(1000, none);
    expect(waiting.length).toBeGreaterThanOrEqual(64);
    expect(waiting.length + (outbox.dropped.get('event/disk_full') ?? 0)).toBe(201);
    const inMemory = waiting.find((m) => m.id < 0);
    outbox.remove(inMemory?.id ?? 0);
    expect(outbox.next(1000, none)).toHaveLength(waiting.length - 1);
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
  const testClock: Clock = { nowMs: () => NOW + clock.now, monotonicMs: () => clock.now, synchronised: () => true };

  function bench(): { outbox: Outbox; link: ScriptedLink; pump: OutboxPump; faults: string[]; db: Sqlite } {
    const { outbox, db } = box(1e6);
    const link = new ScriptedLink();
    const faults: string[] = [];
    clock.now = 0;
    return { outbox, link, faults, db, pump: new OutboxPump(outbox, link, testClock, { prefix: 'p', backfillPerSecond: 2, maxInFlight: 4, onFault: (e) => faults.push(e.code) }) };
  }

  const json = (c: OutboxClass, topic = 'event/x'): { class: OutboxClass; topic: string; payload: Buffer } => ({ class: c, topic, payload: Buffer.from('{"backfill":false}') });

  it('sends live messages at once and backfill flagged, at its rate', () => {
    const { outbox, link, pump } = bench();
    for (let i = 0; i < 5; i++) outbox.put(json('event'), NOW);
    pump.connected();
    expect(link.sent.map((s) => s.backfill)).toEqual([true]);
    outbox.put(json('event', 'event/live'), NOW);
    pump.kick();
    expect(link.sent.map((s) => s.topic)).toEqual(['p/event/x', 'p/event/live']);
    clock.now = 1000;
    pump.kick();
    expect(link.sent.map((s) => s.backfill)).toEqual([true, false, true, true]);
  });

  it('has at most so many on the way, deletes what arrived, and sends again what did not', async () => {
    const { outbox, link, pump } = bench();
    pump.connected();
    for (let i = 0; i < 9; i++) outbox.put(json('event', `event/${i}`), NOW);
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
    for (let i = 0; i < 6; i++) outbox.put(json('summary', 'telemetry'), NOW);
    pump.kick();
    pump.kick();
    expect(link.sent.map((s) => s.qos)).toEqual([0, 0, 0, 0, 0, 0]);
    outbox.put(json('event'), NOW);
    pump.kick();
    expect(link.sent.at(-1)).toMatchObject({ topic: 'p/event/x', qos: 1 });
    for (const sent of link.sent) sent.settle.reject(new AgentError('E_BROKER_AWAY', 'gone'));
    await until('settled', () => { pump.connected(); return link.sent.length > 7; });
    expect(link.sent.slice(7).every((s) => s.backfill === true && s.qos === 1)).toBe(true);
  });

  it('drops, and counts, what the broker will never take and what is not JSON', async () => {
    const { outbox, link, pump } = bench();
    outbox.put({ class: 'event', topic: 'event/x', payload: Buffer.from('{') }, NOW);
    pump.connected();
    outbox.put(json('event'), NOW);
    pump.kick();
    link.sent[0]?.settle.reject(new AgentError('E_BROKER_REFUSED', 'not authorised'));
    await until('empty', () => outbox.usage().messages === 0);
    expect([...outbox.dropped].sort()).toEqual([['event/malformed', 1], ['event/refused', 1]]);
  });

  it('does not send twice what it cannot delete', async () => {
    const { outbox, link, pump, faults } = bench();
    pump.connected();
    outbox.put(json('event'), NOW);
    pump.kick();
    const remove = outbox.remove.bind(outbox);
    let full = true;
    outbox.remove = (id) => { if (full) throw new AgentError('E_DISK_FULL', 'full'); remove(id); };
    link.sent[0]?.settle.resolve();
    await until('fault', () => faults.includes('E_DISK_FULL'));
    pump.kick();
    expect(link.sent).toHaveLength(1);
    full = false;
    pump.kick();
    expect(outbox.usage().messages).toBe(0);
  });
});
