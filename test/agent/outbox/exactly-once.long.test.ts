/** Any interleaving of storing, sending, answers, kills, full disks, restarts and clock steps, against a real file and the real collector. */
import { dirname, join } from 'node:path';
import { rmSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodePayload, telemetrySchema, type TelemetryWindow } from '../../../agent/contracts/index.js';
import { AgentError } from '../../../agent/errors.js';
import { openLedger } from '../../../agent/outbox/ledger.js';
import { Outbox, type OutboxMessage } from '../../../agent/outbox/outbox.js';
import { dropReasons, outboxClasses } from '../../../agent/outbox/policy.js';
import { openDatabase, type Sqlite } from '../../../agent/platform/database.js';
import { CollectorStore } from '../../../deploy/collector/store.js';
import { framesOf, telemetryWindow } from '../contracts/fixtures.js';
import { temporaryFolder } from '../support/tools.js';

const DEVICE = { fleet: 'f', device: 'd' };
/** Small enough that windows are merged and dropped all the time. */
const CAP_BYTES = 24_000;

type Fullness = 'free' | 'full' | 'cannot be opened';

/** A disk on which writes fail after a number of them, also in the middle of a transaction. */
class Disk {
  fullness: Fullness = 'free';
  budget = 0;
  readonly #path: string;
  readonly #connections: Sqlite[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  open(): Sqlite {
    if (this.fullness === 'cannot be opened') throw new AgentError('E_DISK_FULL', 'no space');
    const db = openDatabase(this.#path, { durability: 'normal' });
    this.#connections.push(db);
    const prepare = (sql: string): unknown => {
      const writes = /^\s*(INSERT|UPDATE|DELETE)/.test(sql) && this.fullness !== 'free';
      if (writes && this.budget-- <= 0) throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
      return db.prepare(sql);
    };
    return new Proxy(db, {
      get: (target, name) => {
        if (name === 'prepare') return prepare;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) as unknown : value;
      },
    });
  }

  pullThePlug(): void {
    for (const db of this.#connections.splice(0)) db.close();
  }
}

class Device {
  readonly disk: Disk;
  readonly collector = new CollectorStore(':memory:', { devices: 1, eventsPerDevice: 1, windowsPerDevice: 100_000 });
  readonly created = new Set<string>();
  readonly accepted: TelemetryWindow[] = [];
  /** Windows that arrived without the device knowing it: it may count them as dropped all the same. */
  unconfirmed = 0;
  inFlight: OutboxMessage[] = [];
  wallMs = 1_700_000_000_000;
  outbox: Outbox;
  readonly #boot = { id: 'boot-0', now: 0, ms: (): number => this.#boot.now };
  readonly #path: string;
  #boots = 0;

  readonly #memoryLedger: string | null;

