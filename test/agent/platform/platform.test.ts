import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bootMoment, elapsedSince, epochOf, systemBootClock, systemClock, type Clock } from '../../../agent/platform/clock.js';
import { openDatabase, openOrRenew, translateSqlite } from '../../../agent/platform/database.js';
import { createLog } from '../../../agent/platform/log.js';
import { systemdServiceManager } from '../../../agent/platform/notify.js';
import { startSchedule } from '../../../agent/platform/schedule.js';
import { useLittleMemory } from '../../../agent/platform/frugal.js';
import { takeStateFolder } from '../../../agent/platform/state-folder.js';
import { machine } from '../support/machine.js';
import { quietLog, temporaryFolder, until } from '../support/tools.js';

describe('the state folder', () => {
  it('has one owner, and is free when that one lets go', () => {
    const path = join(temporaryFolder(), 'a', 'b');
    const owner = takeStateFolder(path);
    expect(() => takeStateFolder(path)).toThrow(expect.objectContaining({ code: 'E_STATE_LOCKED' }));
    owner.release();
    takeStateFolder(path).release();
  });

  it('may have rubbish in its lock file', () => {
    const path = temporaryFolder();
    writeFileSync(join(path, 'lock.db'), 'x'.repeat(5000));
    const owner = takeStateFolder(path);
    expect(() => takeStateFolder(path)).toThrow(expect.objectContaining({ code: 'E_STATE_LOCKED' }));
    owner.release();
  });
});

describe('databases', () => {
  it('that are damaged are moved aside and begun anew', () => {
    const path = join(temporaryFolder(), 'x.db');
    const db = openDatabase(path, { durability: 'full' });
    db.exec('CREATE TABLE t (x); INSERT INTO t VALUES (1)');
    expect(db.pragma('synchronous', { simple: true })).toBe(2);
    db.close();
    writeFileSync(path, Buffer.alloc(9000, 7));
    expect(() => openDatabase(path, { durability: 'full' })).toThrow(expect.objectContaining({ code: 'E_STATE_CORRUPT' }));
    const codes: string[] = [];
    openOrRenew(path, { durability: 'full' }, (error) => codes.push(error.code)).close();
    expect(codes).toEqual(['E_STATE_CORRUPT']);
    expect(existsSync(`${path}.corrupt`)).toBe(true);
  });

  it.each([
    ['SQLITE_FULL', 'E_DISK_FULL'], ['ENOSPC', 'E_DISK_FULL'], ['EDQUOT', 'E_DISK_FULL'], ['SQLITE_IOERR_SHMSIZE', 'E_DISK_FULL'],
    ['SQLITE_READONLY_DIRECTORY', 'E_STATE_READ_ONLY'], ['EROFS', 'E_STATE_READ_ONLY'], ['EACCES', 'E_STATE_READ_ONLY'],
  ])('%s is %s', (code, expected) => {
    const fail = (): never => { throw Object.assign(new Error('no'), { code }); };
    expect(() => translateSqlite('write', fail)).toThrow(expect.objectContaining({ code: expected }));
  });

  it('that are written though they may only be read say so', () => {
    const db = openDatabase(join(temporaryFolder(), 'x.db'), { durability: 'full' });
    db.pragma('query_only = 1');
    expect(() => translateSqlite('write', () => db.exec('CREATE TABLE t (x)'))).toThrow(expect.objectContaining({ code: 'E_STATE_READ_ONLY' }));
    db.close();
  });

  it('that cannot be opened say so', () => {
    expect(() => openDatabase('/nowhere/x.db', { durability: 'full' })).toThrow();
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'x.db'));
    expect(() => openDatabase(join(folder, 'x.db'), { durability: 'full' })).toThrow(expect.objectContaining({ code: 'E_STATE' }));
  });
});

