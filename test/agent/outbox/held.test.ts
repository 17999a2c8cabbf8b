/** Windows that are held back from the disk while they are delivered. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { openLedger, openMemoryLedger } from '../../../agent/outbox/ledger.js';
import { Outbox } from '../../../agent/outbox/outbox.js';
import { openDatabase } from '../../../agent/platform/database.js';
import { telemetryWindow } from '../contracts/fixtures.js';
import { temporaryFolder } from '../support/tools.js';

let folder: string;
const boot = { id: 'boot', now: 0, ms: (): number => boot.now };
const memoryLedger = (): string => join(folder, 'memory.ledger');
const database = (): ReturnType<typeof openDatabase> => openDatabase(join(folder, 'outbox.db'), { durability: 'normal' });

/** An outbox as a process opens it. It is not closed where the process is killed. */
function start({ held = true } = {}): Outbox {
  const outbox = new Outbox({
    open: database, maxBytes: 1e6, boot: { id: boot.id, ms: boot.ms }, ledger: () => openLedger(join(folder, 'outbox.ledger')),
    memoryLedger: () => (held ? openLedger(memoryLedger()) : null), onFault: (error) => expect(error).toBeNull(),
  });
  outbox.delivering = true;
  return outbox;
}

function window(outbox: Outbox): number {
  boot.now += 10_000;
  return outbox.putWindow(({ stream_id, seq }) => telemetryWindow(seq, { stream_id })).seq;
}

/** The broker has all that is stored. */
function deliver(outbox: Outbox): void {
  const messages = outbox.next(100);
  outbox.handOver(messages);
  for (const { id } of messages) outbox.remove(id);
}

/** Changes with every write of another connection. */
function writes(): () => unknown {
  const db = database();
  return () => db.pragma('data_version', { simple: true });
}

const onDisk = (outbox: Outbox): number => outbox.usage().messages - outbox.usage().in_memory;

beforeEach(() => {
  folder = temporaryFolder();
  Object.assign(boot, { id: 'boot', now: 0 });
});

describe('windows that are delivered at once', () => {
  it('are not written to the disk: one in 64 reserves the numbers of the others', () => {
    const outbox = start();
    window(outbox);
    deliver(outbox);
    const version = writes();
    const before = version();
    for (let i = 1; i < 64; i++) {
      expect(window(outbox)).toBe(i);
      deliver(outbox);
      outbox.retry();
    }
    expect(version()).toBe(before);
    expect(window(outbox)).toBe(64);
    expect(version()).not.toBe(before);
    expect(onDisk(outbox)).toBe(0);
  });

  it('are written when one waits for two minutes, when nothing is delivered, with an event, and at the end', () => {
    const outbox = start();
    const hold = (): void => {
      window(outbox);
      window(outbox);
      expect(outbox.usage().in_memory).toBeGreaterThan(0);
    };
    hold();
    boot.now += 120_000;
    outbox.retry();
    expect(outbox.usage().in_memory).toBe(0);
    hold();
    outbox.delivering = false;
    window(outbox);
    expect(outbox.usage().in_memory).toBe(0);
    outbox.delivering = true;
    hold();
    outbox.put({ class: 'event', topic: 'event/person', payload: Buffer.from('{}') });
    expect(outbox.usage().in_memory).toBe(0);
    hold();
    outbox.close();
    const again = start();
    expect([onDisk(again), [...again.dropped]]).toEqual([10, []]);
  });

  it('are written without a ledger in memory', () => {
    const outbox = start({ held: false });
    window(outbox);
    window(outbox);
    expect(onDisk(outbox)).toBe(2);
  });
});

describe('after a kill', () => {
  it('the numbers go on where they were, and only what was not delivered is counted as lost', () => {
    const outbox = start();
    for (let i = 0; i < 5; i++) window(outbox);
    deliver(outbox);
    window(outbox);
    const again = start();
    expect([window(again), [...again.dropped]]).toEqual([6, [['summary/restart', 1]]]);
  });

  it.each([['a power cut', 'boot-2'], ['the loss of the ledger in memory', 'boot']])('and %s, no number is used twice', (_, id) => {
    const outbox = start();
    for (let i = 0; i < 5; i++) window(outbox);
    deliver(outbox);
    rmSync(memoryLedger());
    boot.id = id;
    expect(window(start())).toBe(64);
  });
});

describe('the ledger in memory', () => {
  it('is in the runtime folder, one for each state folder, and none without such a folder', () => {
    const record = { epoch: 1, stream_id: 's', next_seq: 2, sent_through: 0, waiting: {}, dropped: {} };
    expect(openMemoryLedger('/state/a', { RUNTIME_DIRECTORY: folder })?.write(record, false)).toBe(true);
    expect(openMemoryLedger('/state/a', { XDG_RUNTIME_DIR: folder })?.read()).toEqual(record);
    expect(openMemoryLedger('/state/b', { RUNTIME_DIRECTORY: `${folder}:/other` })?.read()).toBeNull();
    expect(openMemoryLedger('/state/a', {})).toBeNull();
  });
});