  /** @param holds whether it holds windows back from the disk while they are delivered */
  constructor(folder: string, holds: boolean) {
    this.#path = join(folder, 'outbox.db');
    this.#memoryLedger = holds ? join(folder, 'memory.ledger') : null;
    this.disk = new Disk(this.#path);
    this.outbox = this.#start();
  }

  #start(): Outbox {
    const { id, ms } = this.#boot;
    const memory = this.#memoryLedger;
    const outbox = new Outbox({
      open: () => this.disk.open(), maxBytes: CAP_BYTES, boot: { id, ms }, ledger: () => openLedger(join(dirname(this.#path), 'outbox.ledger')),
      memoryLedger: () => (memory === null ? null : openLedger(memory)),
      onFault: (error) => expect(error.code).toBe('E_DISK_FULL'),
    });
    outbox.delivering = true;
    return outbox;
  }

  advance(ms: number): void {
    this.#boot.now += ms;
    this.wallMs = Math.max(0, this.wallMs + ms);
  }

  window(): void {
    const { stream_id, seq } = this.outbox.putWindow(({ stream_id: stream, seq: number }) => telemetryWindow(number, { stream_id: stream, start_ms: this.wallMs, end_ms: this.wallMs + 1 }));
    expect(this.created.has(`${stream_id}/${seq}`)).toBe(false); // a number is never used twice
    this.created.add(`${stream_id}/${seq}`);
  }

  send(n: number): void {
    const messages = this.outbox.next(n);
    this.outbox.handOver(messages);
    this.inFlight.push(...messages);
  }

  /** The first on the way arrives or not, and the device hears of it or not. */
  settle(arrives: boolean, heard: boolean): void {
    const message = this.inFlight.shift();
    if (message === undefined) return;
    if (arrives) this.#arrive(message, heard && this.disk.fullness === 'free'); // A kill makes it forget what a full disk did not take.
    if (arrives && heard) this.outbox.remove(message.id);
    else this.outbox.giveBack(message.id);
  }

  #arrive(message: OutboxMessage, heard: boolean): void {
    if (message.topic !== 'telemetry') return;
    const window = decodePayload(telemetrySchema, message.payload);
    const arrival = this.collector.addWindow(DEVICE, window);
    expect(arrival).not.toBe('overlap');
    if (arrival === 'added') this.accepted.push(window);
    if (!heard) this.unconfirmed += window.seq - window.first_seq + 1;
  }

  kill(arrived: number, powerCut: boolean): void {
    for (const message of this.inFlight.splice(0).slice(0, arrived)) this.#arrive(message, false);
    this.disk.pullThePlug();
    this.advance(1000);
    this.#boots += powerCut ? 1 : 0;
    if (powerCut && this.#memoryLedger !== null) rmSync(this.#memoryLedger, { force: true });
    if (powerCut) Object.assign(this.#boot, { id: `boot-${this.#boots}`, now: 10 });
    this.outbox = this.#start();
  }

  restart(): void {
    for (const message of this.inFlight.splice(0)) this.outbox.giveBack(message.id);
    this.outbox.close();
    this.disk.pullThePlug();
    this.outbox = this.#start();
  }

  finish(): void {
    this.disk.fullness = 'free';
    this.advance(120_000);
    this.outbox.retry();
    while (this.inFlight.length > 0) this.settle(true, true);
    for (let rest = this.outbox.next(50); rest.length > 0; rest = this.outbox.next(50)) {
      this.send(50);
      while (this.inFlight.length > 0) this.settle(true, true);
    }
  }

  close(): void {
    this.outbox.close();
    this.disk.pullThePlug();
    this.collector.close();
  }
}

type Step = (device: Device) => void;
const times = (n: number, step: Step): Step => (device) => { for (let i = 0; i < n; i++) step(device); };
const named = (name: string, step: Step): Step => Object.assign(step, { [fc.toStringMethod]: () => name });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 40 }).map((n) => named(`${n} windows`, times(n, (d) => { d.window(); d.advance(1000); }))) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 16 }).map((n) => named(`send ${n}`, (d) => d.send(n))) },
  { weight: 4, arbitrary: fc.tuple(fc.integer({ min: 1, max: 16 }), fc.boolean(), fc.boolean()).map(([n, arrives, heard]) => named(`${n} settle, arrived ${arrives}, heard ${heard}`, times(n, (d) => d.settle(arrives, heard)))) },
  { weight: 2, arbitrary: fc.constantFrom<Fullness>('full', 'cannot be opened').chain((f) => fc.nat(8).map((budget) => named(`disk ${f} after ${budget}`, (d) => Object.assign(d.disk, { fullness: f, budget })))) },
  { weight: 2, arbitrary: fc.constant(named('space', (d) => { d.disk.fullness = 'free'; })) },
  { weight: 2, arbitrary: fc.tuple(fc.nat(16), fc.boolean()).map(([n, cut]) => named(`${cut ? 'power cut' : 'kill'}, ${n} had arrived`, (d) => d.kill(n, cut))) },
  { weight: 1, arbitrary: fc.constant(named('restart', (d) => d.restart())) },
  { weight: 2, arbitrary: fc.integer({ min: -2e12, max: 2e12 }).map((ms) => named(`clock steps ${ms}`, (d) => { d.wallMs = Math.max(0, d.wallMs + ms); })) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 70_000 }).map((ms) => named(`${ms} ms pass`, (d) => { d.advance(ms); d.outbox.maintain(); })) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom('critical', 'event', 'raw'), fc.integer({ min: 1, max: 6000 })).map(([c, size]) => named(`${c} of ${size}`, (d) => d.outbox.put({ class: c, topic: `event/${c}`, payload: Buffer.alloc(size, 0x20) }))) },
);

describe('the outbox at its cap, under kills, a full disk and a clock step', () => {
  it.each([false, true])('delivers each window exactly once by sequence, or counts it as dropped with class and reason; windows are held back: %s', (holds) => {
    const seen = { merged: 0, dropped: new Set<string>(), numbers: 0 };
    fc.assert(fc.property(fc.array(step, { minLength: 5, maxLength: 50 }), (steps) => {
      const folder = temporaryFolder();
      const device = new Device(folder, holds);
      for (const one of steps) one(device);
      device.finish();
      const delivered = device.accepted.flatMap((w) => Array.from({ length: w.seq - w.first_seq + 1 }, (_, i) => `${w.stream_id}/${w.first_seq + i}`));
      expect(new Set(delivered).size).toBe(delivered.length);
      expect(delivered.filter((number) => !device.created.has(number))).toEqual([]);
      // What a window says it stands for is what is in it: each of the fixture has two frames.
      for (const w of device.accepted) expect(framesOf(w.pipelines[0])).toBe(2 * (w.seq - w.first_seq + 1));
      const missing = device.created.size - delivered.length;
      const { dropped } = device.outbox;
      const lost = [...dropped].filter(([key]) => key.startsWith('summary/') && key !== 'summary/restart').reduce((sum, [, n]) => sum + n, 0);
      const restart = dropped.get('summary/restart') ?? 0;
      expect(lost + restart).toBeGreaterThanOrEqual(missing);
      expect(lost).toBeLessThanOrEqual(missing + device.unconfirmed);
      for (const key of dropped.keys()) {
        const [name, reason] = key.split('/');
        expect(outboxClasses).toContain(name);
        expect(dropReasons).toContain(reason);
        seen.dropped.add(key);
      }
      expect(device.collector.account(DEVICE).received).toBe(delivered.length);
      seen.merged += device.outbox.merged;
      seen.numbers += device.created.size;
      device.close();
      rmSync(folder, { recursive: true });
    }), { numRuns: Number(process.env['STERNA_OUTBOX_RUNS'] ?? 60) });
    // The runs met what they are about.
    expect(seen.numbers).toBeGreaterThan(1000);
    expect(seen.merged).toBeGreaterThan(100);
    expect([...seen.dropped]).toEqual(expect.arrayContaining(['summary/full', 'summary/restart']));
  }, 300_000);
});
