/** Windows that are held back from the disk while they are delivered. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { openLedger, openMemoryLedger, type Ledger } from '../../../agent/outbox/ledger.js';
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
  it('are not written to the disk: one in 128 reserves the numbers of the others', () => {
    const outbox = start();
    window(outbox);
    deliver(outbox);
    const version = writes();
    const before = version();
    for (let i = 1; i < 128; i++) {
      expect(window(outbox)).toBe(i);
      deliver(outbox);
      outbox.retry();
    }
    expect(version()).toBe(before);
    expect(window(outbox)).toBe(128);
    expect(version()).not.toBe(before);
    expect(onDisk(outbox)).toBe(0);
  });

  it('are written when one waits for two minutes, when nothing is delivered, and at the end', () => {
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
    outbox.close();
    const again = start();
    expect([onDisk(again), [...again.dropped]]).toEqual([7, []]);
  });

  it('stay where they are while an event is written and deleted', () => {
    const outbox = start();
    window(outbox);
    window(outbox);
    outbox.put({ class: 'event', topic: 'event/person', payload: Buffer.from('{}') });
    expect(outbox.usage()).toMatchObject({ messages: 3, in_memory: 2 });
    const [event] = outbox.next(1);
    expect(event?.class).toBe('event');
    if (event !== undefined) {
      outbox.handOver([event]);
      outbox.remove(event.id);
    }
    expect(outbox.usage()).toMatchObject({ messages: 2, in_memory: 2 });
    const again = start(); // after a kill
    expect([window(again), [...again.dropped], onDisk(again)]).toEqual([2, [['summary/restart', 2]], 0]);
  });

  it('are not written by the scheduled maintenance, which has nothing to do then', () => {
    const outbox = start();
    window(outbox);
    const version = writes();
    const before = version();
    window(outbox);
    outbox.maintain();
    expect([version(), outbox.usage().in_memory]).toEqual([before, 2]);
    outbox.put({ class: 'event', topic: 'event/person', payload: Buffer.from('{}') });
    outbox.maintain(); // The event may have become too old.
    expect(outbox.usage().in_memory).toBe(0);
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
    expect(window(start())).toBe(128);
  });
});

describe('the ledger in memory', () => {
  it('is in the runtime folder, one for each state folder, and none where that is not in memory', () => {
    const record = { epoch: 1, stream_id: 's', next_seq: 2, sent_through: 0, waiting: {}, dropped: {} };
    const open = (state: string, env: NodeJS.ProcessEnv): Ledger | null => openMemoryLedger(state, env, (path) => path === folder);
    expect(open('/state/a', { RUNTIME_DIRECTORY: folder })?.write(record, false)).toBe(true);
    expect(open('/state/a', { RUNTIME_DIRECTORY: '/on/flash', XDG_RUNTIME_DIR: folder })?.read()).toEqual(record);
    expect(open('/state/b', { RUNTIME_DIRECTORY: `${folder}:/other` })?.read()).toBeNull();
    expect(open('/state/a', {})).toBeNull();
    expect(open('/state/a', { RUNTIME_DIRECTORY: '/on/flash' })).toBeNull();
  });

  it.skipIf(!existsSync('/dev/shm'))('knows a file system in memory', () => {
    const shared = mkdtempSync('/dev/shm/sterna-');
    onTestFinished(() => rmSync(shared, { recursive: true }));
    expect(openMemoryLedger('/state/a', { RUNTIME_DIRECTORY: shared })).not.toBeNull();
    expect(openMemoryLedger('/state/a', { RUNTIME_DIRECTORY: '/proc' })).toBeNull();
    expect(openMemoryLedger('/state/a', { RUNTIME_DIRECTORY: join(shared, 'absent') })).toBeNull();
  });
});