describe('files of the system', () => {
  it('are absent, unreadable, huge or no numbers without an error', async () => {
    const { files, set } = machine({ a: 12, b: 'x', c: '', d: 'y'.repeat(100_000), 'e/10': '', 'e/9': '' });
    expect([await files.number('a'), await files.number('b'), await files.number('c'), await files.text('d'), await files.text('nope'), await files.list('nope')]).toEqual([12, null, null, null, null, []]);
    expect(await files.list('e')).toEqual(['9', '10']);
    set('a', ' 13 ');
    expect(await files.number('a')).toBe(13);
  });
});

describe('the clock', () => {
  it('knows whether it was set, and turns monotonic times into dates', () => {
    const root = temporaryFolder();
    expect(systemClock(root).synchronized()).toBe(false);
    mkdirSync(join(root, 'run/systemd/timesync'), { recursive: true });
    writeFileSync(join(root, 'run/systemd/timesync/synchronized'), '');
    expect(systemClock(root).synchronized()).toBe(true);
    const clock: Clock = { nowMs: () => 10_000, monotonicMs: () => 500, synchronized: () => true };
    expect(epochOf(clock, 400)).toBe(9900);
  });
});

describe('the boot clock', () => {
  it('counts on in a new process, and says when the machine was started anew', () => {
    const root = temporaryFolder();
    expect(systemBootClock(root).id).toBeNull();
    mkdirSync(join(root, 'proc/sys/kernel/random'), { recursive: true });
    writeFileSync(join(root, 'proc/sys/kernel/random/boot_id'), 'b1\n');
    const before = bootMoment({ ...systemBootClock(root), ms: () => 5000 });
    const after = (id: string | null, ms: number): number | null => elapsedSince(before, { id, ms: () => ms });
    expect(before).toEqual({ boot: 'b1', ms: 5000 });
    expect([after('b1', 7000), after('b1', 4000), after('b2', 9000), after(null, 9000)]).toEqual([2000, 0, null, null]);
    expect(systemBootClock(root).ms()).toBeGreaterThan(0);
  });
});

describe('the log', () => {
  it('is JSON lines from a level on, with a bounded tail', () => {
    const lines: string[] = [];
    const log = createLog('info', (line) => lines.push(line));
    log.debug('no');
    for (let i = 0; i < 300; i++) log.info('yes', { i });
    log.error('x'.repeat(10_000));
    expect(lines).toHaveLength(301);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'info', message: 'yes', i: 0 });
    expect(log.tail(1000)).toHaveLength(200);
    expect(log.tail(1)[0]?.length).toBeLessThanOrEqual(2000);
  });
});

describe('the service manager', () => {
  it('is not there outside systemd', async () => {
    const service = await systemdServiceManager({}, quietLog);
    expect(service.watchdogMs).toBeNull();
    service.ready('x');
    service.stopping();
  });

  it('that cannot be reached is given up without an error', async () => {
    const service = await systemdServiceManager({ NOTIFY_SOCKET: '/nowhere', WATCHDOG_USEC: '30000000' }, quietLog);
    expect(service.watchdogMs).toBe(30_000);
    service.ready('x');
    service.watchdog();
  });

  it('watches only the process that it means', async () => {
    expect((await systemdServiceManager({ NOTIFY_SOCKET: '/nowhere', WATCHDOG_USEC: '1', WATCHDOG_PID: '1' }, quietLog)).watchdogMs).toBeNull();
  });
});

describe('the schedule', () => {
  it('runs jobs, reports their failures, and stops', async () => {
    const errors: unknown[] = [];
    let runs = 0;
    const job = (): void => {
      runs += 1;
      if (runs === 1) throw new Error('no');
    };
    const schedule = startSchedule([{ cron: '* * * * * *', run: job }], (error) => errors.push(error));
    await until('two runs', () => runs >= 2);
    await schedule.stop();
    expect(errors).toHaveLength(1);
  });
});

describe('little memory', () => {
  it('is asked for with the addon or without', () => {
    expect(() => useLittleMemory()).not.toThrow();
  });
});
